//! Sequences of losses at random: paths are cut, one way or both, for IKE, for ESP or for all;
//! lose some of their packets; stand still. In the end one path is whole, and then traffic must
//! flow by what works, soon and for good, however the sequence was. `VGW_SIM_SEEDS=n` takes n
//! sequences, `VGW_SIM_SEED=s` replays one; `VGW_SIM_LOG=debug` prints the log.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's helpers fail the test"
)]

use std::time::{Duration, Instant};

use vgw_gateway::status::{State, TunnelIndex};
use vgw_sim::dice::Dice;
use vgw_sim::error_log::ErrorLog;
use vgw_sim::network::Losses;
use vgw_sim::setup;
use vgw_sim::world::World;

const ENDS: [usize; 2] = [0, 1];
const VPN: &str = "vpn-1-1";

/// How many sequences every test run takes.
const SEQUENCES: u64 = if cfg!(debug_assertions) { 100 } else { 400 };

/// How often the carrier is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long a sequence's end lasts. In the last part nothing at all may be lost.
const END: Duration = Duration::from_secs(20);

/// Until then traffic flows, if no tunnel went down: both ends have noticed and moved, asked again
/// if both tunnels' peers did not answer (5 s), and thought twice.
const SOON: Duration = Duration::from_secs(12);

/// And if one did: until a peer is found dead (40 s) and the next attempt to initiate (30 s).
const LATER: Duration = Duration::from_secs(80);

/// And where ESP alone was lost: a tunnel that was found to go one way is not tried again before.
const ONE_WAY: Duration = Duration::from_secs(260);

/// The most IKE datagrams that an end may send per tunnel in [`WINDOW`], as in simulated days.
const IKE_PER_TUNNEL: u64 = 100;
const WINDOW: Duration = Duration::from_secs(10);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// What a sequence may hold.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Losses of ESP alone, in UDP as well. Without failback: that forgets with the IKE SA for
    /// ESP in UDP that the first tunnel passes nothing, and tries it again and again.
    esp_alone: bool,
    /// Longest time until the next step.
    longest: Duration,
    bound: Duration,
}

/// Most sequences are short, so that no tunnel goes down.
fn kind(dice: &mut Dice) -> Kind {
    let (esp_alone, longest, bound) = match dice.below(8) {
        0 => (true, ms(20_000), ONE_WAY),
        1 | 2 => (false, ms(50_000), LATER),
        _ => (false, ms(6_000), SOON),
    };
    Kind {
        esp_alone,
        longest,
        bound,
    }
}

/// What is lost on one way of a path.
fn losses(dice: &mut Dice, kind: Kind, partly: bool) -> Losses {
    let rate = if partly && dice.per_mille(400) {
        50 + u32::try_from(dice.below(450)).unwrap()
    } else {
        1000
    };
    match dice.below(if kind.esp_alone { 4 } else { 3 }) {
        0 => Losses { ike: rate, esp: 0 },
        3 => Losses { ike: 0, esp: rate },
        _ => Losses {
            ike: rate,
            esp: rate,
        },
    }
}

struct Sequence {
    start: Instant,
    dice: Dice,
    world: World,
    kind: Kind,
    carriers: [Option<TunnelIndex>; 2],
    moves: [Vec<Instant>; 2],
    ike_sent: [u64; 2],
    window_ends: Instant,
    steps: Vec<String>,
    wrong: Vec<String>,
}

