//! Figures of many rounds, what is reported of them, and what failed.

use anyhow::Result;
use serde::Serialize;
use vgw_lab::interrupt;

use crate::say;

/// One line of the results.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was done.
    pub case: String,
    /// Who did it.
    pub subject: String,
    /// What was measured.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// The middle of the rounds' figures; of an even number, between the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// How many.
    pub rounds: usize,
}

/// Figures as they come in, of every case, subject and metric.
#[derive(Debug, Default)]
pub struct Rounds {
    series: Vec<Series>,
    /// Results that come whole.
    others: Vec<Row>,
    /// What could not be measured, and why.
    failures: Vec<String>,
}

#[derive(Debug)]
struct Series {
    case: String,
    subject: &'static str,
    metric: Metric,
    values: Vec<f64>,
}

/// What is measured, and its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// As in the results.
    pub name: &'static str,
    /// As in the results.
    pub unit: &'static str,
}

impl Rounds {
    /// Adds the figure of one round.
    pub fn add(&mut self, case: &str, subject: &'static str, metric: Metric, value: f64) {
        let same = |series: &&mut Series| {
            series.case == case && series.subject == subject && series.metric == metric
        };
        match self.series.iter_mut().find(same) {
            Some(series) => series.values.push(value),
            None => self.series.push(Series {
                case: case.to_owned(),
                subject,
                metric,
                values: vec![value],
            }),
        }
    }

    /// Adds results of something that has its own rounds.
    pub fn append(&mut self, rows: Vec<Row>) {
        self.others.extend(rows);
    }

    /// The results so far, in the order in which their first figures came in.
    pub fn rows(&self) -> Vec<Row> {
        let series = self.series.iter().filter_map(Series::row);
        series.chain(self.others.iter().cloned()).collect()
    }

    /// What something gave, or None if it failed: the others go on without it, and the
    /// failure is reported at the end.
    ///
    /// # Errors
    /// The failure, when this process was asked to end.
    pub fn keep<T>(&mut self, outcome: Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if interrupt::requested() => Err(error),
            Err(error) => {
                say(&format!("FAILED: {error:#}"));
                self.failures.push(format!("{error:#}"));
                Ok(None)
            }
        }
    }

    /// Measures one after the other. One that fails is out, so that no further round
    /// waits for it.
    ///
    /// # Errors
    /// The failure, when this process was asked to end.
    pub fn each<T>(
        &mut self,
        subjects: &mut Vec<T>,
        mut measure: impl FnMut(&T, &mut Self) -> Result<()>,
    ) -> Result<()> {
        for subject in std::mem::take(subjects) {
            let measured = measure(&subject, self);
            if self.keep(measured)?.is_some() {
                subjects.push(subject);
            }
        }
        Ok(())
    }

    /// What failed so far.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }
}

impl Series {
    fn row(&self) -> Option<Row> {
        let spread = spread(self.values.clone())?;
        Some(Row {
            case: self.case.clone(),
            subject: self.subject.to_owned(),
            metric: self.metric.name.to_owned(),
            unit: self.metric.unit.to_owned(),
            median: spread.median,
            min: spread.min,
            max: spread.max,
            rounds: spread.count,
        })
    }
}

/// Where some figures lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

/// None if there are no figures.
pub fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let count = values.len();
    let upper = *values.get(count / 2)?;
    let lower = *values.get(count.checked_sub(1)? / 2)?;
    Some(Spread {
        median: f64::midpoint(lower, upper),
        min: *values.first()?,
        max: *values.last()?,
        count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GBPS: Metric = Metric {
        name: "throughput",
        unit: "Gbit/s",
    };

    fn median(values: &[f64]) -> Option<f64> {
        spread(values.to_vec()).map(|spread| spread.median)
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn figures_of_the_same_thing_are_one_row_whatever_came_between() {
        let mut rounds = Rounds::default();
        for (subject, value) in [("vgw", 1.0), ("floor", 5.0), ("vgw", 3.0), ("vgw", 2.0)] {
            rounds.add("one TCP flow", subject, GBPS, value);
        }
        rounds.add("eight TCP flows", "vgw", GBPS, 7.0);
        let rows = rounds.rows();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| {
                let which = (row.case.as_str(), row.subject.as_str());
                (which, [row.min, row.median, row.max], row.rounds)
            })
            .collect();
        let expected = [
            (("one TCP flow", "vgw"), [1.0, 2.0, 3.0], 3),
            (("one TCP flow", "floor"), [5.0; 3], 1),
            (("eight TCP flows", "vgw"), [7.0; 3], 1),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_fails_is_remembered_and_loses_no_figure() {
        let mut rounds = Rounds::default();
        rounds.add("one TCP flow", "vgw", GBPS, 1.0);
        assert_eq!(rounds.keep(Ok(7)).unwrap(), Some(7));
        let failed: Result<()> = Err(anyhow::anyhow!("no route").context("floor"));
        assert_eq!(rounds.keep(failed).unwrap(), None);
        assert_eq!(rounds.failures(), ["floor: no route"]);
        assert_eq!(rounds.rows().len(), 1);
    }

    #[test]
    fn a_row_has_the_fields_that_were_agreed() {
        let mut rounds = Rounds::default();
        rounds.add("one TCP flow", "vgw", GBPS, 1.5);
        let json = serde_json::to_string(&rounds.rows()).unwrap();
        assert_eq!(
            json,
            r#"[{"case":"one TCP flow","subject":"vgw","metric":"throughput","unit":"Gbit/s","median":1.5,"min":1.5,"max":1.5,"rounds":1}]"#
        );
    }
}
