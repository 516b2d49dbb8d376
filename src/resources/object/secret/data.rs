//! Values of Secrets in base64, as the API writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::resources::object::parts::SharedBytes;

type Data = Box<[(Arc<str>, SharedBytes)]>;

pub(super) fn serialize<S: Serializer>(data: &[(Arc<str>, SharedBytes)], serializer: S) -> Result<S::Ok, S::Error> {
    let map: BTreeMap<&str, ByteString> =
        data.iter().map(|(key, bytes)| (&**key, ByteString(bytes.to_vec()))).collect();
    map.serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Data, D::Error> {
    let map = BTreeMap::<Arc<str>, ByteString>::deserialize(deserializer)?;
    Ok(map.into_iter().map(|(key, bytes)| (key, bytes.0.into())).collect())
}
