//! What `swanctl --raw` prints, as JSON values.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Parses the `list-sa event {…}` lines of `swanctl --list-sas --raw`: one map of
/// IKE SAs by connection name for each.
pub fn events(text: &str) -> Result<Vec<Map<String, Value>>> {
    let mut events = Vec::new();
    for line in text.lines() {
        let Some((_, body)) = line.split_once(" event {") else {
            continue;
        };
        let mut rest = body;
        events.push(section(&mut rest).with_context(|| format!("in {line:?}"))?);
    }
    Ok(events)
}

/// The entries up to the closing brace: `key=value`, `key {…}`, `key=[…]`.
fn section(rest: &mut &str) -> Result<Map<String, Value>> {
    let mut entries = Map::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            *rest = after;
            return Ok(entries);
        }
        let Some(end) = rest.find(['=', '{']) else {
            bail!("a section does not end");
        };
        let (key, after) = rest.split_at(end);
        let (key, value) = (key.trim().to_owned(), after);
        let value = if let Some(inner) = value.strip_prefix('{') {
            *rest = inner;
            Value::Object(section(rest)?)
        } else if let Some(list) = value.strip_prefix("=[") {
            let (list, after) = list.split_once(']').context("a list does not end")?;
            *rest = after;
            list.split_whitespace().map(Value::from).collect()
        } else {
            let value = value.strip_prefix('=').unwrap_or(value);
            let end = value.find([' ', '}']).unwrap_or(value.len());
            let (text, after) = value.split_at(end);
            *rest = after;
            Value::from(text)
        };
        entries.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_sections_and_lists_are_read() {
        let text = "list-sa event {vpn {uniqueid=1 state=ESTABLISHED remote-vips=[] child-sas \
                    {net-2 {name=net state=INSTALLED local-ts=[10.0.0.0/16 10.1.0.0/16]}}}}\n\
                    list-sas reply {}\n";
        let events = events(text).unwrap();
        assert_eq!(events.len(), 1);
        let vpn = &events[0]["vpn"];
        assert_eq!(vpn["state"], "ESTABLISHED");
        assert_eq!(vpn["remote-vips"], Value::Array(Vec::new()));
        assert_eq!(vpn["child-sas"]["net-2"]["local-ts"][1], "10.1.0.0/16");
    }

    #[test]
    fn a_section_without_an_end_is_an_error() {
        assert!(events("list-sa event {vpn {state=").is_err());
    }
}
