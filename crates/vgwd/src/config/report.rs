//! What is wrong with a file, collected while it is read: every problem, and where it is.
//!
//! A value that cannot be read is noted and stood in for. No rule is then applied to what
//! stands in, so that one mistake causes one complaint.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use vgw_gateway::rules::{self, Refusal, Violation};

use super::places::Places;
use super::problem::{Lines, Problem};

/// The report on one file. Its tables share it.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    lines: Lines,
    noted: RefCell<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    places: BTreeMap<String, Range<usize>>,
    unreadable: BTreeSet<String>,
    /// Fields that break a rule.
    broken: BTreeSet<String>,
    /// The ids of each kind of tables, with the fields that have them.
    ids: BTreeMap<(String, String), String>,
    /// The first field with a pre-shared key in clear.
    inline_key: Option<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: Lines::new(text),
            noted: RefCell::default(),
        }
    }

    /// Notes an error of syntax.
    pub(super) fn syntax(&self, error: &toml::de::Error) {
        let problem = Problem {
            file: self.file.clone(),
            line: error.span().map(|span| self.lines.line(&span)),
            field: String::new(),
            message: error.message().to_owned(),
        };
        self.noted.borrow_mut().problems.push(problem);
    }

    /// Notes an error in `field`, whose value is then stood in for.
    pub(super) fn refuse(&self, field: &str, message: impl Into<String>) {
        let problem = self.problem(field, message.into());
        self.noted.borrow_mut().problems.push(problem);
        self.stand_in(field);
    }

    /// As [`Self::refuse`], in the words of the rules.
    pub(super) fn refusal(&self, field: &str, refusal: &Refusal) {
        let message = format!("found {}, expected {}", refusal.found, refusal.expected);
        self.refuse(field, message);
    }

    /// Marks `field` and what is below it as not what the file says, so that
    /// no rule is applied to it.
    pub(super) fn stand_in(&self, field: &str) {
        self.noted.borrow_mut().unreadable.insert(field.to_owned());
    }

    /// Notes a broken rule, unless it follows from a value that could not be read.
    pub(super) fn violation(&self, places: &Places, violation: &Violation) {
        let field = places.field(&violation.subject, violation.field);
        let with = violation.clashes_with.as_ref();
        let with = with.map(|(subject, field)| places.field(subject, *field));
        // What it clashes with counts as a whole: an item that could not be read may be
        // the one that is missed.
        let follows = |other: &str| self.is_stood_in(other) || self.is_doubtful(other);
        if self.is_stood_in(&field) || with.as_deref().is_some_and(follows) {
            return;
        }
        self.broken_rule(&field, with.as_deref(), violation.to_string());
        self.noted.borrow_mut().broken.insert(field);
    }

    /// Notes that `field` has this id, and gives whether no other table of the kind has it.
    pub(super) fn take_id(&self, kind: &str, id: &str, field: &str) -> bool {
        let key = (kind.to_owned(), id.to_owned());
        let taken = self.noted.borrow().ids.get(&key).cloned();
        if let Some(taken) = &taken {
            let Refusal { found, expected } = rules::repeated_id(id);
            let message = format!("found {found}, expected {expected}");
            self.broken_rule(field, Some(taken), message);
            self.stand_in(field);
        } else {
            self.noted.borrow_mut().ids.insert(key, field.to_owned());
        }
        taken.is_none()
    }

    /// Notes an error in `field`, which the value of the other one makes an error.
    fn broken_rule(&self, field: &str, with: Option<&str>, mut message: String) {
        if let Some(line) = with.and_then(|with| self.line(with)) {
            message.push_str(&format!(" (see line {line})"));
        }
        let problem = self.problem(field, message);
        self.noted.borrow_mut().problems.push(problem);
    }

    pub(super) fn warn(&self, field: &str, message: impl Into<String>) {
        let warning = self.problem(field, message.into());
        self.noted.borrow_mut().warnings.push(warning);
    }

    /// Whether something in or below `field` could not be read, or breaks a rule.
    pub(super) fn is_doubtful(&self, field: &str) -> bool {
        let noted = self.noted.borrow();
        noted.unreadable.iter().chain(&noted.broken).any(|bad| {
            bad.strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Notes that `field` holds a pre-shared key in clear.
    pub(super) fn note_inline_key(&self, field: &str) {
        let mut noted = self.noted.borrow_mut();
        noted.inline_key.get_or_insert_with(|| field.to_owned());
    }

    /// Whether a file with this mode may hold the keys that are in it.
    pub(super) fn judge_inline_keys(&self, mode: u32) {
        const GROUP: u32 = 0o070;
        const OTHERS: u32 = 0o007;
        let Some(field) = self.noted.borrow().inline_key.clone() else {
            return;
        };
        let shown = mode & 0o7777;
        if mode & OTHERS != 0 {
            let message = format!(
                "stands in a file of mode {shown:04o}, expected one that not everyone may read \
                 (chmod 600), or pre_shared_key_file"
            );
            self.refuse(&field, message);
        } else if mode & GROUP != 0 {
            let message = format!("stands in a file that its group may read (mode {shown:04o})");
            self.warn(&field, message);
        }
    }

    /// The warnings; or, if there is any, the problems in the order of the file.
    pub(super) fn verdict(self) -> Result<Vec<Problem>, Vec<Problem>> {
        let Noted {
            mut problems,
            mut warnings,
            ..
        } = self.noted.into_inner();
        if problems.is_empty() {
            warnings.sort_by_key(|warning| warning.line);
            return Ok(warnings);
        }
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }

    /// Notes where the file has a field.
    pub(super) fn place(&self, field: &str, span: Range<usize>) {
        self.noted
            .borrow_mut()
            .places
            .insert(field.to_owned(), span);
    }

    fn problem(&self, field: &str, message: String) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line(field),
            field: field.to_owned(),
            message,
        }
    }

    /// The line of a field, or else of the innermost table that it would be in.
    fn line(&self, field: &str) -> Option<usize> {
        let noted = self.noted.borrow();
        let span = ancestors(field).find_map(|place| noted.places.get(place))?;
        Some(self.lines.line(span))
    }

    fn is_stood_in(&self, field: &str) -> bool {
        let noted = self.noted.borrow();
        ancestors(field).any(|place| noted.unreadable.contains(place))
    }
}

/// `a[1].b`, `a[1]`, `a`.
fn ancestors(field: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(field), |place| {
        let end = place.rfind(['.', '['])?;
        place.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use super::ancestors;

    #[test]
    fn a_field_lies_within_its_list_and_its_tables() {
        let names: Vec<&str> = ancestors("vpn_connection[1].tunnel[2].identity").collect();
        assert_eq!(
            names,
            [
                "vpn_connection[1].tunnel[2].identity",
                "vpn_connection[1].tunnel[2]",
                "vpn_connection[1].tunnel",
                "vpn_connection[1]",
                "vpn_connection",
            ]
        );
    }
}
