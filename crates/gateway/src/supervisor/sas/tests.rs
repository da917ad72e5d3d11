use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Group, IkeSuite, Prf, Secret};
use vgw_ike::event::{IkeDetails, Nat, Role, SaId};
use vgw_ike::identity::Identity;
use vgw_sa::{ChildSa, Path};

use super::{CHILDLESS_GRACE, REDUNDANT_GRACE, Sas};
use crate::test_time::epoch;

const SECOND: Duration = Duration::from_secs(1);

fn path() -> Path {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    Path {
        local: address("192.0.2.1:4500"),
        remote: address("198.51.100.1:4500"),
        udp_encapsulation: true,
    }
}

fn details(role: Role, spi_i: u64) -> IkeDetails {
    IkeDetails {
        role,
        spi_i,
        spi_r: 1,
        suite: IkeSuite {
            encryption: Encryption::AesGcm256,
            integrity: None,
            prf: Prf::HmacSha256,
            group: Group::Curve25519,
        },
        nat: Nat::default(),
        path: path(),
        remote_id: Identity::Fqdn("peer.example".into()),
    }
}

pub(in crate::supervisor) fn child(spi_in: u32) -> ChildSa {
    let keys = || DirectionKeys {
        encryption: Secret::default(),
        integrity: Secret::default(),
    };
    ChildSa {
        spi_in,
        spi_out: spi_in + 1,
        suite: EspSuite {
            encryption: Encryption::AesGcm256,
            integrity: None,
            esn: true,
        },
        keys_in: keys(),
        keys_out: keys(),
        local_selectors: Vec::new(),
        remote_selectors: Vec::new(),
        path: path(),
    }
}

/// Brings up an IKE SA with a CHILD SA of its own.
fn establish(sas: &mut Sas, now: Instant, sa: u64, role: Role, spi_i: u64, spi_in: u32) {
    sas.ike_up(now, SaId(sa), details(role, spi_i), None);
    sas.child_inbound(now, SaId(sa), &child(spi_in), None);
    sas.child_outbound(spi_in);
}

#[test]
fn a_child_sa_is_sent_with_only_once_the_negotiator_says_so() {
    let now = epoch();
    let mut sas = Sas::default();
    sas.ike_up(now, SaId(1), details(Role::Initiator, 1), None);
    sas.child_inbound(now, SaId(1), &child(1000), None);
    assert!(!sas.usable());
    sas.child_outbound(1000);
    assert_eq!(sas.outbound(), Some(1000));
}

#[test]
fn a_rekeyed_child_sa_is_neither_sent_with_nor_counted_on() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Initiator, 1, 1000);
    sas.child_inbound(now, SaId(1), &child(2000), Some(1000));
    assert_eq!(sas.outbound(), Some(1000));
    sas.child_outbound(2000);
    assert_eq!(sas.outbound(), Some(2000));
    assert!(sas.is_replaced(1000));
    sas.child_down(now, 1000);
    assert_eq!(sas.outbound(), Some(2000));
}

#[test]
fn a_child_sa_that_was_rekeyed_is_not_sent_with_again_when_its_successor_goes_first() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Initiator, 1, 1000);
    sas.child_inbound(now, SaId(1), &child(2000), Some(1000));
    assert_eq!(sas.child_outbound(2000), Some(1000));
    sas.child_down(now, 2000);
    assert!(!sas.usable());
}

#[test]
fn children_move_to_the_ike_sa_that_a_rekey_made() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Initiator, 1, 1000);
    sas.ike_up(
        now + SECOND,
        SaId(2),
        details(Role::Responder, 2),
        Some(SaId(1)),
    );
    assert_eq!(sas.keeper(), Some(SaId(2)));
    assert_eq!(sas.deadline(), None);
    sas.ike_down(SaId(1));
    assert_eq!(sas.outbound(), Some(1000));
}

#[test]
fn a_peer_that_began_anew_is_followed_to_its_newest_sa() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Responder, 1, 1000);
    establish(&mut sas, now + SECOND, 2, Role::Responder, 2, 2000);
    assert_eq!(sas.outbound(), Some(2000));
    assert_eq!(sas.deadline(), Some(now + SECOND + 3 * REDUNDANT_GRACE));
    assert_eq!(sas.take_redundant(now + 20 * SECOND), [SaId(1)]);
    assert_eq!(sas.take_redundant(now + 20 * SECOND), []);
    assert_eq!(sas.deadline(), None);
}

#[test]
fn the_end_that_began_a_redundant_sa_deletes_it_before_the_other_end_does() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Initiator, 1, 1000);
    establish(&mut sas, now + SECOND, 2, Role::Responder, 2, 2000);
    assert_eq!(sas.deadline(), Some(now + SECOND + REDUNDANT_GRACE));
}

#[test]
fn when_the_newest_sa_goes_traffic_falls_back_to_the_older_one() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Responder, 1, 1000);
    establish(&mut sas, now + SECOND, 2, Role::Responder, 2, 2000);
    sas.child_down(now + 2 * SECOND, 2000);
    assert_eq!(sas.outbound(), Some(1000));
}

#[test]
fn an_ike_sa_that_stays_without_children_is_given_up() {
    let now = epoch();
    let mut sas = Sas::default();
    sas.ike_up(now, SaId(1), details(Role::Responder, 1), None);
    assert_eq!(sas.deadline(), Some(now + CHILDLESS_GRACE));
    sas.child_inbound(now + SECOND, SaId(1), &child(1000), None);
    assert_eq!(sas.deadline(), None);
    sas.child_down(now + 2 * SECOND, 1000);
    let due = now + 2 * SECOND + CHILDLESS_GRACE;
    assert_eq!(sas.deadline(), Some(due));
    assert_eq!(sas.take_redundant(due), [SaId(1)]);
}

#[test]
fn of_child_sas_with_other_selectors_each_sends_and_of_equal_ones_the_newest() {
    let now = epoch();
    let mut sas = Sas::default();
    establish(&mut sas, now, 1, Role::Responder, 1, 1000);
    let other = |spi_in| ChildSa {
        remote_selectors: vec!["10.9.0.0/16".parse::<ipnet::IpNet>().unwrap().into()],
        ..child(spi_in)
    };
    sas.child_inbound(now, SaId(1), &other(2000), None);
    assert_eq!(sas.outbound_spis(), [1000]);
    sas.child_outbound(2000);
    assert_eq!(sas.outbound_spis(), [2000, 1000]);
    sas.child_inbound(now, SaId(1), &other(3000), Some(2000));
    sas.child_outbound(3000);
    assert_eq!(sas.outbound_spis(), [3000, 1000]);
    sas.child_inbound(now, SaId(1), &child(4000), None);
    sas.child_outbound(4000);
    assert_eq!(sas.outbound_spis(), [4000, 3000]);
    sas.child_down(now, 4000);
    assert_eq!(
        sas.outbound_spis(),
        [3000, 1000],
        "what had the same selectors sends again"
    );
}
