//! Reads an object out of a line: its names come first, then what it is under the name of its kind.

use std::fmt::{Formatter, Result as FormatResult};
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::origin::ObjectOrigin;
use crate::resources::{Kind, Object, Sourced, Tabled, Visit};

/// An object of a line.
pub(super) struct CachedObject(pub(super) Object);

struct Line;

/// The value of `object`.
struct Named {
    namespace: Arc<str>,
    name: Arc<str>,
}

/// Reads an object whose kind is known.
struct ReadKept<'de, 'm, A> {
    map: &'m mut A,
    named: Named,
    lifetime: PhantomData<&'de ()>,
}

// === impl CachedObject ===

impl<'de> serde::Deserialize<'de> for CachedObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Line).map(Self)
    }
}

impl<'de> Visitor<'de> for Line {
    type Value = Object;

    fn expecting(&self, f: &mut Formatter<'_>) -> FormatResult {
        f.write_str("an object with its names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let (mut namespace, mut name, mut object) = (None, None, None);
        while let Some(field) = map.next_key::<&str>()? {
            match (field, &namespace, &name) {
                ("namespace", ..) => namespace = Some(map.next_value::<Arc<str>>()?),
                ("name", ..) => name = Some(map.next_value::<Arc<str>>()?),
                ("object", Some(namespace), Some(name)) => {
                    let named = Named { namespace: Arc::clone(namespace), name: Arc::clone(name) };
                    object = Some(map.next_value_seed(named)?);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        object.ok_or_else(|| Error::missing_field("object"))
    }
}

impl<'de> DeserializeSeed<'de> for Named {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Named {
    type Value = Object;

    fn expecting(&self, f: &mut Formatter<'_>) -> FormatResult {
        f.write_str("an object under the name of its kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let key = map.next_key::<&str>()?.unwrap_or_default();
        let kind = Kind::rows().find(|(_, row)| row.name == key).map(|(kind, _)| kind);
        let read = ReadKept { map: &mut map, named: self, lifetime: PhantomData };
        kind.and_then(|kind| kind.visit(read)).unwrap_or_else(|| Err(Error::custom("unknown kind")))
    }
}

impl<'de, A: MapAccess<'de>> Visit for ReadKept<'de, '_, A> {
    type Output = Result<Object, A::Error>;

    fn visit<K: Tabled>(self) -> Self::Output {
        let object = Arc::new(self.map.next_value::<K::Kept>()?);
        let Named { namespace, name } = self.named;
        let origin = Arc::new(ObjectOrigin { kind: K::ROW.name, namespace, name, place: None });
        Ok(K::wrap(Sourced { object, origin }))
    }
}
