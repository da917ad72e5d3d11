//! Writing of numbers and lengths.

/// Appends two octets.
pub(super) fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A 16-bit length field that is filled in when its structure is complete.
#[must_use]
pub(super) struct Length {
    start: usize,
    at: usize,
}

impl Length {
    /// Reserves the field at the end of `out`; it will count from `start`.
    pub(super) fn reserve(out: &mut Vec<u8>, start: usize) -> Self {
        let at = out.len();
        out.extend([0, 0]);
        Self { start, at }
    }

    /// Fills the field in: the structure ends at the end of `out`.
    pub(super) fn fill(self, out: &mut [u8]) {
        let length = u16::try_from(out.len() - self.start).unwrap_or(u16::MAX);
        if let Some(field) = out.get_mut(self.at..self.at + 2) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}
