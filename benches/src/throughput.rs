//! Cases 1 to 3: TCP flows through one tunnel.

use anyhow::Result;
use vgw_harness::iperf3::Transfer;

use crate::Plan;
use crate::entrant::{self, Entrant};
use crate::rounds::Rounds;
use crate::say;
use crate::subject::{Subject, Suite};

/// The case as it stands in the results.
pub fn case(flows: u8, suite: Suite) -> String {
    let flows = match flows {
        1 => "one TCP flow".to_owned(),
        8 => "eight TCP flows".to_owned(),
        other => format!("{other} TCP flows"),
    };
    format!("{flows}, {}", suite.name())
}

/// The case of the list that a subject belongs to.
fn number(subject: Subject) -> u8 {
    match subject {
        Subject::Vgw | Subject::Native => 1,
        Subject::Floor => 2,
        Subject::StrongSwan | Subject::GotaTun | Subject::BoringTun => 3,
    }
}

/// Measures every subject of these cases, turn and turn about.
pub fn run(plan: &Plan, rounds: &mut Rounds) -> Result<()> {
    let measured = |subject: &Subject| plan.includes(number(*subject));
    let which = plan.subjects().filter(measured).flat_map(|subject| {
        let suites = suites(plan, subject).iter();
        suites.map(move |suite| (subject, *suite))
    });
    let mut entrants = entrant::start_all(plan, which, rounds)?;
    let flows: &[u8] = if plan.quick { &[1] } else { &[1, 8] };
    for round in 1..=plan.rounds {
        say(&format!("TCP flows, round {round} of {}", plan.rounds));
        for flows in flows {
            let transfer = Transfer {
                flows: *flows,
                seconds: plan.seconds,
            };
            entrant::each(&mut entrants, rounds, |entrant, rounds| {
                entrant.transfer(transfer, &case(*flows, entrant.suite), rounds)
            })?;
        }
        plan.save(rounds)?;
    }
    entrants.into_iter().try_for_each(Entrant::end)
}

fn suites(plan: &Plan, subject: Subject) -> &'static [Suite] {
    let suites = subject.suites();
    if plan.quick {
        return suites.get(..1).unwrap_or_default();
    }
    suites
}
