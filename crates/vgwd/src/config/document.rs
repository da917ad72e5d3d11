//! TOML with its positions: tables that are read key by key, so that every
//! error in a file is found and none of its lines is ever quoted.
//!
//! serde would stop at the first unknown key or wrong type, and the TOML
//! library's own error text shows the line, which may hold a pre-shared key.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use toml::de::{DeTable, DeValue};
use vgw_gateway::rules::{Refusal, Violation};

use super::places::Places;
use super::problem::{Lines, Problem};
use super::suggestion;

/// What was learned from a file so far.
#[derive(Debug)]
pub(super) struct Notes {
    file: String,
    lines: Lines,
    places: BTreeMap<String, Range<usize>>,
    unreadable: BTreeSet<String>,
    /// Fields that break a rule.
    broken: BTreeSet<String>,
    inline_keys: Vec<String>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Notes {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: Lines::new(text),
            places: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            broken: BTreeSet::new(),
            inline_keys: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes an error of syntax.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let problem = Problem {
            file: self.file.clone(),
            line: error.span().map(|span| self.lines.line(&span)),
            field: String::new(),
            message: error.message().to_owned(),
        };
        self.problems.push(problem);
    }

    /// Notes an error in `field`, whose value is then stood in for.
    pub(super) fn refuse(&mut self, field: &str, message: impl Into<String>) {
        let problem = self.problem(field, message.into());
        self.problems.push(problem);
        self.stand_in(field);
    }

    /// As [`Self::refuse`], in the words of the rules.
    pub(super) fn refusal(&mut self, field: &str, refusal: &Refusal) {
        let message = format!("found {}, expected {}", refusal.found, refusal.expected);
        self.refuse(field, message);
    }

    /// Marks `field` and what is below it as not what the file says, so that
    /// no rule is applied to it.
    pub(super) fn stand_in(&mut self, field: &str) {
        self.unreadable.insert(field.to_owned());
    }

    /// Notes a broken rule, unless it follows from a value that could not be read.
    pub(super) fn violation(&mut self, places: &Places, violation: &Violation) {
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
        self.broken.insert(field);
    }

    /// Notes an error in `field`, which the value of the other one makes an error.
    pub(super) fn broken_rule(&mut self, field: &str, with: Option<&str>, mut message: String) {
        if let Some(line) = with.and_then(|with| self.line(with)) {
            message.push_str(&format!(" (see line {line})"));
        }
        let problem = self.problem(field, message);
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, field: &str, message: impl Into<String>) {
        let warning = self.problem(field, message.into());
        self.warnings.push(warning);
    }

    /// Whether something in or below `field` could not be read, or breaks a rule.
    pub(super) fn is_doubtful(&self, field: &str) -> bool {
        self.unreadable.iter().chain(&self.broken).any(|bad| {
            bad.strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Notes that `field` holds a pre-shared key in clear.
    pub(super) fn note_inline_key(&mut self, field: &str) {
        self.inline_keys.push(field.to_owned());
    }

    /// Whether a file with this mode may hold the keys that are in it.
    pub(super) fn judge_inline_keys(&mut self, mode: u32) {
        const GROUP: u32 = 0o070;
        const OTHERS: u32 = 0o007;
        let Some(field) = self.inline_keys.first().cloned() else {
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
    pub(super) fn verdict(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        if self.problems.is_empty() {
            self.warnings.sort_by_key(|warning| warning.line);
            return Ok(self.warnings);
        }
        self.problems.sort_by_key(|problem| problem.line);
        Err(self.problems)
    }

    fn problem(&self, field: &str, message: String) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line(field),
            field: field.to_owned(),
            message,
        }
    }

    fn line(&self, field: &str) -> Option<usize> {
        let span = ancestors(field).find_map(|place| self.places.get(place))?;
        Some(self.lines.line(span))
    }

    fn is_stood_in(&self, field: &str) -> bool {
        ancestors(field).any(|place| self.unreadable.contains(place))
    }

    fn place(&mut self, field: &str, span: Range<usize>) {
        self.places.insert(field.to_owned(), span);
    }
}

/// `a[1].b`, `a[1]`, `a`.
fn ancestors(field: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(field), |place| {
        let end = place.rfind(['.', '['])?;
        place.get(..end)
    })
}

/// A table of the file and which of its keys were asked for.
#[derive(Debug)]
pub(super) struct Table<'d> {
    place: String,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// The whole file.
    pub(super) fn root(entries: &'d DeTable<'d>) -> Self {
        Self {
            place: String::new(),
            entries: Some(entries),
            asked: Vec::new(),
        }
    }

    /// A table that is not there: every key is unset.
    pub(super) fn absent(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            entries: None,
            asked: Vec::new(),
        }
    }

