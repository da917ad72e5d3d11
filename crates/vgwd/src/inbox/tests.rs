use std::net::SocketAddr;

use vgw_ike::drop_reason::DropReason;
use vgw_ike::endpoint::SaClass;
use vgw_ike::wire::{ExchangeType, Header, PayloadType, begin_sealed};

use super::{InboxReceiver, InboxSender, KnownSenders, Message, SenderClass, TURNS, open};

const ESTABLISHED: u64 = 0x0123_4567_89ab_cdef;
const HALF_OPEN: u64 = 0xfedc_ba98_7654_3210;
const CONFIGURED: &str = "192.0.2.1:500";
const ELSEWHERE: &str = "198.51.100.66:4500";

fn inbox() -> (InboxSender, InboxReceiver, KnownSenders) {
    let (sender, receiver, known_senders) = open();
    let configured: SocketAddr = CONFIGURED.parse().unwrap();
    known_senders.expect_from([configured.ip()].into_iter().collect());
    known_senders.show(SaClass::Known, std::iter::once(ESTABLISHED));
    known_senders.show(SaClass::HalfOpen, std::iter::once(HALF_OPEN));
    (sender, receiver, known_senders)
}

/// A message of an initiator to us, or its first if `spi` is 0.
fn message(remote: &str, spi: u64, len: usize) -> Message {
    let header = Header {
        spi_i: 1,
        spi_r: spi,
        exchange: if spi == 0 {
            ExchangeType::IKE_SA_INIT
        } else {
            ExchangeType::INFORMATIONAL
        },
        initiator: true,
        response: false,
        message_id: 0,
    };
    let mut octets = begin_sealed(&header, PayloadType::NONE, len);
    octets.resize(octets.len() + len, 0);
    Message {
        local: "203.0.113.1:500".parse().unwrap(),
        remote: remote.parse().unwrap(),
        octets,
    }
}

fn of(class: SenderClass) -> Message {
    match class {
        SenderClass::Established => message(ELSEWHERE, ESTABLISHED, 0),
        SenderClass::Handshake => message(CONFIGURED, 0, 0),
        SenderClass::Stranger => message(ELSEWHERE, 0, 0),
    }
}

fn received(known_senders: &KnownSenders, class: SenderClass) -> u64 {
    known_senders.counted().received[class.index()].1
}

fn dropped(known_senders: &KnownSenders, reason: &str) -> u64 {
    let counted = known_senders.counted().dropped;
    let found = counted.iter().find(|(name, _)| *name == reason);
    found.unwrap().1
}

#[test]
fn a_message_is_of_the_class_that_its_spi_or_else_its_address_says() {
    for (class, message) in [
        (SenderClass::Established, message(ELSEWHERE, ESTABLISHED, 0)),
        (
            SenderClass::Established,
            message(CONFIGURED, ESTABLISHED, 0),
        ),
        (SenderClass::Handshake, message(ELSEWHERE, HALF_OPEN, 0)),
        (SenderClass::Handshake, message(CONFIGURED, 0, 0)),
        (SenderClass::Handshake, message(CONFIGURED, 7, 0)),
        (SenderClass::Stranger, message(ELSEWHERE, 7, 0)),
        (SenderClass::Stranger, message(ELSEWHERE, 0, 0)),
    ] {
        let (sender, _receiver, known_senders) = inbox();
        assert!(sender.put(message.clone()));
        for other in SenderClass::ALL {
            let expected = u64::from(other == class);
            assert_eq!(received(&known_senders, other), expected, "{message:?}");
        }
    }
}

#[test]
fn an_ike_sa_that_ended_is_known_no_longer() {
    let (sender, _receiver, known_senders) = inbox();
    known_senders.show(SaClass::Known, std::iter::empty());
    sender.put(message(ELSEWHERE, ESTABLISHED, 0));
    assert_eq!(received(&known_senders, SenderClass::Stranger), 1);
    // The others stay as they were.
    sender.put(message(ELSEWHERE, HALF_OPEN, 0));
    assert_eq!(received(&known_senders, SenderClass::Handshake), 1);
    sender.put(message(CONFIGURED, 0, 0));
    assert_eq!(received(&known_senders, SenderClass::Handshake), 2);
}

#[test]
fn garbage_is_counted_and_reaches_nobody() {
    let (sender, mut receiver, known_senders) = inbox();
    for octets in [vec![], vec![0; 27], vec![0xFF; 100]] {
        let garbage = Message {
            octets,
            ..of(SenderClass::Stranger)
        };
        assert!(sender.put(garbage));
    }
    assert_eq!(dropped(&known_senders, "malformed"), 3);
    assert_eq!(receiver.try_take(), None);
}

