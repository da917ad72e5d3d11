//! Look-ups as the workers make them: of a destination (longest prefix, tunnel,
//! selectors), and of an SPI, also while SAs are replaced; and what such changes
//! take. They are made on a data plane that runs, for which root is needed.

#![allow(
    clippy::disallowed_methods,
    reason = "a bench measures time; what it measures does not read the clock"
)]

mod plane;
mod traffic;

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::Criterion;
use ipnet::IpNet;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use vgw_dataplane::{Family, InnerPacket, Lookup};
use vgw_sa::{GatewayId, NextHop};

use crate::plane::{Plane, spi_of};
use crate::traffic::{packets_to, prefixes, selectors};

type Failure = Box<dyn Error>;

const GATEWAY: GatewayId = GatewayId(0);
const TUNNELS: [u32; 2] = [1, 1_000];
const ROUTES: [u32; 3] = [1, 100, 10_000];
/// Look-ups go round so many packets or SPIs in no order.
const DIFFERENT: usize = 4_096;

fn main() -> Result<(), Failure> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
        .configure_from_args();
    let mut plane = Plane::start()?;
    for tunnels in TUNNELS {
        plane.grow_to(tunnels)?;
        for routes in ROUTES {
            destinations(&mut criterion, &plane, tunnels, routes)?;
        }
        spis(&mut criterion, &plane, tunnels)?;
    }
    many_selectors(&mut criterion, &plane)?;
    criterion.final_summary();
    Ok(())
}

fn destinations(
    criterion: &mut Criterion,
    plane: &Plane,
    tunnels: u32,
    routes: u32,
) -> Result<(), Failure> {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    for family in [Family::V4, Family::V6] {
        let prefixes = prefixes(family, routes, &mut random)?;
        let packets = packets_to(&prefixes, DIFFERENT, &mut random);
        let by_tunnel = (0..tunnels)
            .map(|number| GATEWAY.tunnel(number))
            .cycle()
            .map(NextHop::from);
        let table: Vec<(IpNet, NextHop)> = prefixes.into_iter().zip(by_tunnel).collect();
        plane.data.set_forwarding(GATEWAY, table.clone());
        let case = format!("{family:?}, {routes} routes, {tunnels} tunnels");
        look_up(
            criterion,
            &format!("look-up/destination/{case}"),
            plane,
            &packets,
        )?;
        criterion.bench_function(&format!("change/forwarding table/{case}"), |b| {
            b.iter(|| plane.data.set_forwarding(GATEWAY, table.clone()));
        });
    }
    Ok(())
}

fn many_selectors(criterion: &mut Criterion, plane: &Plane) -> Result<(), Failure> {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    for count in [1, 16] {
        let prefixes = prefixes(Family::V4, count, &mut random)?;
        plane.send_with(0, selectors(&prefixes))?;
        let table = prefixes
            .iter()
            .map(|prefix| (*prefix, GATEWAY.tunnel(0).into()))
            .collect();
        plane.data.set_forwarding(GATEWAY, table);
        let packets = packets_to(&prefixes, DIFFERENT, &mut random);
        let name = format!("look-up/selectors/{count} on each side");
        look_up(criterion, &name, plane, &packets)?;
    }
    Ok(())
}

fn look_up(
    criterion: &mut Criterion,
    name: &str,
    plane: &Plane,
    packets: &[Vec<u8>],
) -> Result<(), Failure> {
    let packets = packets.iter().map(|octets| InnerPacket::parse(octets));
    let packets: Vec<InnerPacket<'_>> = packets.collect::<Result<_, _>>()?;
    let mut lookup = plane.data.lookup();
    for packet in &packets {
        let found = lookup.outbound(GATEWAY, packet);
        found.map_err(|reason| format!("{name}: {}", reason.name()))?;
    }
    criterion.bench_function(name, |b| {
        let mut packets = packets.iter().cycle();
        b.iter(|| {
            packets
                .next()
                .map(|packet| lookup.outbound(GATEWAY, packet))
        });
    });
    Ok(())
}

fn spis(criterion: &mut Criterion, plane: &Plane, tunnels: u32) -> Result<(), Failure> {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let spis: Vec<u32> = (0..DIFFERENT)
        .map(|_| spi_of(random.next_u32() % tunnels))
        .collect();
    let mut lookup = plane.data.lookup();
    if !spis.iter().all(|spi| lookup.inbound(*spi).is_some()) {
        return Err("an SPI that was installed is not found".into());
    }
    criterion.bench_function(&format!("look-up/SPI/{tunnels} tunnels"), |b| {
        find_all(b, &mut lookup, &spis);
    });

    let mut spare = plane.spare(tunnels);
    criterion.bench_function(&format!("change/CHILD SA/{tunnels} tunnels"), |b| {
        b.iter(|| spare.replace());
    });
    let stop = AtomicBool::new(false);
    let changes = std::thread::scope(|scope| {
        let control = scope.spawn(|| replace_until(&stop, &mut spare));
        let name = format!("look-up/SPI/{tunnels} tunnels, SAs being replaced");
        criterion.bench_function(&name, |b| find_all(b, &mut lookup, &spis));
        stop.store(true, Ordering::Relaxed);
        control.join()
    });
    let rate = changes.map_err(|_| "the thread that replaces SAs panicked")??;
    println!("    SAs replaced meanwhile: {rate} a second");
    spare.remove()
}

fn find_all(b: &mut criterion::Bencher<'_>, lookup: &mut Lookup<'_>, spis: &[u32]) {
    let mut spis = spis.iter().cycle();
    b.iter(|| spis.next().map(|spi| lookup.inbound(black_box(*spi))));
}

/// Replaces an SA as often as it goes; says how often a second that was.
fn replace_until(stop: &AtomicBool, spare: &mut plane::Spare<'_>) -> Result<u128, String> {
    let start = Instant::now();
    let mut count = 0_u128;
    while !stop.load(Ordering::Relaxed) {
        spare.replace().map_err(|error| error.to_string())?;
        count += 1;
    }
    Ok(count * 1000 / start.elapsed().as_millis().max(1))
}
