//! What a message's header tells before anything is computed.

use crate::core::drop_reason::DropReason;

use super::{ExchangeType, HEADER_LEN, INITIATOR_FLAG, MAJOR_VERSION, RESPONSE_FLAG};

/// Enough of a header to say whose message it may be. Nothing of it is authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeekedHeader {
    /// The SPI that names the IKE SA at our end: which of the two it is, the
    /// Initiator flag says (RFC 7296 section 3.1).
    pub our_spi: u64,
    /// An IKE_SA_INIT request: its sender asks for a new IKE SA.
    pub begins: bool,
}

/// Looks at a datagram's header. It allocates nothing and makes no sentence, for whoever
/// has to look at everything.
///
/// # Errors
/// Where [`super::decode_header`] would refuse it: [`DropReason::Malformed`], or by the version
/// that it is of. The header of IKEv1 has the same fields (RFC 2408 section 3.1).
pub fn peek_header(datagram: &[u8]) -> Result<PeekedHeader, DropReason> {
    let (header, major) = whole(datagram).ok_or(DropReason::Malformed)?;
    match major {
        MAJOR_VERSION => Ok(header),
        1 => Err(DropReason::IkeV1),
        _ => Err(DropReason::OtherVersion),
    }
}

/// What can be seen, and the major version, of a message that is as long as its header says.
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
