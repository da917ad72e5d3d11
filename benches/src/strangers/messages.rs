//! The messages that strangers send, and the cookies that they are asked for.

use vgw_crypto::{Group, Prf};
use vgw_ike::messages::{IkeOffer, InitRequest, Notifies};
use vgw_ike::wire::{
    ExchangeType, Header, KeyExchange, NotifyType, Payload, Proposal, ProtocolId, Transform,
    TransformType, decode_cleartext, encode_cleartext,
};

const PROPOSALS: u8 = 7;
/// Transforms of each proposal. With all of them the message has 3.6 kB.
const TRANSFORMS: u16 = 64;

/// What takes longest to refuse: a message as large as is read at all, with as many
/// transforms as fit, none of them ours. The proposals fit but for their groups.
pub fn refused() -> InitRequest {
    let proposal = |number: u8| {
        let first = 1_000 + TRANSFORMS * u16::from(number);
        let groups = first..first + TRANSFORMS - 2;
        proposal(number, groups)
    };
    let proposals = (1..=PROPOSALS).map(proposal).collect();
    request(proposals, Group::Curve25519, vec![9; 32])
}

/// What takes least to refuse: no group of ours.
pub fn refused_shortly() -> InitRequest {
    let proposals = vec![proposal(1, 1_000..1_001)];
    request(proposals, Group::Curve25519, vec![9; 32])
}

/// What is taken: a place is held for it until it expires.
pub fn accepted() -> InitRequest {
    let group = Group::Curve25519;
    request(vec![proposal(1, [group.iana()])], group, vec![9; 32])
}

/// What would be taken if its public value were one: RFC 3526's 4,096 bits, all zero.
pub fn invalid() -> InitRequest {
    let group = Group::Modp4096;
    request(vec![proposal(1, [group.iana()])], group, vec![0; 512])
}

fn request(sa: Vec<Proposal>, group: Group, public: Vec<u8>) -> InitRequest {
    InitRequest {
        cookie: None,
        offer: IkeOffer {
            sa,
            ke: KeyExchange {
                group: group.iana(),
                data: public,
            },
            nonce: vec![7; 32],
            notifies: Notifies(Vec::new()),
        },
    }
}

/// AES-128-GCM and HMAC-SHA2-256, which everybody takes, and these groups.
fn proposal(number: u8, groups: impl IntoIterator<Item = u16>) -> Proposal {
    let known = [
        transform(TransformType::ENCRYPTION, 20, Some(128)),
        transform(TransformType::PRF, Prf::HmacSha256.iana(), None),
    ];
    let groups = groups
        .into_iter()
        .map(|id| transform(TransformType::KEY_EXCHANGE, id, None));
    Proposal {
        number,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: known.into_iter().chain(groups).collect(),
    }
}

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform {
        kind,
        id,
        key_bits,
        unknown_attribute: false,
    }
}

/// The message of an initiator with this SPI.
pub fn message(spi_i: u64, request: &InitRequest) -> Vec<u8> {
    let header = Header {
        spi_i,
        spi_r: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: true,
        response: false,
        message_id: 0,
    };
    encode_cleartext(&header, &request.clone().into_payloads())
}

/// Whom an answer is for, by the SPI, and the cookie that it asks for, if it does.
pub fn answer(datagram: &[u8]) -> Option<(u64, Option<Vec<u8>>)> {
    let message = decode_cleartext(datagram).ok()?;
    let cookie = message.payloads.into_iter().find_map(|payload| {
        let Payload::Notify(notify) = payload else {
            return None;
        };
        (notify.kind == NotifyType::COOKIE).then_some(notify.data)
    });
    Some((message.header.spi_i, cookie))
}
