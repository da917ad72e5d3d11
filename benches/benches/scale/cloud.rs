//! The gateway that is measured, and the customers who make handshakes with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use vgw_crypto::RandomSources;
use vgw_gateway::domain::{Gateway, TunnelName};
use vgw_gateway::revision::ChangeSet;
use vgw_gateway::status::Status;
use vgw_gateway::supervisor::{Supervisor, TunnelIndex, peer_config};
use vgw_ike::config::Limits;
use vgw_ike::endpoint::Endpoint;
use vgw_ike::event::{Content, Transmit};
use vgw_sa::GatewayId;
use vgw_sim::plane::Plane;
use vgw_sim::setup;

use crate::Failure;
use crate::many::{Sites, connection, customer, gateway};

/// Between two handshakes.
const PACE: Duration = Duration::from_millis(20);

/// Between two reloads. All that are measured take less than a CHILD SA's lifetime.
const RELOAD_PACE: Duration = Duration::from_millis(1);

/// The times that a changed configuration takes.
pub struct Took {
    /// To find out what changed. In the daemon nobody waits for it.
    pub compared: Duration,
    /// To do that.
    pub applied: Duration,
}

pub struct Cloud {
    sites: Sites,
    config: Gateway,
    supervisor: Supervisor,
    plane: Plane,
    now: Instant,
    seed: u64,
}

impl Cloud {
    /// Without a connection.
    pub fn new(sites: Sites) -> Self {
        let now = Instant::now();
        let config = gateway();
        let outside = config.outside_addresses.iter();
        Self {
            sites,
            plane: Plane::new(config.id, outside.map(|ours| ours.address).collect()),
            supervisor: Supervisor::new(now, setup::checked(config.clone()), random(0)),
            config,
            now,
            seed: 1,
        }
    }

    pub const fn sites(&self) -> Sites {
        self.sites
    }

    pub const fn config(&self) -> &Gateway {
        &self.config
    }

    /// Connections up to this number, both tunnels of each up.
    pub fn grow_to(&mut self, connections: u32) -> Result<(), Failure> {
        let there = u32::try_from(self.config.connections.len())?;
        let new = there..connections;
        let more = new.clone().map(|number| connection(self.sites, number));
        self.config.connections.extend(more);
        self.apply(self.config.clone());
        for number in new {
            for which in TunnelIndex::BOTH {
                self.handshake(number, which)?;
            }
        }
        Ok(())
    }

    /// Puts a configuration in force.
    pub fn apply(&mut self, config: Gateway) -> Took {
        self.now += RELOAD_PACE;
        let config = setup::checked(config);
        let before = Arc::clone(self.supervisor.revision());
        let began = Instant::now();
        let changes = ChangeSet::between(&before, config);
        let compared = began.elapsed();
        let began = Instant::now();
        let said = self.supervisor.apply(self.now, changes);
        self.execute();
        let applied = began.elapsed();
        drop((before, said));
        self.sent();
        Took { compared, applied }
    }

    /// Everything there is to see, as of now.
    pub fn status(&self) -> Status {
        self.supervisor.status(self.now)
    }

    /// Has a customer make a new IKE SA; the time that the gateway needs for it.
    pub fn handshake(&mut self, number: u32, which: TunnelIndex) -> Result<Duration, Failure> {
        self.now += PACE;
        let began = Instant::now();
        self.supervisor.handle_timeout(self.now);
        self.execute();
        let mut took = began.elapsed();
        self.sent();
        let connection = connection(self.sites, number);
        let name = TunnelName {
            connection: connection.id.clone(),
            number: which.number(),
        };
        let peer = {
            let gateway = customer(number, connection.clone());
            peer_config(&gateway, &connection, which.of(&connection.tunnels), &name)
        };
        self.seed += 1;
        let mut customer = Endpoint::new(without_jobs(), random(self.seed));
        customer.set_peer(self.now, GatewayId(0).tunnel(0), peer);
        customer.initiate(self.now, GatewayId(0).tunnel(0));
        for _ in ["IKE_SA_INIT", "IKE_AUTH"] {
            let request = customer.poll_transmit().ok_or("the customer is silent")?;
            let (local, remote, message) = parts(request)?;
            let began = Instant::now();
            self.supervisor
                .handle_datagram(self.now, remote, local, &message);
            self.execute();
            let answers = self.sent();
            took += began.elapsed();
            for answer in answers {
                let (local, remote, message) = parts(answer)?;
                customer.handle_datagram(self.now, remote, local, &message);
            }
        }
        let up = |event| matches!(event, vgw_ike::event::Event::ChildOutbound { .. });
        let mut events = std::iter::from_fn(|| customer.poll_event());
        if !events.any(up) {
            return Err(format!("{name} did not come up").into());
        }
        Ok(took)
    }

    /// Does what the supervisor says.
    fn execute(&mut self) {
        while let Some(command) = self.supervisor.poll_command() {
            if let Err(why) = self.plane.execute(command, &[0; 32]) {
                println!("    a command failed: {why}");
            }
        }
    }

    fn sent(&mut self) -> Vec<Transmit> {
        std::iter::from_fn(|| self.supervisor.poll_transmit()).collect()
    }
}

fn parts(transmit: Transmit) -> Result<(SocketAddr, SocketAddr, Vec<u8>), Failure> {
    match transmit.content {
        Content::Ike(message) => Ok((transmit.local, transmit.remote, message)),
        Content::NatKeepalive => Err("a NAT keepalive instead of a message".into()),
    }
}

fn random(seed: u64) -> RandomSources {
    let [secret, public] = [2 * seed, 2 * seed + 1].map(ChaCha20Rng::seed_from_u64);
    RandomSources::new(secret, public)
}

/// Every key exchange is made where it is needed.
fn without_jobs() -> Limits {
    Limits {
        job_from: Duration::MAX,
        ..Limits::default()
    }
}
