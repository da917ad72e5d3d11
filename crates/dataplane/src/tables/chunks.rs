//! A list whose changed copy shares with the original what did not change.

use std::array;
use std::sync::Arc;

/// Entries that are copied together. Few, so that a change copies little; but
/// enough that the list of chunks, which every change copies too, stays short.
const CHUNK: usize = 32;

/// Entries by a number, default ones where none was put.
#[derive(Clone)]
pub(super) struct Chunks<T>(Vec<Arc<[T; CHUNK]>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    /// The entry, if the list is long enough.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// Every entry in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone + Default> Chunks<T> {
    /// The entry, to be changed, if the list is long enough.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let chunk = self.0.get_mut(index / CHUNK)?;
        Arc::make_mut(chunk).get_mut(index % CHUNK)
    }

    /// Makes the list long enough to have this entry.
    pub(super) fn grow_to(&mut self, index: usize) {
        if self.0.len() <= index / CHUNK {
            // One chunk for all of them until they are changed.
            let empty = Arc::new(array::from_fn(|_| T::default()));
            self.0.resize(index / CHUNK + 1, empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Chunks};

    #[test]
    fn an_entry_is_where_it_was_put_and_nowhere_else() {
        let mut list = Chunks::default();
        for index in [3, CHUNK, 4 * CHUNK - 1] {
            list.grow_to(index);
            *list.get_mut(index).unwrap() = index;
        }
        let found: Vec<_> = list.iter().enumerate().filter(|(_, e)| **e > 0).collect();
        assert!(found.iter().all(|(at, entry)| at == *entry));
        assert_eq!(found.len(), 3);
        assert_eq!(list.get(CHUNK), Some(&CHUNK));
        assert_eq!(list.get(4 * CHUNK), None);
        assert_eq!(list.get_mut(4 * CHUNK), None);
    }

    #[test]
    fn a_copy_is_changed_alone_and_shares_the_rest() {
        let mut original = Chunks::default();
        original.grow_to(3 * CHUNK - 1);
        let mut copy = original.clone();
        *copy.get_mut(CHUNK).unwrap() = 1;
        assert_eq!(original.get(CHUNK), Some(&0));
        assert_eq!(copy.get(CHUNK), Some(&1));
        let same = |index| std::ptr::eq(original.get(index).unwrap(), copy.get(index).unwrap());
        assert!(same(0) && same(2 * CHUNK));
        assert!(!same(CHUNK) && !same(2 * CHUNK - 1));
    }
}
