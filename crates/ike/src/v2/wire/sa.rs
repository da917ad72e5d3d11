//! Reading and writing of the SA payload's nested proposals, transforms and attributes (RFC 7296
//! sections 3.3.1 to 3.3.5).

use super::fault::{Parsed, content, end, fault, number8, number16, octets};
use super::iana::{ProtocolId, TransformType};
use super::payload::{Proposal, Transform};
use super::writer::{Length, put16};
use super::{MAX_PROPOSALS, MAX_TRANSFORMS};

/// Last Substruc: another proposal follows.
const MORE_PROPOSALS: u8 = 2;
/// Last Substruc: another transform follows.
const MORE_TRANSFORMS: u8 = 3;
/// The AF bit: the attribute is two octets of type and two of value.
const SHORT_ATTRIBUTE: u16 = 0x8000;
const KEY_LENGTH: u16 = 14;

pub(super) fn proposals(body: &[u8]) -> Parsed<'_, Vec<Proposal>> {
    let mut list = Vec::new();
    let mut rest = body;
    loop {
        let (after, (more, proposal)) = proposal(rest)?;
        rest = after;
        list.push(proposal);
        if !more {
            break;
        }
        if list.len() == MAX_PROPOSALS {
            let found = format!("more than {MAX_PROPOSALS}");
            return Err(fault(
                rest,
                "proposals",
                found,
                format!("at most {MAX_PROPOSALS}"),
            ));
        }
    }
    Ok((rest, list))
}

fn proposal(input: &[u8]) -> Parsed<'_, (bool, Proposal)> {
    let (rest, more) = substructure("proposal", MORE_PROPOSALS)(input)?;
    let (rest, length) = number16("proposal's length")(rest)?;
    let (after, rest) = content("proposal", length, 4)(rest)?;
    let (rest, number) = number8("proposal's number")(rest)?;
    let (rest, protocol) = number8("proposal's protocol")(rest)?;
    let (rest, spi_size) = number8("proposal's SPI size")(rest)?;
    let (rest, count) = number8("proposal's number of transforms")(rest)?;
    let (rest, spi) = octets("proposal's SPI", spi_size.into())(rest)?;
    if usize::from(count) > MAX_TRANSFORMS {
        return Err(fault(
            rest,
            "transforms",
            count,
            format!("at most {MAX_TRANSFORMS}"),
        ));
    }
    let (rest, transforms) = transforms(rest, count)?;
    end("proposal", rest)?;
    let proposal = Proposal {
        number,
        protocol: ProtocolId(protocol),
        spi: spi.to_vec(),
        transforms,
    };
    Ok((after, (more, proposal)))
}

/// The Last Substruc octet and the reserved octet: whether another substructure follows.
fn substructure<'a>(what: &'static str, more: u8) -> impl FnMut(&'a [u8]) -> Parsed<'a, bool> {
    move |input| {
        let (rest, last) = number8(what)(input)?;
        let (rest, _reserved) = number8(what)(rest)?;
        if last != 0 && last != more {
            let found = format!("last substructure {last}");
            return Err(fault(input, what, found, format!("0 or {more}")));
        }
        Ok((rest, last == more))
    }
}

fn transforms(input: &[u8], count: u8) -> Parsed<'_, Vec<Transform>> {
    let mut list = Vec::new();
    let mut rest = input;
    for left in (0..count).rev() {
        let (after, (more, transform)) = transform(rest)?;
        if more != (left > 0) {
            let found = if more {
                "one more announced"
            } else {
                "the last"
            };
            return Err(fault(rest, "transform", found, format!("{left} more")));
        }
        rest = after;
        list.push(transform);
    }
    Ok((rest, list))
}

fn transform(input: &[u8]) -> Parsed<'_, (bool, Transform)> {
    let (rest, more) = substructure("transform", MORE_TRANSFORMS)(input)?;
    let (rest, length) = number16("transform's length")(rest)?;
    let (after, rest) = content("transform", length, 4)(rest)?;
    let (rest, kind) = number8("transform's type")(rest)?;
    let (rest, _reserved) = number8("transform's reserved field")(rest)?;
    let (mut rest, id) = number16("transform's ID")(rest)?;
    let mut transform = Transform {
        kind: TransformType(kind),
        id,
        key_bits: None,
        unknown_attribute: false,
    };
    while !rest.is_empty() {
        rest = attribute(rest, &mut transform)?.0;
    }
    Ok((after, (more, transform)))
}

/// One attribute; only Key Length is defined (RFC 7296 section 3.3.5).
fn attribute<'a>(input: &'a [u8], transform: &mut Transform) -> Parsed<'a, ()> {
    let (rest, kind) = number16("attribute's type")(input)?;
    let (rest, value) = number16("attribute's value or length")(rest)?;
    if kind & SHORT_ATTRIBUTE == 0 {
        transform.unknown_attribute = true;
        let (rest, _value) = octets("attribute's value", value.into())(rest)?;
        return Ok((rest, ()));
    }
    match transform.key_bits {
        None if kind == SHORT_ATTRIBUTE | KEY_LENGTH => transform.key_bits = Some(value),
        _ => transform.unknown_attribute = true,
    }
    Ok((rest, ()))
}

pub(super) fn encode(out: &mut Vec<u8>, proposals: &[Proposal]) {
    for (i, proposal) in proposals.iter().enumerate() {
        let more = i + 1 < proposals.len();
        encode_proposal(out, proposal, more);
    }
}

fn encode_proposal(out: &mut Vec<u8>, proposal: &Proposal, more: bool) {
    let start = out.len();
    out.extend([if more { MORE_PROPOSALS } else { 0 }, 0]);
    let length = Length::reserve(out, start);
    out.extend([
        proposal.number,
        proposal.protocol.0,
        u8::try_from(proposal.spi.len()).unwrap_or(u8::MAX),
        u8::try_from(proposal.transforms.len()).unwrap_or(u8::MAX),
    ]);
    out.extend_from_slice(&proposal.spi);
    for (i, transform) in proposal.transforms.iter().enumerate() {
        encode_transform(out, transform, i + 1 < proposal.transforms.len());
    }
    length.fill(out);
}

fn encode_transform(out: &mut Vec<u8>, transform: &Transform, more: bool) {
    let start = out.len();
    out.extend([if more { MORE_TRANSFORMS } else { 0 }, 0]);
    let length = Length::reserve(out, start);
    out.extend([transform.kind.0, 0]);
    put16(out, transform.id);
    if let Some(bits) = transform.key_bits {
        put16(out, SHORT_ATTRIBUTE | KEY_LENGTH);
        put16(out, bits);
    }
    length.fill(out);
}
