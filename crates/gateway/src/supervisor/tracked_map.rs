//! A map that remembers which entries changed. The data plane and the kernel have copies of
//! our tables; they are given the changed entries only, so that one more connection does
//! not take longer where there are many.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A map, and what of it has changed since [`Self::take_changes`].
#[derive(Debug)]
pub(super) struct TrackedMap<K, V> {
    now: BTreeMap<K, V>,
    /// Of the entries that may differ: what the other side has.
    before: BTreeMap<K, Option<V>>,
}

impl<K, V> Default for TrackedMap<K, V> {
    fn default() -> Self {
        Self {
            now: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> TrackedMap<K, V> {
    pub(super) fn set(&mut self, key: K, value: V) {
        let before = self.now.insert(key.clone(), value);
        self.before.entry(key).or_insert(before);
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(before) = self.now.remove(key) {
            self.before.entry(key.clone()).or_insert(Some(before));
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.now.get(key)
    }

    /// Entries in the order of their keys.
    pub(super) fn range(&self, keys: RangeInclusive<K>) -> impl Iterator<Item = (&K, &V)> {
        self.now.range(keys)
    }

    /// The entries that changed since the last call, each as it is now; None if it was
    /// removed. What was changed and changed back is not among them.
    pub(super) fn take_changes(&mut self) -> Vec<(K, Option<V>)> {
        let mut changes = Vec::new();
        while let Some((key, before)) = self.before.pop_first() {
            let now = self.now.get(&key);
            if now != before.as_ref() {
                let now = now.cloned();
                changes.push((key, now));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::TrackedMap;

    #[test]
    fn only_what_differs_from_what_was_told_is_told() {
        let mut table = TrackedMap::default();
        for number in 0..100 {
            table.set(number, 'a');
        }
        assert_eq!(table.take_changes().len(), 100);
        assert_eq!(table.take_changes(), []);
        table.set(1, 'a');
        table.set(2, 'b');
        table.set(3, 'b');
        table.set(3, 'a');
        table.remove(&4);
        table.remove(&5);
        table.set(5, 'a');
        table.set(200, 'a');
        table.remove(&200);
        table.set(300, 'c');
        let changes = [(2, Some('b')), (4, None), (300, Some('c'))];
        assert_eq!(table.take_changes(), changes);
        assert_eq!(table.take_changes(), []);
        assert_eq!((table.now.get(&4), table.now.get(&5)), (None, Some(&'a')));
    }
}
