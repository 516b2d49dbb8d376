//! Who names what: from a host, backend or Secret to the contributions that have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dense;
use crate::translate::contribution::Contribution;

/// From a key to contributions. Most keys have one, which takes no list of its own.
#[derive(Debug)]
pub(crate) struct Index<K>(BTreeMap<K, Users>);

#[derive(Debug)]
#[expect(clippy::box_collection, reason = "there is one for each key, and hardly any has many users")]
enum Users {
    One(Arc<Contribution>),
    Many(Box<Vec<Arc<Contribution>>>),
}

// === impl Index ===

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Index<K> {
    /// Notes that a contribution has these keys.
    pub(crate) fn link<'a>(&mut self, keys: impl Iterator<Item = &'a K>, user: &Arc<Contribution>)
    where
        K: 'a,
    {
        for key in keys {
            match self.0.get_mut(key) {
                Some(users) => users.add(user),
                None => drop(self.0.insert(key.clone(), Users::One(Arc::clone(user)))),
            }
        }
    }

    /// Forgets it.
    pub(crate) fn unlink<'a>(&mut self, keys: impl Iterator<Item = &'a K>, user: &Arc<Contribution>)
    where
        K: 'a,
    {
        for key in keys {
            if let Some(users) = self.0.get_mut(key)
                && users.remove(user)
            {
                self.0.remove(key);
            }
        }
    }

    /// Gives up empty room.
    pub(crate) fn pack(&mut self) {
        dense::pack(&mut self.0);
    }

    /// The contributions that have a key, in no order.
    pub(crate) fn users(&self, key: &K) -> &[Arc<Contribution>] {
        self.0.get(key).map(Users::as_slice).unwrap_or_default()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    /// The keys from one on, in their order.
    pub(crate) fn keys_from(&self, first: K) -> impl Iterator<Item = &K> {
        self.0.range(first..).map(|(key, _)| key)
    }
}

// === impl Users ===

impl Users {
    fn as_slice(&self) -> &[Arc<Contribution>] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn add(&mut self, user: &Arc<Contribution>) {
        match self {
            Self::One(one) => *self = Self::Many(Box::new(vec![Arc::clone(one), Arc::clone(user)])),
            Self::Many(many) => many.push(Arc::clone(user)),
        }
    }

    /// Says whether nobody is left.
    fn remove(&mut self, user: &Arc<Contribution>) -> bool {
        match self {
            Self::One(one) => Arc::ptr_eq(one, user),
            Self::Many(many) => {
                many.retain(|known| !Arc::ptr_eq(known, user));
                many.is_empty()
            }
        }
    }
}
