//! What integrity check values cover, and how long they are.

use std::ops::Range;

/// Longest integrity check value, in octets.
pub(crate) const MAX_ICV_LEN: usize = 32;

/// What one integrity check value of a burst covers. The value lies right behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Covered {
    /// Octets of the burst's buffer.
    pub range: Range<usize>,
    /// The high half of an extended sequence number, which is covered but not
    /// sent (RFC 4303 section 2.2.1).
    pub high: Option<[u8; 4]>,
}

impl Covered {
    /// The covered octets of `buffer`; empty if they do not lie there.
    pub(crate) fn octets<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.range.clone()).unwrap_or_default()
    }

    /// Where the check value of `len` octets lies.
    pub(crate) fn icv_place(&self, len: usize) -> Option<Range<usize>> {
        let Range { start, end } = self.range;
        (start <= end).then(|| end..end.saturating_add(len))
    }

    /// The octets of [`Self::high`].
    pub(crate) fn high(&self) -> &[u8] {
        self.high.as_ref().map_or(&[], <[u8; 4]>::as_slice)
    }
}
