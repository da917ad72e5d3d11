//! Results as a table and as JSON.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::rounds::Row;
use crate::targets::{Goal, Target};

/// The results and the ratios that are aimed for, as text.
pub fn table(rows: &[Row], targets: &[Target]) -> Result<String> {
    let widest = |column: fn(&Row) -> &str, title: &str| {
        let widths = rows.iter().map(|row| column(row).chars().count());
        widths.max().unwrap_or_default().max(title.len())
    };
    let mut text = String::new();
    let case = widest(|row| &row.case, "case");
    let metric = widest(|row| &row.metric, "metric");
    writeln!(
        text,
        "{:case$}  {:10}  {:metric$}  {:>11}  {:>11}  {:>11}  {:13}  {:>6}",
        "case", "subject", "metric", "median", "min", "max", "unit", "rounds"
    )?;
    for row in rows {
        writeln!(
            text,
            "{:case$}  {:10}  {:metric$}  {:>11}  {:>11}  {:>11}  {:13}  {:>6}",
            row.case,
            row.subject,
            row.metric,
            figure(row.median),
            figure(row.min),
            figure(row.max),
            row.unit,
            row.rounds
        )?;
    }
    let measured: Vec<_> = targets.iter().filter(|t| t.found.is_some()).collect();
    if !measured.is_empty() {
        writeln!(text, "\n{:62}  {:>8}  target", "ratio of medians", "found")?;
    }
    for target in measured {
        let found = target.found.unwrap_or_default();
        let verdict = match target.reached() {
            Some(true) => "reached",
            Some(false) => "MISSED",
            None => "",
        };
        let goal = goal(target.goal);
        let line = format!("{:62}  {found:>8.2}  {goal:14}  {verdict}", target.what);
        writeln!(text, "{}", line.trim_end())?;
    }
    Ok(text)
}

fn goal(goal: Goal) -> String {
    match goal {
        Goal::AtLeast(least) => format!("at least {least}"),
        Goal::MoreThan(least) => format!("more than {least}"),
        Goal::AtMost(most) => format!("at most {most}"),
        Goal::None => "none".to_owned(),
    }
}

/// Three digits or more.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// Writes the results as a list of objects, and makes the folder for it. What was in
/// the file stays until all of it is written.
///
/// # Errors
/// When it cannot be written.
pub fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(rows)?;
    text.push('\n');
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let new = path.with_extension("json.new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_at_least() {
        assert_eq!(figure(123_456.7), "123457");
        assert_eq!(figure(12.345), "12.3");
        assert_eq!(figure(1.234), "1.23");
        assert_eq!(figure(0.1234), "0.123");
    }

    #[test]
    fn a_target_that_was_not_measured_is_not_in_the_table() {
        let target = |what, found| Target {
            what,
            found,
            goal: Goal::AtLeast(2.0),
        };
        let targets = [target("first", Some(1.5)), target("second", None)];
        let text = table(&[], &targets).unwrap();
        assert!(text.contains("first"), "{text}");
        assert!(text.contains("1.50  at least 2      MISSED"), "{text}");
        assert!(!text.contains("second"), "{text}");
    }
}
