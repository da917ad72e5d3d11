//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;

/// One thing that is wrong or worth a warning. Shows as
/// `vgw.toml:12: gateway.asn: found 1, expected …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Its line, counted from 1, where there is one to name.
    pub line: Option<usize>,
    /// The field, `vpn_connection[1].tunnel[2].dpd_timeout_seconds`; empty for
    /// the file as a whole.
    pub field: String,
    /// What was found and what is allowed; never a secret.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

/// Turns an offset in a text into the number of its line.
#[derive(Debug)]
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, octet)| *octet == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line that `span` begins on, counted from 1.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.0
            .partition_point(|end| *end < span.start)
            .saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Problem};

    #[test]
    fn a_problem_names_file_line_field_and_reason() {
        let problem = Problem {
            file: "vgw.toml".to_owned(),
            line: Some(7),
            field: "gateway.asn".to_owned(),
            message: "found 1, expected more".to_owned(),
        };
        assert_eq!(
            problem.to_string(),
            "vgw.toml:7: gateway.asn: found 1, expected more"
        );
    }

    #[test]
    fn a_line_lasts_up_to_its_newline() {
        let lines = Lines::new("a\nbc\n\nd");
        for (at, line) in [(0, 1), (1, 1), (2, 2), (4, 2), (5, 3), (6, 4), (7, 4)] {
            assert_eq!(lines.line(&(at..at)), line, "offset {at}");
        }
    }
}
