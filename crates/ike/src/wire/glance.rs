//! What a message's header tells before anything is computed.

use super::{ExchangeType, HEADER_LEN, INITIATOR_FLAG, MAJOR_VERSION, RESPONSE_FLAG};

/// Enough of a header to say whose message it may be. Nothing of it is authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// The SPI that names the IKE SA at our end: which of the two it is, the
    /// Initiator flag says (RFC 7296 section 3.1).
    pub our_spi: u64,
    /// An IKE_SA_INIT request: its sender asks for a new IKE SA.
    pub begins: bool,
}

/// Looks at a datagram's header. None: [`super::decode_header`] would refuse it. It
/// allocates nothing and makes no sentence, for whoever has to look at everything.
#[must_use]
pub fn glance(datagram: &[u8]) -> Option<Glance> {
    let header = whole(datagram).filter(|header| header.major == MAJOR_VERSION)?;
    let from_initiator = header.flags & INITIATOR_FLAG != 0;
    let our_spi = if from_initiator {
        header.spi_r
    } else {
        header.spi_i
    };
    Some(Glance {
        our_spi: u64::from_be_bytes(our_spi),
        begins: header.exchange == ExchangeType::IKE_SA_INIT && header.flags & RESPONSE_FLAG == 0,
    })
}

/// Whether a datagram is a message of IKEv1, whose header has the same fields (RFC 2408
/// section 3.1).
#[must_use]
pub fn is_ike_v1(datagram: &[u8]) -> bool {
    whole(datagram).is_some_and(|header| header.major == 1)
}

struct Whole {
    spi_i: [u8; 8],
    spi_r: [u8; 8],
    major: u8,
    exchange: ExchangeType,
    flags: u8,
}

/// The header of a message that is as long as the header says.
fn whole(datagram: &[u8]) -> Option<Whole> {
    let header: &[u8; HEADER_LEN] = datagram.first_chunk()?;
    let (&spi_i, rest) = header.split_first_chunk::<8>()?;
    let (&spi_r, rest) = rest.split_first_chunk::<8>()?;
    let (&[_, version, exchange, flags], rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*rest.last_chunk()?);
    (usize::try_from(length) == Ok(datagram.len())).then_some(Whole {
        spi_i,
        spi_r,
        major: version >> 4,
        exchange: ExchangeType(exchange),
        flags,
    })
}
