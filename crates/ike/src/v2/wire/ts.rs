//! Reading and writing of traffic selectors (RFC 7296 sections 3.13 and 3.13.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vgw_sa::TrafficSelector;

use super::fault::{Parsed, content, fault, number8, number16, number32, number64, octets};
use super::writer::{Length, put16};

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

pub(super) fn selectors(body: &[u8]) -> Parsed<'_, Vec<TrafficSelector>> {
    let (rest, count) = number8("number of traffic selectors")(body)?;
    let (mut rest, _reserved) = octets("TS payload's reserved field", 3)(rest)?;
    if count == 0 {
        return Err(fault(body, "number of traffic selectors", 0, "1 to 255"));
    }
    let mut list = Vec::new();
    for _ in 0..count {
        let (after, selector) = selector(rest)?;
        rest = after;
        list.extend(selector);
    }
    Ok((rest, list))
}

/// None for a type that we do not know: the selector is left out, which narrows the offer, as a
/// responder may do (RFC 7296 section 2.9).
fn selector(input: &[u8]) -> Parsed<'_, Option<TrafficSelector>> {
    let (rest, kind) = number8("traffic selector's type")(input)?;
    let (rest, protocol) = number8("traffic selector's protocol")(rest)?;
    let (rest, length) = number16("traffic selector's length")(rest)?;
    let (after, rest) = content("traffic selector", length, 4)(rest)?;
    let expected = match kind {
        TS_IPV4_ADDR_RANGE => 16,
        TS_IPV6_ADDR_RANGE => 40,
        _ => {
            tracing::debug!(
                kind,
                "traffic selector of the unknown type {kind} is left out"
            );
            return Ok((after, None));
        }
    };
    if length != expected {
        return Err(fault(input, "traffic selector's length", length, expected));
    }
    let (rest, first_port) = number16("traffic selector's start port")(rest)?;
    let (rest, last_port) = number16("traffic selector's end port")(rest)?;
    let (first, last) = match kind {
        TS_IPV4_ADDR_RANGE => {
            let (rest, first) = ipv4(rest)?;
            (first, ipv4(rest)?.1)
        }
        _ => {
            let (rest, first) = ipv6(rest)?;
            (first, ipv6(rest)?.1)
        }
    };
    let selector = TrafficSelector {
        protocol,
        first_port,
        last_port,
        first,
        last,
    };
    if first > last {
        let found = format!("{first} to {last}");
        return Err(fault(
            input,
            "traffic selector's addresses",
            found,
            "first <= last",
        ));
    }
    if first_port > last_port && !selector.is_opaque() {
        let found = format!("{first_port} to {last_port}");
        return Err(fault(
            input,
            "traffic selector's ports",
            found,
            "first <= last",
        ));
    }
    Ok((after, Some(selector)))
}

fn ipv4(input: &[u8]) -> Parsed<'_, IpAddr> {
    let (rest, bits) = number32("traffic selector's IPv4 address")(input)?;
    Ok((rest, Ipv4Addr::from_bits(bits).into()))
}

fn ipv6(input: &[u8]) -> Parsed<'_, IpAddr> {
    let (rest, high) = number64("traffic selector's IPv6 address")(input)?;
    let (rest, low) = number64("traffic selector's IPv6 address")(rest)?;
    let bits = (u128::from(high) << 64) | u128::from(low);
    Ok((rest, Ipv6Addr::from_bits(bits).into()))
}

pub(super) fn encode(out: &mut Vec<u8>, selectors: &[TrafficSelector]) {
    out.extend([u8::try_from(selectors.len()).unwrap_or(u8::MAX), 0, 0, 0]);
    for selector in selectors {
        encode_selector(out, selector);
    }
}

fn encode_selector(out: &mut Vec<u8>, selector: &TrafficSelector) {
    let start = out.len();
    let kind = match selector.first {
        IpAddr::V4(_) => TS_IPV4_ADDR_RANGE,
        IpAddr::V6(_) => TS_IPV6_ADDR_RANGE,
    };
    out.extend([kind, selector.protocol]);
    let length = Length::reserve(out, start);
    put16(out, selector.first_port);
    put16(out, selector.last_port);
    for address in [selector.first, selector.last] {
        match address {
            IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
        }
    }
    length.fill(out);
}
