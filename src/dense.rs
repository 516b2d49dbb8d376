//! Ordered maps without empty room.
//!
//! A leaf module: maps that are filled once, key after key, and changed little by little after that.

use std::collections::BTreeMap;

/// Moves a map's entries together: one that was filled in order of its keys keeps half of its room empty.
pub(crate) fn pack<K: Ord, V>(map: &mut BTreeMap<K, V>) {
    // Collecting fills every node, since it knows what is to come.
    *map = std::mem::take(map).into_iter().collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_the_entries_and_gives_up_room() {
        let fill = || {
            (0..1000).fold(BTreeMap::new(), |mut map, n| {
                map.insert(n, n);
                map
            })
        };
        let bytes = |work: &dyn Fn() -> BTreeMap<u32, u32>| {
            let mut map = BTreeMap::new();
            let held = allocation_counter::measure(|| map = work()).bytes_current;
            assert_eq!(map, fill());
            held
        };
        let packed = bytes(&|| {
            let mut map = fill();
            pack(&mut map);
            map
        });
        assert!(packed * 3 < bytes(&fill) * 2, "a third goes");
    }
}
