//! ICMP echo, without the program of that name.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Namespace;

const HEADER: usize = 8;

/// Tells our echoes from all others: every raw socket sees every ICMP message.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Sends one echo request from `from` to `to`; gives the time until its reply, or
/// None when none came within `limit`.
///
/// # Errors
/// When `from` is not an address of the namespace or there is no route to `to`.
pub fn ping(
    namespace: &Namespace,
    from: IpAddr,
    to: IpAddr,
    limit: Duration,
) -> Result<Option<Duration>> {
    let (domain, protocol, request_type, reply_type) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
    };
    let socket = namespace.run(|| Socket::new(domain, Type::RAW, Some(protocol)))??;
    socket
        .bind(&SockAddr::from(SocketAddr::new(from, 0)))
        .with_context(|| format!("{}: binding {from}", namespace.name()))?;
    let body = (u64::from(std::process::id()) << 32 | NUMBER.fetch_add(1, Ordering::Relaxed))
        .to_be_bytes();
    let request = message(request_type, body);
    let sent = Instant::now();
    socket
        .send_to(&request, &SockAddr::from(SocketAddr::new(to, 0)))
        .with_context(|| format!("{}: sending to {to}", namespace.name()))?;
    loop {
        let left = limit.saturating_sub(sent.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        if let Some(packet) = receive(&socket)?
            && is_reply(&packet, to, reply_type, body)
        {
            return Ok(Some(sent.elapsed()));
        }
    }
}

/// Type, code 0, checksum, an identifier and sequence number of zero, and the body (RFC 792).
fn message(kind: u8, body: [u8; 8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&body);
    let checksum = checksum(&message).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        // The kernel fills in that of ICMPv6, which covers addresses that we do not know.
        field.copy_from_slice(&checksum);
    }
    message
}

/// RFC 1071.
fn checksum(data: &[u8]) -> u16 {
    let sum: u32 = data
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        })
        .sum();
    let mut folded = sum;
    while let Some(carry) = folded.checked_shr(16).filter(|carry| *carry > 0) {
        folded = (folded & 0xffff) + carry;
    }
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

fn receive(socket: &Socket) -> Result<Option<Vec<u8>>> {
    let mut buffer = [MaybeUninit::new(0); 2048];
    match socket.recv_from(&mut buffer) {
        Ok((length, _)) => Ok(buffer.get(..length).map(|packet| {
            packet
                .iter()
                // SAFETY: every octet of the buffer was initialised above.
                .map(|octet| unsafe { octet.assume_init() })
                .collect()
        })),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error).context("receiving an ICMP message"),
    }
}

/// An IPv4 raw socket gives the IP header, too; an IPv6 one does not.
fn is_reply(packet: &[u8], to: IpAddr, kind: u8, body: [u8; 8]) -> bool {
    let header = match (to, packet.first()) {
        (IpAddr::V4(_), Some(first)) => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let icmp = packet.get(header..).unwrap_or_default();
    icmp.first() == Some(&kind) && icmp.get(HEADER..) == Some(&body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;
    use crate::probe::tests::{NEVER, SURELY, line};

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        let message = message(8, *b"whatever");
        assert_eq!(checksum(&message), 0);
        assert_ne!(message.get(2..4), Some([0, 0].as_slice()));
    }

    #[test]
    #[ignore = "needs root"]
    fn a_host_answers_over_a_router_and_one_that_is_not_there_does_not() {
        let lab = Lab::new("ping").unwrap();
        let [left, _router, _right] = line(&lab);
        let from = "192.0.2.1".parse().unwrap();
        let ping = |to: &str, limit| ping(&left, from, to.parse().unwrap(), limit).unwrap();
        assert!(ping("198.51.100.1", SURELY).is_some());
        assert!(ping("198.51.100.77", NEVER).is_none());
    }

    #[test]
    #[ignore = "needs root"]
    fn an_ipv6_address_answers() {
        let lab = Lab::new("ping6").unwrap();
        let host = lab.namespace("a").unwrap();
        let loopback = "::1".parse().unwrap();
        let reply = ping(&host, loopback, loopback, SURELY).unwrap();
        assert!(reply.is_some());
    }
}
