//! Sentences that hold what peers send, or long lists: always of bounded length.

use std::fmt::{self, Write};

/// How many items of a list are named; the rest are only counted.
pub const NAMED: usize = 6;
/// The longest sentence, in characters, that a peer's message can cause.
pub const MAX_SENTENCE: usize = 1_000;

/// The first few of `total` items, and how many more there are; `none` for an empty list.
pub fn few<T>(
    items: impl IntoIterator<Item = T>,
    total: usize,
    between: &str,
    name: impl Fn(T) -> String,
) -> String {
    let named: Vec<String> = items.into_iter().take(NAMED).map(name).collect();
    let more = total.saturating_sub(named.len());
    match (named.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => named.join(between),
        (false, more) => format!("{} and {more} more", named.join(between)),
    }
}

/// Writes at most [`MAX_SENTENCE`] characters, and no control characters.
pub(crate) struct BoundedText<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl<'a, 'f> BoundedText<'a, 'f> {
    pub(crate) fn new(to: &'a mut fmt::Formatter<'f>) -> Self {
        Self {
            to,
            left: MAX_SENTENCE,
        }
    }
}

impl Write for BoundedText<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match self.left {
                0 => return Ok(()),
                1 => self.to.write_char('…')?,
                _ if c.is_control() => self.to.write_char('?')?,
                _ => self.to.write_char(c)?,
            }
            self.left -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{NAMED, few};

    #[test]
    fn a_long_list_is_named_in_part_and_counted() {
        let list = |len: usize| few(0..len, len, ", ", |n| n.to_string());
        assert_eq!(list(0), "none");
        assert_eq!(list(2), "0, 1");
        assert_eq!(list(NAMED), "0, 1, 2, 3, 4, 5");
        assert_eq!(list(2_000), "0, 1, 2, 3, 4, 5 and 1994 more");
    }
}
