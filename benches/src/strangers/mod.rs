//! Case 7: what strangers cost. Each attack is made on a gateway of its own, and it is
//! measured what users feel meanwhile.

mod clients;
mod daemon;
mod floods;
mod guesses;
mod messages;
mod outcome;
mod scene;
mod socket;
#[cfg(test)]
mod tests;
mod users;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vgw_admin::wire::Status;
use vgw_harness::workspace;

use self::outcome::Outcome;
use self::scene::{Scene, identities};
use self::users::{Felt, count_arrivals, feel};
use crate::Plan;
use crate::rounds::{Rounds, Row, spread};
use crate::say;
use crate::subject::Subject;

/// Its number.
pub const CASE: u8 = 7;

/// An attack, and how many connections there are beside the customer's.
struct Attack {
    /// As in the results.
    name: &'static str,
    strangers: u16,
    what: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Nothing,
    /// So many a second.
    Refused(u32),
    RefusedAtAnyRate,
    InvalidValues {
        rate: u32,
        each_cookie: bool,
    },
    /// So many bits a second.
    HoldPlaces(u32),
    Guesses,
    SlowScrapers,
    IdleAdmins,
    Scrapers,
    Garbage,
}

const ATTACKS: [Attack; 17] = [
    attack("none, 50 connections", 50, Kind::Nothing),
    attack("none, 500 connections", 500, Kind::Nothing),
    attack("a: 50 connections, 100/s", 50, Kind::Refused(100)),
    attack("a: 50 connections, 1,000/s", 50, Kind::Refused(1_000)),
    attack("a: 100 connections, 100/s", 100, Kind::Refused(100)),
    attack("a: 100 connections, 1,000/s", 100, Kind::Refused(1_000)),
    attack("a: 500 connections, 100/s", 500, Kind::Refused(100)),
    attack("a: 500 connections, 1,000/s", 500, Kind::Refused(1_000)),
    attack("b: one cookie, 400/s", 50, invalid(400, false)),
    attack("b: every cookie, 4,000/s", 50, invalid(4_000, true)),
    attack("c: eight hosts, 0.38 Mbit/s", 50, Kind::HoldPlaces(380_000)),
    attack("g: guesses", 50, Kind::Guesses),
    attack("h: 1,000 slow scrapers", 50, Kind::SlowScrapers),
    attack("h: 1,000 idle clients", 50, Kind::IdleAdmins),
    attack("h: 8 scrapers, 1,004 tunnels", 500, Kind::Scrapers),
    attack("i: garbage", 50, Kind::Garbage),
    attack("i: refused", 50, Kind::RefusedAtAnyRate),
];

const fn attack(name: &'static str, strangers: u16, what: Kind) -> Attack {
    Attack {
        name,
        strangers,
        what,
    }
}

const fn invalid(rate: u32, each_cookie: bool) -> Kind {
    Kind::InvalidValues { rate, each_cookie }
}

/// A status that comes after the attack is not waited for any longer.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Makes each attack once.
///
/// # Errors
/// When this process was asked to end.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    if !plan.subjects().any(|subject| subject == Subject::Vgw) {
        return Ok(());
    }
    for (number, attack) in ATTACKS.iter().enumerate() {
        let files = format!("bench-vgw-strangers-{number}");
        let rows = attack.make(plan, &files).with_context(|| {
            let logs = workspace::directory(&files);
            format!("{}, whose logs are in {}", attack.name, logs.display())
        });
        if let Some(rows) = rounds.keep(rows)? {
            rounds.append(rows);
        }
        plan.save(rounds)?;
    }
    Ok(())
}

impl Attack {
    fn make(&self, plan: &Plan, files: &str) -> Result<Vec<Row>> {
        let mut scene = Scene::start(&plan.programs.vgw, files, self.strangers)?;
        count_arrivals(&scene.stage.topology.vpc)?;
        let stop = AtomicBool::new(false);
        let outcome = std::thread::scope(|scope| {
            let attack = scope.spawn(|| self.what.make(&scene, &stop));
            std::thread::sleep(self.what.lead());
            let felt = feel(&scene);
            stop.store(true, Ordering::Relaxed);
            let made = attack.join().ok().context("the attack panicked")?;
            anyhow::Ok((felt?, made?))
        });
        // Whatever else failed, this would be why.
        scene.gateway.check()?;
        let (felt, made) = outcome?;
        let report = self.report(&felt, made)?;
        let afterwards = scene.gateway.control().status(AFTERWARDS);
        say(&format!("  counted: {}", counted(afterwards.ok().as_ref())));
        scene.end()?;
        Ok(report)
    }

