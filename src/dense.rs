//! Ordered maps without empty room.
//!
//! A leaf module: maps that are filled once, key after key, and changed little by little after that.

use std::collections::BTreeMap;

/// Moves a map's entries together: one that was filled in order of its keys keeps half of its room empty.
pub(crate) fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    // Collecting fills every node, since it knows what is to come.
    *map = std::mem::take(map).into_iter().collect();
}
