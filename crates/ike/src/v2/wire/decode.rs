//! Reading of the header, the payload chain and the simple payloads.

use nom::Offset;

use super::fault::{
    Fault, Parsed, content, end, fault, number8, number16, number32, number64, octets,
};
use super::iana::{AuthMethod, ExchangeType, NotifyType, PayloadType, ProtocolId};
use super::payload::{Auth, Delete, Id, KeyExchange, Notify, Payload};
use super::{
    ClearMessage, DecodeError, Header, INITIATOR_FLAG, MAJOR_VERSION, MAX_PAYLOADS,
    PAYLOAD_HEADER_LEN, RESPONSE_FLAG, Sealed, sa, ts,
};

/// The header's fields, including those that follow from the message.
struct RawHeader {
    header: Header,
    next: PayloadType,
    major: u8,
    length: u32,
}

/// Reads only a datagram's header, and checks version and length.
///
/// # Errors
/// If the datagram is shorter than a header, is of another major version, or has another length
/// than its header says.
pub fn decode_header(datagram: &[u8]) -> Result<Header, DecodeError> {
    checked_header(datagram).map(|(_, raw)| raw.header)
}

/// Reads what can be read of a datagram without keys. The non-ESP marker is removed before.
///
/// # Errors
/// As [`decode_header`], and if a payload is malformed or follows the Encrypted payload.
pub fn decode_cleartext(datagram: &[u8]) -> Result<ClearMessage, DecodeError> {
    let (rest, raw) = checked_header(datagram)?;
    let chain = located(datagram, chain(raw.next, rest))?;
    let sealed = chain.sealed.map(|(first, body)| {
        let start = datagram.offset(body);
        Sealed {
            first,
            body: start..start + body.len(),
        }
    });
    Ok(ClearMessage {
        header: raw.header,
        payloads: chain.payloads,
        sealed,
    })
}

/// Reads the decrypted content of the Encrypted payload, without padding.
///
/// # Errors
/// If a payload is malformed, or is itself an Encrypted payload.
pub fn decode_payloads(first: PayloadType, plaintext: &[u8]) -> Result<Vec<Payload>, DecodeError> {
    let chain = located(plaintext, chain(first, plaintext))?;
    match chain.sealed {
        None => Ok(chain.payloads),
        Some((_, body)) => {
            let error = fault(body, "SK payload", "one within another", "none");
            located(plaintext, Err(error))
        }
    }
}

/// The fields that prove that the sender of an IKE_SA_INIT receives at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof<'a> {
    /// Ni.
    pub nonce: &'a [u8],
    /// The cookie that the sender returns.
    pub cookie: Option<&'a [u8]>,
}

/// Reads only the nonce and the cookie of an IKE_SA_INIT request, and allocates no memory.
///
/// # Errors
/// As [`decode_header`], and if the chain of payloads is malformed or has no nonce.
pub fn read_proof(datagram: &[u8]) -> Result<Proof<'_>, DecodeError> {
    let (rest, raw) = checked_header(datagram)?;
    located(datagram, proof(raw.next, rest))
}

fn proof(first: PayloadType, input: &[u8]) -> Parsed<'_, Proof<'_>> {
    let mut kind = first;
    let mut rest = input;
    let mut nonce = None;
    let mut cookie = None;
    for _ in 0..MAX_PAYLOADS {
        if kind == PayloadType::NONE {
            break;
        }
        let (after, (next, _, body)) = generic_payload(rest)?;
        match kind {
            PayloadType::NONCE => nonce = Some(body),
            PayloadType::NOTIFY => cookie = cookie.or(cookie_of(body)?.1),
            _ => {}
        }
        kind = next;
        rest = after;
    }
    end("message", rest)?;
    match nonce {
        Some(nonce) => Ok((rest, Proof { nonce, cookie })),
        None => Err(fault(rest, "IKE_SA_INIT", "no nonce", "one")),
    }
}

/// The data of a Notify payload, if it is a cookie.
fn cookie_of(body: &[u8]) -> Parsed<'_, Option<&[u8]>> {
    let (rest, _protocol) = number8("Notify payload's protocol")(body)?;
    let (rest, spi_size) = number8("Notify payload's SPI size")(rest)?;
    let (rest, kind) = number16("Notify payload's type")(rest)?;
    let (data, _spi) = octets("Notify payload's SPI", spi_size.into())(rest)?;
    Ok((
        data,
        (NotifyType(kind) == NotifyType::COOKIE).then_some(data),
    ))
}