#[test]
fn ike_v1_is_passed_on_as_what_its_address_says_and_names_nothing() {
    let (sender, mut receiver, known_senders) = inbox();
    for (remote, class) in [
        (CONFIGURED, SenderClass::Handshake),
        (ELSEWHERE, SenderClass::Stranger),
    ] {
        let mut message = message(remote, ESTABLISHED, 0);
        message.octets[17] = 0x10;
        assert!(sender.put(message.clone()));
        assert_eq!(received(&known_senders, class), 1);
        assert_eq!(receiver.try_take(), Some(message.clone()));
        message.octets.pop();
        sender.put(message);
    }
    assert_eq!(dropped(&known_senders, "malformed"), 2);
    assert_eq!(known_senders.counted().begins, 0);
}

#[test]
fn a_flood_of_a_class_displaces_nothing_of_another() {
    for flood in SenderClass::ALL {
        let (sender, mut receiver, known_senders) = inbox();
        let taken = (0..10_000).filter(|_| sender.put(of(flood))).count();
        assert_eq!(taken, flood.room().0);
        let reason = super::full(flood);
        let lost = u64::try_from(10_000 - taken).unwrap();
        assert_eq!(dropped(&known_senders, reason), lost);
        for other in SenderClass::ALL.into_iter().filter(|other| *other != flood) {
            let message = of(other);
            assert!(sender.put(message.clone()));
            // Not behind the flood, but within one round of turns.
            let soon: Vec<_> = TURNS.iter().filter_map(|_| receiver.try_take()).collect();
            assert!(soon.contains(&message), "{other:?} behind {flood:?}");
        }
    }
}

#[test]
fn whoever_is_known_comes_first_and_nobody_starves() {
    let (sender, mut receiver, _) = inbox();
    for class in SenderClass::ALL {
        while sender.put(of(class)) {}
    }
    let mut taken = [0; 3];
    for _ in 0..10 * TURNS.len() {
        let message = receiver.try_take().unwrap();
        let class = SenderClass::ALL
            .into_iter()
            .find(|class| of(*class) == message);
        taken[class.unwrap().index()] += 1;
    }
    assert_eq!(taken, [40, 20, 10]);
}

#[test]
fn octets_that_wait_are_bounded_and_what_is_taken_makes_room() {
    let (sender, mut receiver, _) = inbox();
    for (class, spi) in [
        (SenderClass::Established, ESTABLISHED),
        (SenderClass::Stranger, 0),
    ] {
        let large = message(ELSEWHERE, spi, 60_000);
        let room = class.room().1 / large.octets.len();
        for _ in 0..2 {
            let taken = (0..1000).filter(|_| sender.put(large.clone())).count();
            assert_eq!(taken, room);
            assert_eq!(std::iter::from_fn(|| receiver.try_take()).count(), room);
        }
    }
}

#[tokio::test]
async fn the_loop_is_woken_by_a_message_of_any_class() {
    let (sender, mut receiver, _) = inbox();
    for class in SenderClass::ALL {
        let (taken, _) = tokio::join!(receiver.take(), async { sender.put(of(class)) });
        assert_eq!(taken, of(class));
    }
}

/// A message of a version that there is not.
fn version_3(remote: &str) -> Message {
    let mut message = message(remote, 0, 0);
    message.octets[17] = 0x30;
    message
}

#[test]
fn what_is_dropped_unread_is_counted_by_its_kind_and_told_once_until_it_is_taken() {
    let (sender, mut receiver, known_senders) = inbox();
    let mut cut = message(ELSEWHERE, 0, 0);
    cut.octets.pop();
    for _ in 0..1_000 {
        assert!(sender.put(version_3(CONFIGURED)));
        assert!(sender.put(cut.clone()));
    }
    assert_eq!(dropped(&known_senders, "other_version"), 1_000);
    assert_eq!(dropped(&known_senders, "malformed"), 1_000);
    assert_eq!(receiver.try_take(), None);
    let told: Vec<_> = known_senders.take_unread();
    let told: Vec<_> = told.iter().map(|told| (told.remote, told.denial)).collect();
    let expected = [
        (CONFIGURED, DropReason::OtherVersion),
        (ELSEWHERE, DropReason::Malformed),
    ];
    assert_eq!(
        told,
        expected.map(|(of, denial)| (of.parse().unwrap(), denial))
    );
    assert_eq!(known_senders.take_unread(), []);
    sender.put(version_3(CONFIGURED));
    assert_eq!(known_senders.take_unread().len(), 1, "and again afterwards");
}

#[test]
fn countless_strangers_leave_room_to_tell_of_a_configured_address() {
    let (sender, _receiver, known_senders) = inbox();
    for host in 0..10_000 {
        let [high, low] = u16::to_be_bytes(host);
        sender.put(version_3(&format!("198.18.{high}.{low}:500")));
    }
    sender.put(version_3(CONFIGURED));
    let told = known_senders.take_unread();
    assert!(told.len() <= 128, "{}", told.len());
    assert!(
        told.iter()
            .any(|told| told.remote == CONFIGURED.parse().unwrap())
    );
}
