//! What a gateway with many VPN connections, all of them up, has to do for one: a
//! handshake, a changed configuration. What is asked of the data plane is done
//! to its tables, without devices. The larger of two figures of one row should be as the
//! smaller, but for reading a file and for comparing it with the one before, which a thread
//! of its own does.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures time; what it measures does not read the clock"
)]

mod cloud;
mod many;

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use vgw_gateway::domain::{Gateway, StartupAction};
use vgw_gateway::supervisor::TunnelIndex;
use vgwd::config;

use crate::cloud::Cloud;
use crate::many::{Sites, connection, file};

type Failure = Box<dyn Error>;

/// An inside CIDR for each tunnel, above those that AWS reserves, allows for 7,999.
const CONNECTIONS: [u32; 4] = [500, 1_000, 4_000, 7_500];

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for sites in [Sites::Addressed, Sites::Anywhere] {
        let mut cloud = Cloud::new(sites);
        for connections in CONNECTIONS {
            cloud.grow_to(connections)?;
            handshake(&mut criterion, &mut cloud, connections)?;
            if sites == Sites::Addressed {
                reload(&mut criterion, &mut cloud, connections);
            }
        }
    }
    for connections in CONNECTIONS {
        let text = file(connections);
        // Once before, so that a mistake is no time.
        config::load_str(&text, "bench").map_err(|problems| format!("{problems:?}"))?;
        criterion.bench_function(&format!("reload/read the file/{connections}"), |b| {
            b.iter(|| config::load_str(black_box(&text), "bench"));
        });
    }
    criterion.final_summary();
    Ok(())
}

fn handshake(
    criterion: &mut Criterion,
    cloud: &mut Cloud,
    connections: u32,
) -> Result<(), Failure> {
    let sites = cloud.sites();
    let mut number = 0;
    // Once before, so that a mistake is no time.
    cloud.handshake(0, TunnelIndex::First)?;
    criterion.bench_function(&format!("handshake/{sites}/{connections}"), |b| {
        b.iter_custom(|times| {
            (0..times)
                .filter_map(|_| {
                    number = (number + 7) % connections;
                    cloud.handshake(number, TunnelIndex::First).ok()
                })
                .sum()
        });
    });
    Ok(())
}

fn reload(criterion: &mut Criterion, cloud: &mut Cloud, connections: u32) {
    let before = cloud.config().clone();
    let mut changed = before.clone();
    for tunnel in middle(&mut changed) {
        tunnel.startup_action = StartupAction::Start;
        tunnel.replay_window = 64;
    }
    let mut restarted = before.clone();
    for tunnel in middle(&mut restarted) {
        tunnel.dpd_timeout += Duration::from_secs(1);
    }
    let mut more = before.clone();
    more.connections
        .push(connection(cloud.sites(), connections));
    for (name, other) in [
        ("nothing", before.clone()),
        ("an option of one", changed),
        ("the keys of one", restarted),
        ("one added or removed", more),
    ] {
        let mut turn = [other, before.clone()].into_iter().cycle();
        criterion.bench_function(&format!("reload/change {name}/{connections}"), |b| {
            b.iter_custom(|times| {
                let turns = turn
                    .by_ref()
                    .take(usize::try_from(times).unwrap_or(usize::MAX));
                turns.map(|config| cloud.apply(config).applied).sum()
            });
        });
        cloud.apply(before.clone());
    }
    criterion.bench_function(&format!("status/{connections}"), |b| {
        b.iter(|| cloud.status());
    });
    criterion.bench_function(&format!("reload/compare/{connections}"), |b| {
        b.iter_custom(|times| {
            let turns = 0..times;
            turns.map(|_| cloud.apply(before.clone()).compared).sum()
        });
    });
}

/// The tunnels of the connection in the middle of the file.
fn middle(gateway: &mut Gateway) -> impl Iterator<Item = &mut vgw_gateway::domain::Tunnel> {
    let middle = gateway.connections.len() / 2;
    let connection = gateway.connections.get_mut(middle);
    connection.into_iter().flat_map(|one| &mut one.tunnels)
}
