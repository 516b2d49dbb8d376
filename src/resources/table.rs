//! Makes of the table of kinds what has a name for each: [`Kind`](super::Kind), [`Object`](super::Object) and the
//! maps of [`Resources`](super::Resources). A macro, since each map has a type of its own.

/// A row: kind, map, type of the API.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident in $map:ident: $api:ty),+ $(,)?) => {
        /// Kinds of input.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)+
            /// Routes, upstreams, plugins and defaults of the process's own file; there is one.
            Conf,
        }

        /// One object of any kind.
        #[derive(Clone, Debug, PartialEq)]
        #[expect(missing_docs, reason = "the variants are the kinds")]
        pub enum Object {
            $($kind(Sourced<$kind>),)+
            Conf(Sourced<Conf>),
        }

        /// The set. Maps are ordered, so that everything derived from them is too.
        #[derive(Clone, Debug, Default)]
        #[expect(missing_docs, reason = "the fields are the kinds")]
        pub struct Resources {
            $(pub $map: BTreeMap<ObjectName, Sourced<$kind>>,)+
            pub conf: Option<Sourced<Conf>>,
            pub(super) slices_by_service: SlicesByService,
        }

        $(impl Tabled for $api {
            const KIND: Kind = Kind::$kind;

            fn wrap(object: Sourced<$kind>) -> Object {
                Object::$kind(object)
            }

            fn all(resources: &Resources) -> &BTreeMap<ObjectName, Sourced<$kind>> {
                &resources.$map
            }
        })+

        impl Kind {
            /// All kinds of Kubernetes.
            pub(crate) const TABLE: &'static [Self] = &[$(Self::$kind),+];

            /// What the table says of it; nothing of the conf, which Kubernetes does not know.
            pub(crate) fn row(self) -> Option<&'static Row> {
                match self {
                    $(Self::$kind => Some(<$api as ApiKind>::ROW),)+
                    Self::Conf => None,
                }
            }

            /// Does something that needs its type of the API; nothing for the conf, which has none.
            pub(crate) fn visit<V: Visit>(self, visitor: V) -> Option<V::Output> {
                match self {
                    $(Self::$kind => Some(visitor.visit::<$api>()),)+
                    Self::Conf => None,
                }
            }
        }

        impl Object {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)+
                    Self::Conf(_) => Kind::Conf,
                }
            }

            /// Its kind and name, and where it was read from.
            pub fn origin(&self) -> &Arc<ObjectOrigin> {
                match self {
                    $(Self::$kind(it) => &it.origin,)+
                    Self::Conf(it) => &it.origin,
                }
            }
        }

        impl Resources {
            /// One of the objects.
            pub fn object(&self, ObjectRef { kind, name }: &ObjectRef) -> Option<Object> {
                match kind {
                    $(Kind::$kind => self.$map.get(name).cloned().map(Object::$kind),)+
                    Kind::Conf => self.conf.clone().map(Object::Conf),
                }
            }

            /// Names of all objects.
            pub(super) fn names(&self) -> BTreeSet<ObjectRef> {
                let mut names = BTreeSet::new();
                $(names.extend(self.$map.keys().map(|name| ObjectRef { kind: Kind::$kind, name: name.clone() }));)+
                names.extend(self.conf.iter().map(|_| ObjectRef { kind: Kind::Conf, name: ObjectName::default() }));
                names
            }

            /// How many objects there are.
            pub(super) fn len(&self) -> usize {
                [$(self.$map.len()),+].iter().sum()
            }

            /// Whether this very object is known. Much of what is told is nothing new: status, managed fields, a new
            /// list.
            pub(super) fn has(&self, name: &ObjectName, object: &Object) -> bool {
                match object {
                    $(Object::$kind(it) => self.$map.get(name) == Some(it),)+
                    Object::Conf(it) => self.conf.as_ref() == Some(it),
                }
            }

            /// Puts an object there.
            pub(super) fn put(&mut self, name: ObjectName, object: Object) {
                match object {
                    $(Object::$kind(it) => drop(self.$map.insert(name, it)),)+
                    Object::Conf(it) => self.conf = Some(it),
                }
            }

            /// Takes an object away, and says whether it was there.
            pub(super) fn take(&mut self, ObjectRef { kind, name }: &ObjectRef) -> bool {
                match kind {
                    $(Kind::$kind => self.$map.remove(name).is_some(),)+
                    Kind::Conf => self.conf.take().is_some(),
                }
            }

            /// Moves the entries of all maps together.
            pub(super) fn pack(&mut self) {
                $(dense::pack(&mut self.$map);)+
                self.slices_by_service.pack();
            }
        }
    };
}

pub(super) use kinds;
