//! Encoding of messages. Lengths are 16 bits on the wire: a longer payload cannot be sent in any
//! case, because no datagram can hold it.

use super::payload::{Delete, Payload};
use super::writer::{Length, put16};
use super::{
    HEADER_LEN, Header, INITIATOR_FLAG, MAJOR_VERSION, PAYLOAD_HEADER_LEN, PayloadType, ProtocolId,
    RESPONSE_FLAG, sa, ts,
};

/// A whole message in clear.
#[must_use]
pub fn encode_cleartext(header: &Header, payloads: &[Payload]) -> Vec<u8> {
    let (first, body) = encode_payloads(payloads);
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    put_header(&mut out, header, first, HEADER_LEN + body.len());
    out.extend_from_slice(&body);
    out
}

/// A chain of payloads, and the type of the first: the content of the Encrypted payload.
#[must_use]
pub fn encode_payloads(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    let mut out = Vec::new();
    for (i, payload) in payloads.iter().enumerate() {
        let next = payloads.get(i + 1).map_or(PayloadType::NONE, Payload::kind);
        let start = out.len();
        let critical = matches!(payload, Payload::Other { critical: true, .. });
        out.extend([next.0, if critical { 0x80 } else { 0 }]);
        let length = Length::reserve(&mut out, start);
        put_body(&mut out, payload);
        length.fill(&mut out);
    }
    (
        payloads.first().map_or(PayloadType::NONE, Payload::kind),
        out,
    )
}

/// The IKE header and the Encrypted payload's generic header, with the lengths for a body (IV,
/// ciphertext, padding, pad length, ICV) of `body_len` octets. These headers are the AEAD's
/// associated data; append the body to them.
#[must_use]
pub fn begin_sealed(header: &Header, first: PayloadType, body_len: usize) -> Vec<u8> {
    let payload_len = PAYLOAD_HEADER_LEN + body_len;
    let mut out = Vec::with_capacity(HEADER_LEN + payload_len);
    put_header(
        &mut out,
        header,
        PayloadType::ENCRYPTED,
        HEADER_LEN + payload_len,
    );
    out.extend([first.0, 0]);
    put16(&mut out, u16::try_from(payload_len).unwrap_or(u16::MAX));
    out
}

fn put_header(out: &mut Vec<u8>, header: &Header, next: PayloadType, length: usize) {
    let initiator = if header.initiator { INITIATOR_FLAG } else { 0 };
    let response = if header.response { RESPONSE_FLAG } else { 0 };
    out.extend_from_slice(&header.spi_i.to_be_bytes());
    out.extend_from_slice(&header.spi_r.to_be_bytes());
    out.extend([
        next.0,
        MAJOR_VERSION << 4,
        header.exchange.0,
        initiator | response,
    ]);
    out.extend_from_slice(&header.message_id.to_be_bytes());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
}

fn put_body(out: &mut Vec<u8>, payload: &Payload) {
    match payload {
        Payload::Sa(proposals) => sa::encode(out, proposals),
        Payload::Ke(ke) => {
            put16(out, ke.group);
            out.extend([0, 0]);
            out.extend_from_slice(&ke.data);
        }
        Payload::IdI(id) | Payload::IdR(id) => out.extend_from_slice(&id.body()),
        Payload::Auth(auth) => {
            out.extend([auth.method.0, 0, 0, 0]);
            out.extend_from_slice(&auth.data);
        }
        Payload::Notify(notify) => {
            let spi_size = u8::try_from(notify.spi.len()).unwrap_or(u8::MAX);
            out.extend([notify.protocol.0, spi_size]);
            put16(out, notify.kind.0);
            out.extend_from_slice(&notify.spi);
            out.extend_from_slice(&notify.data);
        }
        Payload::Delete(delete) => put_delete(out, delete),
        Payload::TsI(selectors) | Payload::TsR(selectors) => ts::encode(out, selectors),
        Payload::Nonce(data) | Payload::VendorId(data) | Payload::Other { data, .. } => {
            out.extend_from_slice(data);
        }
    }
}

fn put_delete(out: &mut Vec<u8>, delete: &Delete) {
    match delete {
        Delete::Ike => out.extend([ProtocolId::IKE.0, 0, 0, 0]),
        Delete::Child { protocol, spis } => {
            out.extend([protocol.0, 4]);
            put16(out, u16::try_from(spis.len()).unwrap_or(u16::MAX));
            out.extend(spis.iter().flat_map(|spi| spi.to_be_bytes()));
        }
    }
}
