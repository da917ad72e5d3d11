//! Tables of a file, read option by option, so that every error in it is found and none of
//! its lines is ever quoted.
//!
//! An option is declared where it is read: its key, what it may be, its default. serde would
//! stop at the first unknown key or wrong type, and the TOML library's own error text shows
//! the line, which may hold a pre-shared key.

use toml::de::{DeTable, DeValue};
use vgw_gateway::rules::{Bounds, Refusal};

use super::report::Report;
use super::{suggestion, values};

/// A table of the file and which of its keys were asked for.
#[derive(Debug)]
pub(super) struct Table<'d> {
    report: &'d Report,
    place: String,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// The whole file.
    pub(super) fn root(report: &'d Report, entries: &'d DeTable<'d>) -> Self {
        Self::at(report, String::new(), Some(entries))
    }

    fn at(report: &'d Report, place: String, entries: Option<&'d DeTable<'d>>) -> Self {
        Self {
            report,
            place,
            entries,
            asked: Vec::new(),
        }
    }

    /// Makes something of the table, then notes every key that was not asked for.
    pub(super) fn make<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let made = read(&mut self);
        self.refuse_other_keys();
        made
    }

    /// The report on the file.
    pub(super) fn report(&self) -> &'d Report {
        self.report
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

    /// Whether the file sets the key, well or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// One value; None if it is unset or could not be read.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&'d DeValue<'d>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let refused = |refusal| self.report.refusal(&self.field(key), &refusal);
        parse(value).map_err(refused).ok()
    }

    /// The `id`, which it must have and no other table of its kind may have. Its place, which
    /// cannot be an id, stands in for one that is missing or taken.
    pub(super) fn id(&mut self) -> String {
        let expected = "a name in quotes";
        let id = self.require("id", expected, |value| values::text(value, expected));
        let kind = self.place.split('[').next().unwrap_or_default();
        let free = id.filter(|id| self.report.take_id(kind, id, &self.field("id")));
        free.unwrap_or(&self.place).to_owned()
    }

    /// One value that must be set.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&'d DeValue<'d>) -> Result<T, Refusal>,
    ) -> Option<T> {
        if !self.has(key) {
            self.refuse(key, format!("is missing, expected {expected}"));
        }
        self.read(key, parse)
    }

    /// A truth value.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, values::boolean).unwrap_or(default)
    }

    /// A number that has a default.
    pub(super) fn number<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        bounds: Bounds,
    ) -> T {
        let given = self.read(key, values::number(bounds));
        given.unwrap_or_else(|| values::default_number(bounds))
    }

    /// A list. `stand_in` takes the place of an item that cannot be read, so
    /// that the others keep their numbers.
    pub(super) fn list<T: Clone>(
        &mut self,
        key: &'static str,
        stand_in: &T,
        parse: impl Fn(&'d DeValue<'d>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let items = self.items(key, "a list, [ … ]")?;
        let read = |(place, item): (String, _)| {
            parse(item).unwrap_or_else(|refusal| {
                self.report.refusal(&place, &refusal);
                stand_in.clone()
            })
        };
        Some(items.into_iter().map(read).collect())
    }

    /// A table below this one, absent if it is not there.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'d> {
        let place = self.field(key);
        let expected = format!("a table, [{place}]");
        let entries = self.read(key, |value| table(value, &expected));
        Table::at(self.report, place, entries)
    }

    /// The tables of an array of tables.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'d>> {
        let expected = format!("tables headed [[{key}]], with two brackets");
        let items = self.items(key, &expected).unwrap_or_default();
        let below = |(place, item): (String, _)| {
            let refused = |refusal| self.report.refusal(&place, &refusal);
            let entries = table(item, "a table").map_err(refused).ok();
            Table::at(self.report, place, entries)
        };
        items.into_iter().map(below).collect()
    }

    /// Item `number` of an array of tables, which is not there.
    pub(super) fn absent_item(&self, key: &str, number: usize) -> Table<'d> {
        let place = format!("{}[{number}]", self.field(key));
        Table::at(self.report, place, None)
    }

    /// Notes an error in a key, whose value is then stood in for.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) {
        self.report.refuse(&self.field(key), message);
    }

    /// Has the value of a key count as not what the file says.
    pub(super) fn stand_in(&self, key: &str) {
        self.report.stand_in(&self.field(key));
    }

    pub(super) fn warn(&self, key: &str, message: impl Into<String>) {
        self.report.warn(&self.field(key), message);
    }

    fn value(&mut self, key: &'static str) -> Option<&'d DeValue<'d>> {
        self.asked.push(key);
        let (name, value) = self.entries?.get_key_value(key)?;
        self.report.place(&self.field(key), name.span());
        Some(value.get_ref())
    }

    /// The items of a list, each with its name.
    fn items(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Option<Vec<(String, &'d DeValue<'d>)>> {
        let items = self.read(key, |value| {
            let refusal = || Refusal::new(values::describe(value), expected);
            value.as_array().ok_or_else(refusal)
        })?;
        let list = self.field(key);
        let named = (1_usize..).zip(items).map(|(number, item)| {
            let place = format!("{list}[{number}]");
            self.report.place(&place, item.span());
            (place, item.get_ref())
        });
        Some(named.collect())
    }

    fn refuse_other_keys(&self) {
        let entries = self.entries.into_iter().flatten();
        for (key, _) in entries {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let shown = suggestion::shown(name);
            self.report.place(&self.field(&shown), key.span());
            let message = match suggestion::nearest(name, &self.asked) {
                Some(known) => format!("is not a known key; did you mean {known:?}?"),
                None => format!(
                    "is not a known key here; known are {}",
                    self.asked.join(", ")
                ),
            };
            self.refuse(&shown, message);
        }
    }
}

fn table<'d>(value: &'d DeValue<'d>, expected: &str) -> Result<&'d DeTable<'d>, Refusal> {
    let refusal = || Refusal::new(values::describe(value), expected);
    value.as_table().ok_or_else(refusal)
}