    /// Its name in the file, `vpn_connection[1]`.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether the file has it.
    pub(super) fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// The full name of one of its keys.
    pub(super) fn field(&self, key: &str) -> String {
        if self.place.is_empty() {
            return key.to_owned();
        }
        format!("{}.{key}", self.place)
    }

    fn value(&mut self, notes: &mut Notes, key: &'static str) -> Option<&'d DeValue<'d>> {
        self.asked.push(key);
        let (name, value) = self.entries?.get_key_value(key)?;
        notes.place(&self.field(key), name.span());
        Some(value.get_ref())
    }

    /// One value; None if it is unset or could not be read.
    pub(super) fn read<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        parse: impl FnOnce(&'d DeValue<'d>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let value = self.value(notes, key)?;
        match parse(value) {
            Ok(parsed) => Some(parsed),
            Err(refusal) => {
                notes.refusal(&self.field(key), &refusal);
                None
            }
        }
    }

    /// One value that must be set.
    pub(super) fn require<T>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        parse: impl FnOnce(&'d DeValue<'d>) -> Result<T, Refusal>,
        expected: &str,
    ) -> Option<T> {
        let parsed = self.read(notes, key, parse);
        if !self.has(key) {
            notes.refuse(&self.field(key), format!("is missing, expected {expected}"));
        }
        parsed
    }

    /// Whether the file sets the key, well or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// A list. `stand_in` takes the place of an item that cannot be read, so
    /// that the others keep their numbers.
    pub(super) fn list<T: Clone>(
        &mut self,
        notes: &mut Notes,
        key: &'static str,
        stand_in: &T,
        parse: impl Fn(&'d DeValue<'d>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let value = self.value(notes, key)?;
        let place = self.field(key);
        let Some(items) = value.as_array() else {
            let found = super::values::describe(value);
            notes.refusal(&place, &Refusal::new(found, "a list, [ … ]"));
            return None;
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let this = format!("{place}[{}]", index.saturating_add(1));
            notes.place(&this, item.span());
            parsed.push(parse(item.get_ref()).unwrap_or_else(|refusal| {
                notes.refusal(&this, &refusal);
                stand_in.clone()
            }));
        }
        Some(parsed)
    }

    /// A table below this one, absent if it is not there.
    pub(super) fn table(&mut self, notes: &mut Notes, key: &'static str) -> Table<'d> {
        let place = self.field(key);
        let Some(value) = self.value(notes, key) else {
            return Table::absent(&place);
        };
        let Some(entries) = value.as_table() else {
            let found = super::values::describe(value);
            notes.refusal(&place, &Refusal::new(found, format!("a table, [{place}]")));
            return Table::absent(&place);
        };
        Table {
            place,
            entries: Some(entries),
            asked: Vec::new(),
        }
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&mut self, notes: &mut Notes, key: &'static str) -> Vec<Table<'d>> {
        let place = self.field(key);
        let Some(value) = self.value(notes, key) else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            let found = super::values::describe(value);
            let expected = format!("tables headed [[{key}]], with two brackets");
            notes.refusal(&place, &Refusal::new(found, expected));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let this = format!("{place}[{}]", index.saturating_add(1));
            notes.place(&this, item.span());
            let entries = item.get_ref().as_table();
            if entries.is_none() {
                let found = super::values::describe(item.get_ref());
                notes.refusal(&this, &Refusal::new(found, "a table"));
            }
            tables.push(Table {
                place: this,
                entries,
                asked: Vec::new(),
            });
        }
        tables
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self, notes: &mut Notes) {
        let Some(entries) = self.entries else { return };
        for (key, _) in entries {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let shown: String = name
                .escape_debug()
                .take(suggestion::LONGEST_SHOWN)
                .collect();
            let field = self.field(&shown);
            notes.place(&field, key.span());
            let message = match suggestion::nearest(name, &self.asked) {
                Some(known) => format!("is not a known key; did you mean {known:?}?"),
                None => format!(
                    "is not a known key here; known are {}",
                    self.asked.join(", ")
                ),
            };
            notes.refuse(&field, message);
        }
    }
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
