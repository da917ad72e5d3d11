//! Escapes what others say in the log, so that it neither begins a line or a field of its own
//! nor moves the reader's cursor.

use std::fmt;

/// Writes text with its control characters and line separators escaped.
pub(super) struct Escaped<W>(pub(super) W);

impl<W: fmt::Write> fmt::Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(is_unsafe) {
            let end = part.chars().next_back().filter(|last| is_unsafe(*last));
            let plain = part.len() - end.map_or(0, char::len_utf8);
            self.0.write_str(part.get(..plain).unwrap_or_default())?;
            if let Some(end) = end {
                write!(self.0, "{}", end.escape_default())?;
            }
        }
        Ok(())
    }
}

/// Bidirectional controls, too, which show words in another order than they are in.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::Escaped;

    #[test]
    fn what_would_end_a_line_or_move_the_cursor_is_escaped_and_all_else_stays() {
        for (text, expected) in [
            ("", ""),
            (
                "plain \"text\" with \\ and é",
                "plain \"text\" with \\ and é",
            ),
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            (
                "\0\u{85}\u{2028}\u{202e}",
                "\\u{0}\\u{85}\\u{2028}\\u{202e}",
            ),
        ] {
            let mut escaped = String::new();
            Escaped(&mut escaped).write_str(text).unwrap();
            assert_eq!(escaped, expected);
        }
    }
}
