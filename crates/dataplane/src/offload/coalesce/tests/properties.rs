use proptest::prelude::*;

use super::{all, joined};
use crate::offload::segment::Segments;
use crate::offload::segment::draft::{Draft, Upper};

/// What happens to one of the flows of a burst.
#[derive(Debug, Clone)]
struct Event {
    flow: u8,
    octets: u8,
    flags: u16,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// What comes next.
    Next,
    Gap,
    Again,
    Acknowledges,
    Timestamp,
    Hop,
    Fragment,
    Damaged(prop::sample::Index),
    IdJump,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        20 => Just(Kind::Next),
        1 => Just(Kind::Gap),
        1 => Just(Kind::Again),
        1 => Just(Kind::Acknowledges),
        1 => Just(Kind::Timestamp),
        1 => Just(Kind::Hop),
        1 => Just(Kind::Fragment),
        1 => any::<prop::sample::Index>().prop_map(Kind::Damaged),
        1 => Just(Kind::IdJump),
    ];
    let octets = prop_oneof![8 => Just(50u8), 1 => 0u8..60];
    let flags = prop_oneof![12 => Just(0x10), 1 => 0u16..1 << 12];
    (0u8..8, octets, flags, kind).prop_map(|(flow, octets, flags, kind)| Event {
        flow,
        octets,
        flags,
        kind,
    })
}

/// Flows of TCP and UDP over IPv4 and IPv6, of constant and counting
/// identification.
fn flow(number: u8) -> Draft {
    let draft = if number & 1 == 0 {
        Draft::tcp(Vec::new()).options(&[1; 4])
    } else {
        Draft::udp(Vec::new())
    };
    Draft {
        ipv6: number & 2 != 0,
        dont_fragment: number & 4 != 0,
        ports: (1000 + u16::from(number >> 1), 80),
        ..draft
    }
}

fn burst(events: &[Event]) -> Vec<Vec<u8>> {
    let mut flows: Vec<_> = (0..8).map(flow).collect();
    let mut packets = Vec::new();
    for event in events {
        let draft = &mut flows[usize::from(event.flow)];
        let octets = u32::from(event.octets);
        draft.payload = (0..event.octets).collect();
        if let Upper::Tcp {
            sequence,
            acknowledgment,
            flags,
            options,
            ..
        } = &mut draft.upper
        {
            *flags = event.flags;
            match event.kind {
                Kind::Gap => *sequence += 1000,
                Kind::Again => *sequence -= octets,
                Kind::Acknowledges => *acknowledgment += 1,
                Kind::Timestamp => options[3] ^= 1,
                _ => {}
            }
        }
        match event.kind {
            Kind::Hop => draft.hops ^= 1,
            Kind::IdJump => draft.id += 7,
            _ => {}
        }
        let mut packet = draft.build();
        match event.kind {
            Kind::Fragment if !draft.ipv6 => packet[6] |= 0x20,
            Kind::Damaged(at) => {
                let at = at.index(packet.len());
                packet[at] ^= 4;
            }
            _ => {}
        }
        packets.push(packet);
        *draft = draft.clone().after(octets);
        if !draft.dont_fragment || event.flow == 4 {
            draft.id += 1;
        }
    }
    packets
}

/// Clears the identification of IPv4 where DF is set, as it means nothing there (RFC
/// 6864 section 4.1): cutting counts it up even if the flow kept it constant.
fn comparable(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 && packet[6] & 0x20 == 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

/// Addresses and ports.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        [&packet[9..10], &packet[12..24]].concat()
    } else {
        [&packet[6..7], &packet[8..44]].concat()
    }
}

fn of_flow(packets: &[Vec<u8>], flow: &[u8]) -> Vec<Vec<u8>> {
    let packets = packets.iter().filter(|packet| flow_of(packet) == flow);
    packets.map(|packet| comparable(packet)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cutting_what_was_joined_gives_what_was_pushed_in_each_flows_order(
        events in prop::collection::vec(event(), 0..150),
    ) {
        let packets = burst(&events);
        let mut cut = Vec::new();
        let mut firsts = Vec::new();
        for (header, mut packet) in joined(&packets) {
            let segments = Segments::new(header, &mut packet).unwrap();
            firsts.push(comparable(&all(&segments)[0]));
            cut.extend(all(&segments));
        }
        prop_assert_eq!(cut.len(), packets.len());
        for packet in &packets {
            let flow = flow_of(packet);
            prop_assert_eq!(of_flow(&cut, &flow), of_flow(&packets, &flow));
        }
        // Groups come in order of their first packets.
        let mut pushed = packets.iter().map(|packet| comparable(packet));
        for first in firsts {
            prop_assert!(pushed.any(|packet| packet == first));
        }
    }

    #[test]
    fn any_octets_come_out_as_they_went_in(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
    ) {
        let written: Vec<_> = joined(&packets).into_iter().map(|(_, packet)| packet).collect();
        prop_assert_eq!(written, packets);
    }
}
