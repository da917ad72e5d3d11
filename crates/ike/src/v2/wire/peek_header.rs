//! What a message's header tells before anything is computed.

use crate::core::drop_reason::DropReason;

use super::{ExchangeType, HEADER_LEN, INITIATOR_FLAG, MAJOR_VERSION, RESPONSE_FLAG};

/// The header fields that tell which IKE SA a message may belong to. They are not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeekedHeader {
    /// The SPI that names the IKE SA at our end. The Initiator flag tells which of the two SPIs it
    /// is (RFC 7296 section 3.1).
    pub our_spi: u64,
    /// Whether it is an IKE_SA_INIT request, which asks for a new IKE SA.
    pub begins: bool,
}

/// Reads a datagram's header. It allocates nothing and formats no error text, because every
/// datagram passes through here.
///
/// # Errors
/// If [`super::decode_header`] would refuse it: [`DropReason::Malformed`], or the reason for its
/// version. The header of IKEv1 has the same fields (RFC 2408 section 3.1).
pub fn peek_header(datagram: &[u8]) -> Result<PeekedHeader, DropReason> {
    let (header, major) = whole(datagram).ok_or(DropReason::Malformed)?;
    match major {
        MAJOR_VERSION => Ok(header),
        1 => Err(DropReason::IkeV1),
        _ => Err(DropReason::OtherVersion),
    }
}

/// The fields and the major version of a message that is as long as its header says.
fn whole(datagram: &[u8]) -> Option<(PeekedHeader, u8)> {
    let octets: &[u8; HEADER_LEN] = datagram.first_chunk()?;
    let (spi_i, rest) = octets.split_first_chunk::<8>()?;
    let (spi_r, rest) = rest.split_first_chunk::<8>()?;
    let (&[_, version, exchange, flags], rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*rest.last_chunk()?);
    if usize::try_from(length) != Ok(datagram.len()) {
        return None;
    }
    let from_initiator = flags & INITIATOR_FLAG != 0;
    let our_spi = if from_initiator { spi_r } else { spi_i };
    let header = PeekedHeader {
        our_spi: u64::from_be_bytes(*our_spi),
        begins: ExchangeType(exchange) == ExchangeType::IKE_SA_INIT && flags & RESPONSE_FLAG == 0,
    };
    Some((header, version >> 4))
}