impl Sequence {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let kind = kind(&mut dice);
        let mut world = World::new(seed);
        world.network.faults.delay = dice.between(ms(1), ms(120));
        let mut gateway = setup::gateway(1);
        let mut customer = setup::customer(1);
        let mut connection = setup::connection(1, 1);
        connection.failback = !kind.esp_alone && dice.per_mille(500);
        gateway.connections.push(connection.clone());
        connection.failback = !kind.esp_alone && dice.per_mille(500);
        customer.connections.push(setup::initiating(connection));
        world.add("gateway", gateway, setup::vpc_host(1));
        world.add("customer", customer, setup::site_host(1));
        world.start_all();
        let up = |world: &World| {
            ENDS.iter()
                .all(|end| [1, 2].iter().all(|n| tunnel_is_up(world, *end, *n)))
        };
        assert!(world.run_until(Duration::from_secs(10), up));
        // Either both send by themselves, or one asks and the other answers.
        let pace = dice.between(ms(15), ms(40));
        let (one, other) = if dice.per_mille(500) { (0, 1) } else { (1, 0) };
        let asks = world.flow(one, other, pace);
        if dice.per_mille(500) {
            world.flow(other, one, pace);
        } else {
            world.answering_flow(asks).unwrap();
        }
        let quiet = dice.between(ms(500), ms(6_000));
        world.run(quiet);
        let carriers = ENDS.map(|end| carrier(&world, end));
        let ike_sent = ENDS.map(|end| world.nodes[end].ike_sent);
        Self {
            start: world.now,
            dice,
            kind,
            carriers,
            moves: [Vec::new(), Vec::new()],
            ike_sent,
            window_ends: world.now + WINDOW,
            steps: vec![format!("{:?}", world.network.faults.delay)],
            wrong: Vec::new(),
            world,
        }
    }

    /// Loses packets on one way of a path from now on, or all ways that `lose` says.
    fn set(&mut self, number: u8, ways: [Losses; 2]) {
        let (ours, theirs) = (setup::outside(1, number), setup::customer_address(1));
        self.world.network.lose(ours, theirs, ways[0]);
        self.world.network.lose(theirs, ours, ways[1]);
        let at = self.world.now - self.start;
        let [out, back] = ways;
        self.steps.push(format!(
            "{at:?}: tunnel {number}: out {out:?}, back {back:?}"
        ));
    }

    /// What is lost on both ways of a path.
    fn ways(&mut self, partly: bool) -> [Losses; 2] {
        let losses = losses(&mut self.dice, self.kind, partly);
        let none = Losses::default();
        match self.dice.below(4) {
            0 => [losses, none],
            1 => [none, losses],
            _ => [losses, losses],
        }
    }

    /// Lets time pass and sees who carries and how much is asked.
    fn pass(&mut self, time: Duration) {
        let until = self.world.now + time;
        while self.world.now < until {
            self.world.run(LOOK.min(until - self.world.now));
            for end in ENDS {
                let now = carrier(&self.world, end);
                if std::mem::replace(&mut self.carriers[end], now) != now {
                    self.moves[end].push(self.world.now);
                }
            }
            if self.world.now >= self.window_ends {
                self.window_ends = self.world.now + WINDOW;
                self.judge_window();
            }
        }
    }

    fn judge_window(&mut self) {
        for end in ENDS {
            let now = self.world.nodes[end].ike_sent;
            let sent = now - std::mem::replace(&mut self.ike_sent[end], now);
            if sent > 2 * IKE_PER_TUNNEL {
                self.wrong
                    .push(format!("end {end} sent {sent} IKE datagrams in {WINDOW:?}"));
            }
        }
    }

    fn live(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            let number = if self.dice.per_mille(500) { 1 } else { 2 };
            let ways = if self.dice.per_mille(300) {
                [Losses::default(); 2]
            } else {
                self.ways(true)
            };
            self.set(number, ways);
            // Both at once, as where a peer stands still.
            if self.dice.per_mille(300) {
                self.set(3 - number, ways);
            }
            let pause = self.dice.between(ms(20), self.kind.longest);
            self.pass(pause);
        }
        let whole = if self.dice.per_mille(500) { 1 } else { 2 };
        self.set(whole, [Losses::default(); 2]);
        let other = if self.dice.per_mille(300) {
            [Losses::default(); 2]
        } else {
            self.ways(false)
        };
        self.set(3 - whole, other);
        self.pass(self.kind.bound);
        let before: Vec<u64> = self.missing();
        self.pass(END);
        self.judge(whole, &before);
    }

    fn missing(&self) -> Vec<u64> {
        let gone = |flow: &vgw_sim::world::Flow| {
            let tally = flow.tally;
            tally.not_sent + tally.lost + tally.stale
        };
        self.world.flows.iter().map(gone).collect()
    }

    fn judge(&mut self, whole: u8, before: &[u64]) {
        let after = self.missing();
        if after != before {
            self.wrong
                .push(format!("lost at last: {before:?} became {after:?}"));
        }
        for flow in &self.world.flows {
            let since = flow.last_delivered.map(|at| self.world.now - at);
            if since.is_none_or(|since| since > Duration::from_secs(1)) {
                self.wrong
                    .push(format!("nothing arrives at last: {flow:?}"));
            }
        }
        for end in ENDS {
            let tunnel = self.world.tunnel(end, VPN, whole).unwrap();
            let doubt = tunnel
                .suspect
                .filter(|suspect| suspect.age > Duration::from_secs(2));
            if tunnel.state != State::Up || doubt.is_some() {
                let (state, carrier) = (tunnel.state, self.carriers[end]);
                self.wrong.push(format!(
                    "end {end}: {state}, {doubt:?}, {carrier:?} carries"
                ));
            }
            let moves = &self.moves[end];
            for three in moves.windows(3) {
                if three[2] - three[0] < Duration::from_secs(1) {
                    self.wrong
                        .push(format!("end {end} moved to and fro: {three:?}"));
                }
            }
        }
        self.wrong.append(&mut self.world.violations);
    }
}

fn tunnel_is_up(world: &World, end: usize, number: u8) -> bool {
    let tunnel = world.tunnel(end, VPN, number);
    tunnel.is_some_and(|tunnel| tunnel.state == State::Up)
}

fn carrier(world: &World, end: usize) -> Option<TunnelIndex> {
    world.status(end)?.connections.first()?.active
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn live(seed: u64) -> [usize; 2] {
    let shown = std::env::var("VGW_SIM_LOG").ok();
    let shown = shown.map(|level| level.parse().unwrap_or(tracing::Level::INFO));
    let errors = ErrorLog::default();
    let sequence = errors.watch(shown, || {
        let mut sequence = Sequence::new(seed);
        sequence.live();
        sequence
    });
    assert!(
        sequence.wrong.is_empty(),
        "seed {seed}, {:?}:\n  {}\nafter\n  {}\nreplay with VGW_SIM_SEED={seed} cargo test -p vgw-sim --test losses",
        sequence.kind,
        sequence.wrong.join("\n  "),
        sequence.steps.join("\n  ")
    );
    sequence.moves.map(|moves| moves.len())
}

#[test]
fn whatever_is_lost_before_traffic_flows_by_a_path_that_is_whole() {
    if let Some(seed) = number("VGW_SIM_SEED") {
        live(seed);
        return;
    }
    let count = number("VGW_SIM_SEEDS").unwrap_or(SEQUENCES);
    let some = |first: u64| (first..=count).step_by(2).flat_map(live).sum::<usize>();
    let moves: usize = std::thread::scope(|scope| {
        let threads = [1, 2].map(|first| scope.spawn(move || some(first)));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    // What is judged must have happened.
    assert!(moves > 0);
}
