//! The ratios that are aimed for. They are reported, never required.

use crate::packets::Way;
use crate::rounds::Row;
use crate::subject::Suite;
use crate::{entrant, many, packets, throughput};

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    MoreThan(f64),
    AtMost(f64),
    /// It stands beside another for comparison.
    None,
}

/// A ratio of the run and its goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub what: &'static str,
    /// None if the run did not measure both sides of it.
    pub found: Option<f64>,
    pub goal: Goal,
}

impl Target {
    /// Whether it is reached; None if it was not measured or there is no goal.
    pub fn reached(&self) -> Option<bool> {
        let found = self.found?;
        match self.goal {
            Goal::AtLeast(least) => Some(found >= least),
            Goal::MoreThan(least) => Some(found > least),
            Goal::AtMost(most) => Some(found <= most),
            Goal::None => None,
        }
    }
}

/// All targets, of medians.
pub fn all(rows: &[Row]) -> Vec<Target> {
    let tcp = |flows, suite, subject| {
        let case = throughput::case(flows, suite);
        median(rows, &case, subject, entrant::THROUGHPUT.name)
    };
    let (gcm, cbc) = (Suite::Aes128Gcm, Suite::Aes256CbcSha256);
    let one = tcp(1, gcm, "vgw");
    let wireguard = ["gotatun", "boringtun"]
        .into_iter()
        .filter_map(|subject| tcp(1, Suite::ChaCha20Poly1305, subject))
        .max_by(f64::total_cmp);
    let small = |way: Way| {
        let rate = |subject| median(rows, &packets::case(64), subject, way.rate().name);
        ratio(rate("vgw"), rate("strongswan"))
    };
    let cost = |direction, subject, cipher| {
        let case = format!("{direction}/1400, {cipher}");
        median(rows, &case, subject, "cost")
    };
    let transform = |direction| {
        let ours = cost(direction, "vgw", "AES128-GCM-16/ESN");
        ratio(ours, cost(direction, "ring", "AES-128-GCM"))
    };
    let target = |what, found, goal| Target { what, found, goal };
    vec![
        target(
            "one TCP flow, AES-128-GCM : without cryptography",
            ratio(one, tcp(1, gcm, "floor")),
            Goal::AtLeast(0.85),
        ),
        target(
            "one TCP flow : strongSwan user space",
            ratio(one, tcp(1, gcm, "strongswan")),
            Goal::AtLeast(12.0),
        ),
        target(
            "one TCP flow : best user-space WireGuard",
            ratio(one, wireguard),
            Goal::AtLeast(4.0),
        ),
        target(
            "seal of a 1,400-byte packet : bare ring",
            transform("seal"),
            Goal::AtMost(1.15),
        ),
        target(
            "open of a 1,400-byte packet : bare ring",
            transform("open"),
            Goal::AtMost(1.15),
        ),
        target(
            "AES-256-CBC+SHA2-256 flow : AES-128-GCM flow",
            ratio(tcp(1, cbc, "vgw"), one),
            Goal::AtLeast(0.5),
        ),
        target(
            "eight TCP flows : one",
            ratio(tcp(8, gcm, "vgw"), one),
            Goal::MoreThan(1.0),
        ),
        target(
            "packets per second, 64 bytes, in trains : strongSwan user space",
            small(Way::InTrains),
            Goal::AtLeast(8.0),
        ),
        target(
            "the same one by one, where the sender may be the limit",
            small(Way::OneByOne),
            Goal::None,
        ),
        target(
            "resident memory per active tunnel with its IKE SA, KiB",
            median(rows, many::CASE, "vgw", many::MEMORY.name),
            Goal::None,
        ),
    ]
}

fn median(rows: &[Row], case: &str, subject: &str, metric: &str) -> Option<f64> {
    let is_it = |row: &&Row| row.case == case && row.subject == subject && row.metric == metric;
    rows.iter().find(is_it).map(|row| row.median)
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> Option<f64> {
    Some(ours? / theirs.filter(|theirs| *theirs > 0.0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, subject: &str, metric: &str, median: f64) -> Row {
        Row {
            case: case.to_owned(),
            subject: subject.to_owned(),
            metric: metric.to_owned(),
            unit: String::new(),
            median,
            min: median,
            max: median,
            rounds: 5,
        }
    }

    #[test]
    fn ratios_are_of_medians_and_the_best_wireguard_counts() {
        let gcm = "one TCP flow, AES-128-GCM";
        let chacha = "one TCP flow, ChaCha20-Poly1305";
        let rows = [
            row(gcm, "vgw", "throughput", 3.0),
            row(gcm, "vgw", "CPU time", 99.0),
            row(gcm, "floor", "throughput", 4.0),
            row(gcm, "strongswan", "throughput", 0.25),
            row(chacha, "boringtun", "throughput", 0.5),
            row(chacha, "gotatun", "throughput", 1.0),
            row("seal/1400, AES128-GCM-16/ESN", "vgw", "cost", 700.0),
            row("seal/1400, AES-128-GCM", "ring", "cost", 700.0),
            row("UDP, 64-octet packets", "vgw", "rate without loss", 6.0),
            row(
                "UDP, 64-octet packets",
                "strongswan",
                "rate without loss",
                2.0,
            ),
        ];
        let found: Vec<_> = all(&rows)
            .iter()
            .map(|target| (target.found, target.reached()))
            .collect();
        let expected = [
            (Some(0.75), Some(false)),
            (Some(12.0), Some(true)),
            (Some(3.0), Some(false)),
            (Some(1.0), Some(true)),
        ];
        assert_eq!(found.get(..4), Some(expected.as_slice()));
        // Without a goal there is nothing to reach.
        let rest = found.iter().skip(4).filter(|found| found.0.is_some());
        assert_eq!(rest.collect::<Vec<_>>(), [&(Some(3.0), None)]);
    }

    #[test]
    fn more_than_is_not_at_least() {
        let target = |goal| Target {
            what: "",
            found: Some(1.0),
            goal,
        };
        assert_eq!(target(Goal::MoreThan(1.0)).reached(), Some(false));
        assert_eq!(target(Goal::AtLeast(1.0)).reached(), Some(true));
        assert_eq!(target(Goal::AtMost(1.0)).reached(), Some(true));
    }
}
