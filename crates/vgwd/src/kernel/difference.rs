//! What must be removed and added to get from what is to what should be.

use std::collections::BTreeSet;

/// The way from one set to another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference<T> {
    /// Is there and should not be.
    pub(super) surplus: Vec<T>,
    /// Should be there and is not.
    pub(super) missing: Vec<T>,
}

impl<T: Ord + Copy> Difference<T> {
    pub(super) fn between(found: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Self {
        Self {
            surplus: found.difference(wanted).copied().collect(),
            missing: wanted.difference(found).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Difference;

    #[test]
    fn what_is_as_it_should_be_is_not_touched() {
        let found = BTreeSet::from([1, 2, 3]);
        let wanted = BTreeSet::from([2, 3, 4]);
        let expected = Difference {
            surplus: vec![1],
            missing: vec![4],
        };
        assert_eq!(Difference::between(&found, &wanted), expected);
    }
}
