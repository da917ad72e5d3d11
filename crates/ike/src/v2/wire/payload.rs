//! The payloads as Rust values.

use vgw_sa::TrafficSelector;

use crate::peer::identity::Identity;
use crate::v2::wire::iana::{AuthMethod, NotifyType, PayloadType, ProtocolId, TransformType};

/// One payload (RFC 7296 sections 3.3 to 3.16).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is named by its content")]
pub enum Payload {
    Sa(Vec<Proposal>),
    Ke(KeyExchange),
    IdI(Id),
    IdR(Id),
    Auth(Auth),
    Nonce(Vec<u8>),
    Notify(Notify),
    Delete(Delete),
    VendorId(Vec<u8>),
    TsI(Vec<TrafficSelector>),
    TsR(Vec<TrafficSelector>),
    /// CERT, CERTREQ, CP and EAP, which this gateway does not use, and types that it does not know.
    Other {
        /// Its type.
        kind: PayloadType,
        /// The Critical flag.
        critical: bool,
        /// Its body, as received.
        data: Vec<u8>,
    },
}

/// SA payload: one proposal (RFC 7296 section 3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Proposal number, from 1.
    pub number: u8,
    /// The protocol of the SA that is negotiated.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty in IKE_SA_INIT, 8 octets for a rekeyed IKE SA, 4 for ESP.
    pub spi: Vec<u8>,
    /// The transforms; those of one type are alternatives.
    pub transforms: Vec<Transform>,
}

/// One transform (RFC 7296 section 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// Transform type.
    pub kind: TransformType,
    /// Transform ID, in its type's registry.
    pub id: u16,
    /// The Key Length attribute, in bits.
    pub key_bits: Option<u16>,
    /// The transform has an attribute that we do not know, so it cannot be selected (RFC 7296
    /// section 3.3.6).
    pub unknown_attribute: bool,
}

/// KE payload (RFC 7296 section 3.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExchange {
    /// Key exchange method, a transform ID of type 4.
    pub group: u16,
    /// Public value.
    pub data: Vec<u8>,
}

/// IDi or IDr payload (RFC 7296 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    /// ID type.
    pub kind: u8,
    /// Identification data.
    pub data: Vec<u8>,
}

/// AUTH payload (RFC 7296 section 3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Authentication method.
    pub method: AuthMethod,
    /// Authentication data.
    pub data: Vec<u8>,
}

/// Notify payload (RFC 7296 section 3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Protocol of the SA that `spi` names; NONE if there is no SPI.
    pub protocol: ProtocolId,
    /// SPI of an existing SA, or empty.
    pub spi: Vec<u8>,
    /// Notify message type.
    pub kind: NotifyType,
    /// Notification data.
    pub data: Vec<u8>,
}

/// Delete payload (RFC 7296 section 3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delete {
    /// The IKE SA of this message and all its CHILD SAs.
    Ike,
    /// The CHILD SAs that the sender receives with these SPIs.
    Child {
        /// ESP or AH.
        protocol: ProtocolId,
        /// The sender's inbound SPIs.
        spis: Vec<u32>,
    },
}

impl Payload {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::ID_I,
            Self::IdR(_) => PayloadType::ID_R,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TsI(_) => PayloadType::TS_I,
            Self::TsR(_) => PayloadType::TS_R,
            Self::Other { kind, .. } => *kind,
        }
    }
}

impl Notify {
    /// A notification without SPI: about no particular SA, or about the IKE SA.
    #[must_use]
    pub const fn new(kind: NotifyType, data: Vec<u8>) -> Self {
        Self {
            protocol: ProtocolId::NONE,
            spi: Vec::new(),
            kind,
            data,
        }
    }

    /// A notification about a CHILD SA of ESP: REKEY_SA, CHILD_SA_NOT_FOUND.
    #[must_use]
    pub fn child(kind: NotifyType, spi: u32) -> Self {
        Self {
            protocol: ProtocolId::ESP,
            spi: spi.to_be_bytes().to_vec(),
            kind,
            data: Vec::new(),
        }
    }

    /// INVALID_SPI: an ESP packet came with this SPI (RFC 7296 section 1.5).
    #[must_use]
    pub fn invalid_spi(spi: u32) -> Self {
        Self::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec())
    }

    /// The SPI that an INVALID_SPI names.
    #[must_use]
    pub fn named_invalid_spi(&self) -> Option<u32> {
        let octets: [u8; 4] = self.data.as_slice().try_into().ok()?;
        (self.kind == NotifyType::INVALID_SPI).then(|| u32::from_be_bytes(octets))
    }

    /// The SPI, if it names a CHILD SA of ESP.
    #[must_use]
    pub fn child_spi(&self) -> Option<u32> {
        let octets: [u8; 4] = self.spi.as_slice().try_into().ok()?;
        (self.protocol == ProtocolId::ESP).then(|| u32::from_be_bytes(octets))
    }
}

impl From<&Identity> for Id {
    fn from(identity: &Identity) -> Self {
        let (kind, data) = identity.to_wire();
        Self { kind, data }
    }
}

impl Id {
    /// The identity, if its type is one that we know.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        Identity::from_wire(self.kind, &self.data)
    }

    /// The payload's body from the ID type on, which AUTH covers as RestOfIDPayload (RFC 7296
    /// section 2.15).
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = vec![self.kind, 0, 0, 0];
        body.extend_from_slice(&self.data);
        body
    }
}