    /// Says what was felt; the rows of it.
    fn report(&self, felt: &Felt, made: Outcome) -> Result<Vec<Row>> {
        let answered = made.answers();
        say(&format!(
            "{}: {:.0}/s sent, {:.0}/s arrived at port 500, {:.0}/s overflowed, {answered:.0}/s answered",
            self.name,
            made.rate(),
            felt.arrived,
            felt.overflowed,
        ));
        if let Kind::Refused(_) | Kind::InvalidValues { .. } = self.what {
            let share = felt.arrived / made.rate();
            ensure!(share > 0.9, "only {share:.2} of the attack arrived");
        }
        let lost = 100.0 * per(felt.packets.lost(), felt.packets.sent);
        say(&format!(
            "  CPU {:.2} s/s, control thread {:.2}; {lost:.1} % of packets lost, longest gap {:?}{}",
            felt.cpu,
            felt.control_thread,
            felt.packets.longest_gap,
            if felt.stayed {
                ""
            } else {
                "; THE TUNNEL WENT DOWN"
            }
        ));
        let mut rows = vec![
            self.row("attack", "/s", &[made.rate()]),
            self.row("attack, answered", "/s", &[answered]),
            self.row("at port 500", "/s", &[felt.arrived]),
            self.row("lost for a full buffer", "/s", &[felt.overflowed]),
            self.row("CPU time", "s/s", &[felt.cpu]),
            self.row(
                "CPU time of the control thread",
                "s/s",
                &[felt.control_thread],
            ),
            self.row("packets lost", "%", &[lost]),
            self.row(
                "tunnel stayed up",
                "1 = yes",
                &[f64::from(u8::from(felt.stayed))],
            ),
        ];
        for (name, times) in [
            ("status", &felt.status),
            ("scrape", &felt.scrape),
            ("handshake", &felt.handshake),
            ("rekey", &felt.rekey),
        ] {
            say(&format!("  {name:10} {times}"));
            let took: Vec<_> = times
                .took
                .iter()
                .map(|took| took.as_secs_f64() * 1e3)
                .collect();
            rows.push(self.row(name, "ms", &took));
            if times.in_vain > 0 {
                let in_vain = f64::from(u32::try_from(times.in_vain)?);
                rows.push(self.row(&format!("{name}, in vain"), "times", &[in_vain]));
            }
        }
        Ok(rows.into_iter().flatten().collect())
    }

    fn row(&self, metric: &str, unit: &str, values: &[f64]) -> Option<Row> {
        let spread = spread(values.to_vec())?;
        Some(Row {
            case: format!("strangers, {}", self.name),
            subject: Subject::Vgw.name().to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            median: spread.median,
            min: spread.min,
            max: spread.max,
            rounds: spread.count,
        })
    }
}

impl Kind {
    /// Makes the attack until it is stopped.
    fn make(self, scene: &Scene, stop: &AtomicBool) -> Result<Outcome> {
        let (attackers, gateway) = (&scene.attackers.gateway, &scene.stage.topology.vpc);
        match self {
            Self::Nothing => Ok(Outcome::since(Instant::now(), 0)),
            Self::Refused(rate) => floods::refuse(attackers, rate, stop),
            Self::RefusedAtAnyRate => floods::refuse_all(attackers, stop),
            Self::InvalidValues { rate, each_cookie } => {
                floods::invalid_values(attackers, rate, each_cookie, stop)
            }
            Self::HoldPlaces(bits) => floods::hold_places(attackers, bits, stop),
            Self::Guesses => {
                let [customer, gateway] = identities("any-7");
                guesses::guess(attackers, &customer, &gateway, stop)
            }
            Self::SlowScrapers => clients::slow_scrapers(gateway, stop),
            Self::IdleAdmins => clients::idle_admins(scene.gateway.control().path(), stop),
            Self::Scrapers => clients::scrapers(gateway, stop),
            Self::Garbage => floods::garbage(attackers, stop),
        }
    }

    /// How long it goes on before it is measured.
    const fn lead(self) -> Duration {
        match self {
            // Until every place is taken.
            Self::HoldPlaces(_) => Duration::from_secs(4),
            _ => Duration::from_secs(1),
        }
    }
}

/// What a daemon counts of messages and their fate, if it does.
fn counted(status: Option<&Status>) -> String {
    let Some(status) = status else {
        return format!("no status within {AFTERWARDS:?} of the attack's end");
    };
    let messages = &status.ike_messages;
    let counters = [&messages.received, &messages.dropped, &status.denied];
    let counters = counters
        .into_iter()
        .flatten()
        .filter(|(_, count)| **count > 0);
    let words: Vec<_> = counters
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    format!("half_open {}, {}", status.half_open, words.join(", "))
}

fn per(part: u64, all: u64) -> f64 {
    let share = |count| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    share(part) / share(all.max(1))
}
