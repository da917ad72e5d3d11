//! A tunnel of the configuration as the negotiator's peer.

use std::time::Duration;

use vgw_crypto::{Integrity, Prf};
use vgw_ike::config::{EspAlgorithms, IkeAlgorithms, Lifetime, Liveness, OtherKey, PeerConfig};

use crate::domain::{Connection, DpdAction, Gateway, Tunnel, TunnelName};

/// A keep-alive is sent after this long without a sign of life, as AWS does.
pub const DPD_IDLE: Duration = Duration::from_secs(10);

/// What the negotiator must know of one tunnel, seen from our side of it.
#[must_use]
pub fn peer_config(
    gateway: &Gateway,
    connection: &Connection,
    tunnel: &Tunnel,
    name: &TunnelName,
) -> PeerConfig {
    let (local_id, remote_id) = gateway.identities(connection, tunnel);
    let (local_selectors, remote_selectors) = gateway.selectors(connection);
    let outside = gateway.local_outside(connection, tunnel);
    let lifetime = |time| Lifetime {
        time,
        margin: tunnel.rekey_margin,
        fuzz_percent: tunnel.rekey_fuzz_percent,
    };
    PeerConfig {
        name: name.to_string(),
        local: outside.address,
        public: outside.public,
        remote: gateway.remote_address(connection, tunnel),
        local_id: local_id.clone(),
        remote_id: remote_id.clone(),
        psk: tunnel.psk.clone(),
        mistakable: vec![other_key(connection, name)],
        ike: IkeAlgorithms {
            encryption: tunnel.phase1.encryption.clone(),
            integrity: tunnel.phase1.integrity.clone(),
            prf: prfs(&tunnel.phase1.integrity),
            groups: tunnel.phase1.groups.clone(),
        },
        esp: EspAlgorithms {
            encryption: tunnel.phase2.encryption.clone(),
            integrity: tunnel.phase2.integrity.clone(),
            groups: tunnel.phase2.groups.clone(),
            esn: tunnel.phase2.esn.clone(),
        },
        local_selectors: local_selectors.to_vec(),
        remote_selectors: remote_selectors.to_vec(),
        encapsulation: tunnel.encapsulation,
        ike_lifetime: lifetime(tunnel.phase1.lifetime),
        child_lifetime: lifetime(tunnel.phase2.lifetime),
        liveness: liveness(tunnel.dpd_action, tunnel.dpd_timeout),
    }
}

/// The other tunnel's.
fn other_key(connection: &Connection, name: &TunnelName) -> OtherKey {
    let [first, second] = &connection.tunnels;
    let (number, other) = match name.number {
        1 => (2, second),
        _ => (1, first),
    };
    let of = TunnelName {
        connection: name.connection.clone(),
        number,
    };
    OtherKey {
        of: of.to_string(),
        psk: other.psk.clone(),
    }
}

/// AWS's options name no PRF; it follows the integrity algorithms, also where
/// only AEAD ciphers, which need no integrity algorithm, are listed.
fn prfs(integrity: &[Integrity]) -> Vec<Prf> {
    integrity.iter().copied().map(Prf::matching).collect()
}

fn liveness(action: DpdAction, timeout: Duration) -> Option<Liveness> {
    match action {
        DpdAction::None => None,
        DpdAction::Clear | DpdAction::Restart => Some(Liveness {
            idle: DPD_IDLE.min(timeout / 2),
            timeout,
        }),
    }
}
