//! A tunnel of the configuration as the negotiator's peer.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use vgw_crypto::{Integrity, Prf};
use vgw_ike::bounded_text::few;
use vgw_ike::config::{EspAlgorithms, IkeAlgorithms, Lifetime, Liveness, OtherKey, PeerConfig};

use crate::domain::{Connection, DpdAction, Gateway, SelectorOptions, Tunnel, TunnelName};

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
        network_advice: network_advice(gateway, connection),
        encapsulation: tunnel.encapsulation,
        ike_lifetime: lifetime(tunnel.phase1.lifetime),
        child_lifetime: lifetime(tunnel.phase2.lifetime),
        liveness: liveness(tunnel.dpd_action, tunnel.dpd_timeout),
    }
}

/// The other tunnel's pre-shared key, which may have been mistaken for this one's.
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

/// What the peer should have as its networks, and which options here say so.
fn network_advice(gateway: &Gateway, connection: &Connection) -> String {
    let (our_selectors, their_selectors) = gateway.selectors(connection);
    let options = gateway.side.network_options();
    let theirs = meant(
        (their_selectors, options.their_selectors),
        (gateway.remote_prefixes(connection), options.their_networks),
    );
    let ours = meant(
        (our_selectors, options.our_selectors),
        (&gateway.cidrs, options.our_networks),
    );
    format!("set {theirs} at the peer as its local networks and {ours} as its remote networks")
}

/// The networks that the selectors of one side mean, with the options that say so: a
/// selector for everything means the configured networks.
fn meant(
    (selectors, narrowed_by): (&[IpNet], SelectorOptions),
    (networks, known_by): (&[IpNet], &'static str),
) -> String {
    let mut meant = Vec::new();
    let mut options = BTreeSet::new();
    for selector in selectors {
        let within = networks.iter().filter(|net| selector.contains(*net));
        let before = meant.len();
        if selector.prefix_len() == 0 {
            meant.extend(within.copied());
            options.insert(known_by);
        }
        if meant.len() == before {
            meant.push(*selector);
            options.insert(narrowed_by.of(selector.addr().is_ipv6()));
        }
    }
    let options: Vec<_> = options.into_iter().collect();
    let nets = few(&meant, meant.len(), ", ", IpNet::to_string);
    format!("{nets} ({})", options.join(", "))
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

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::meant;
    use crate::domain::Side;

    #[test]
    fn of_selectors_for_everything_those_networks_are_meant_that_there_are() {
        let nets = |text: &str| -> Vec<IpNet> {
            text.split(' ').map(|net| net.parse().unwrap()).collect()
        };
        let option = Side::VirtualPrivateGateway.network_options().our_selectors;
        let said = |selectors: &str, networks: &str| {
            meant((&nets(selectors), option), (&nets(networks), "vpc.cidrs"))
        };
        let both = "10.1.0.0/16 fd00:1::/48";
        let expected = "10.1.0.0/16, fd00:1::/48 (vpc.cidrs)";
        assert_eq!(said("0.0.0.0/0 ::/0", both), expected);
        let expected = "10.1.5.0/24, fd00:1::/48 (remote_ipv4_network_cidr, vpc.cidrs)";
        assert_eq!(said("10.1.5.0/24 ::/0", both), expected);
        let expected = "10.1.0.0/16, ::/0 (remote_ipv6_network_cidr, vpc.cidrs)";
        assert_eq!(said("0.0.0.0/0 ::/0", "10.1.0.0/16"), expected);
    }
}