/// Turns a parser's result into the caller's, with offsets from the start of `input`.
fn located<'a, T>(input: &'a [u8], parsed: Parsed<'a, T>) -> Result<T, DecodeError> {
    located_rest(input, parsed).map(|(_, value)| value)
}

fn located_rest<'a, T>(
    input: &'a [u8],
    parsed: Parsed<'a, T>,
) -> Result<(&'a [u8], T), DecodeError> {
    parsed.map_err(|error| match error {
        nom::Err::Error(fault) | nom::Err::Failure(fault) => fault.into_error(input),
        nom::Err::Incomplete(_) => DecodeError::Malformed {
            what: "message",
            offset: input.len(),
            found: "its end".to_owned(),
            expected: "more octets".to_owned(),
        },
    })
}

fn checked_header(datagram: &[u8]) -> Result<(&[u8], RawHeader), DecodeError> {
    let (rest, raw) = located_rest(datagram, header(datagram))?;
    // RFC 7296 section 2.5: the minor version is ignored.
    if raw.major != MAJOR_VERSION {
        return Err(DecodeError::MajorVersion {
            major: raw.major,
            header: raw.header,
        });
    }
    if usize::try_from(raw.length) != Ok(datagram.len()) {
        return Err(DecodeError::Malformed {
            what: "header's length",
            offset: 24,
            found: raw.length.to_string(),
            expected: format!("the datagram's {} octets", datagram.len()),
        });
    }
    Ok((rest, raw))
}

fn header(input: &[u8]) -> Parsed<'_, RawHeader> {
    let (input, spi_i) = number64("header's initiator SPI")(input)?;
    let (input, spi_r) = number64("header's responder SPI")(input)?;
    let (input, next) = number8("header's next payload")(input)?;
    let (input, version) = number8("header's version")(input)?;
    let (input, exchange) = number8("header's exchange type")(input)?;
    let (input, flags) = number8("header's flags")(input)?;
    let (input, message_id) = number32("header's message ID")(input)?;
    let (input, length) = number32("header's length")(input)?;
    let header = Header {
        spi_i,
        spi_r,
        exchange: ExchangeType(exchange),
        initiator: flags & INITIATOR_FLAG != 0,
        response: flags & RESPONSE_FLAG != 0,
        message_id,
    };
    let raw = RawHeader {
        header,
        next: PayloadType(next),
        major: version >> 4,
        length,
    };
    Ok((input, raw))
}

/// A chain of payloads, up to the Encrypted payload if there is one.
struct Chain<'a> {
    payloads: Vec<Payload>,
    sealed: Option<(PayloadType, &'a [u8])>,
}

fn chain(first: PayloadType, input: &[u8]) -> Parsed<'_, Chain<'_>> {
    let mut chain = Chain {
        payloads: Vec::new(),
        sealed: None,
    };
    let mut kind = first;
    let mut rest = input;
    while kind != PayloadType::NONE {
        if chain.payloads.len() == MAX_PAYLOADS {
            let found = format!("more than {MAX_PAYLOADS}");
            return Err(fault(
                rest,
                "payloads",
                found,
                format!("at most {MAX_PAYLOADS}"),
            ));
        }
        let (after, (next, critical, body)) = generic_payload(rest)?;
        rest = after;
        // RFC 7296 section 3.14: the Encrypted payload is the last of the message, and its Next
        // Payload field is the type of the first payload inside.
        if kind == PayloadType::ENCRYPTED {
            chain.sealed = Some((next, body));
            break;
        }
        chain.payloads.push(payload(kind, critical, body)?);
        // RFC 7383 section 2.5: a fragment is the last payload; its next payload is inside.
        if kind == PayloadType::ENCRYPTED_FRAGMENT && rest.is_empty() {
            break;
        }
        kind = next;
    }
    end("message", rest)?;
    Ok((rest, chain))
}

/// Next Payload, Critical flag and body (RFC 7296 section 3.2).
fn generic_payload(input: &[u8]) -> Parsed<'_, (PayloadType, bool, &[u8])> {
    let (rest, next) = number8("next payload")(input)?;
    let (rest, flags) = number8("critical flag")(rest)?;
    let (rest, length) = number16("payload length")(rest)?;
    let (rest, body) = content("payload", length, PAYLOAD_HEADER_LEN)(rest)?;
    Ok((rest, (PayloadType(next), flags & 0x80 != 0, body)))
}

