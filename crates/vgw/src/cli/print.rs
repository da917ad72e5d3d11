//! Standard output, whose reader may have gone away: `vgw status | head`.

use std::io::{self, Write};

/// Writes a text and a newline; a reader that is gone is none of our business.
pub(super) fn line(text: &str) {
    let _ = try_line(text);
}

/// Writes a text and a newline.
pub(super) fn try_line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