fn payload(kind: PayloadType, critical: bool, body: &[u8]) -> Result<Payload, nom::Err<Fault<'_>>> {
    let (rest, payload) = match kind {
        PayloadType::SA => sa::proposals(body).map(|(r, v)| (r, Payload::Sa(v)))?,
        PayloadType::KE => key_exchange(body)?,
        PayloadType::ID_I => id(body).map(|(r, v)| (r, Payload::IdI(v)))?,
        PayloadType::ID_R => id(body).map(|(r, v)| (r, Payload::IdR(v)))?,
        PayloadType::AUTH => auth(body)?,
        PayloadType::NONCE => nonce(body)?,
        PayloadType::NOTIFY => notify(body)?,
        PayloadType::DELETE => delete(body)?,
        PayloadType::VENDOR_ID => ([].as_slice(), Payload::VendorId(body.to_vec())),
        PayloadType::TS_I => ts::selectors(body).map(|(r, v)| (r, Payload::TsI(v)))?,
        PayloadType::TS_R => ts::selectors(body).map(|(r, v)| (r, Payload::TsR(v)))?,
        _ => (
            [].as_slice(),
            Payload::Other {
                kind,
                critical,
                data: body.to_vec(),
            },
        ),
    };
    end("payload", rest)?;
    Ok(payload)
}

fn key_exchange(body: &[u8]) -> Parsed<'_, Payload> {
    let (rest, group) = number16("KE payload's group")(body)?;
    let (data, _reserved) = octets("KE payload's reserved field", 2)(rest)?;
    Ok((
        &[],
        Payload::Ke(KeyExchange {
            group,
            data: data.to_vec(),
        }),
    ))
}

fn id(body: &[u8]) -> Parsed<'_, Id> {
    let (rest, kind) = number8("ID payload's type")(body)?;
    let (data, _reserved) = octets("ID payload's reserved field", 3)(rest)?;
    Ok((
        &[],
        Id {
            kind,
            data: data.to_vec(),
        },
    ))
}

fn auth(body: &[u8]) -> Parsed<'_, Payload> {
    let (rest, method) = number8("AUTH payload's method")(body)?;
    let (data, _reserved) = octets("AUTH payload's reserved field", 3)(rest)?;
    let auth = Auth {
        method: AuthMethod(method),
        data: data.to_vec(),
    };
    Ok((&[], Payload::Auth(auth)))
}

fn nonce(body: &[u8]) -> Parsed<'_, Payload> {
    // RFC 7296 section 3.9.
    if !(16..=256).contains(&body.len()) {
        let found = format!("{} octets", body.len());
        return Err(fault(body, "nonce", found, "16 to 256 octets"));
    }
    Ok((&[], Payload::Nonce(body.to_vec())))
}

fn notify(body: &[u8]) -> Parsed<'_, Payload> {
    let (rest, protocol) = number8("Notify payload's protocol")(body)?;
    let (rest, spi_size) = number8("Notify payload's SPI size")(rest)?;
    let (rest, kind) = number16("Notify payload's type")(rest)?;
    let (data, spi) = octets("Notify payload's SPI", spi_size.into())(rest)?;
    let notify = Notify {
        protocol: ProtocolId(protocol),
        spi: spi.to_vec(),
        kind: NotifyType(kind),
        data: data.to_vec(),
    };
    Ok((&[], Payload::Notify(notify)))
}

fn delete(body: &[u8]) -> Parsed<'_, Payload> {
    let (rest, protocol) = number8("Delete payload's protocol")(body)?;
    let (rest, spi_size) = number8("Delete payload's SPI size")(rest)?;
    let (rest, count) = number16("Delete payload's number of SPIs")(rest)?;
    let protocol = ProtocolId(protocol);
    // RFC 7296 section 3.11: the message's header names the IKE SA.
    let expected = match protocol {
        ProtocolId::IKE => 0,
        _ => 4,
    };
    if spi_size != expected {
        return Err(fault(body, "Delete payload's SPI size", spi_size, expected));
    }
    if protocol == ProtocolId::IKE {
        if count != 0 {
            return Err(fault(body, "Delete payload's number of SPIs", count, 0));
        }
        return Ok((rest, Payload::Delete(Delete::Ike)));
    }
    let (rest, list) = octets("Delete payload's SPIs", usize::from(count) * 4)(rest)?;
    let spis = list
        .chunks_exact(4)
        .filter_map(|spi| spi.try_into().ok().map(u32::from_be_bytes))
        .collect();
    Ok((rest, Payload::Delete(Delete::Child { protocol, spis })))
}
