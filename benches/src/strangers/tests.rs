use vgw_ike::messages::InitResponse;
use vgw_ike::wire::{ExchangeType, Header, encode_cleartext};

use super::messages::{accepted, answer, message, refused};

#[test]
fn the_longest_refusal_is_as_long_as_a_gateway_reads() {
    let len = message(1, &refused()).len();
    assert!((3_500..=4_096).contains(&len), "{len}");
}

#[test]
fn an_answer_tells_whom_it_is_for_and_its_cookie() {
    let header = Header {
        spi_i: 7,
        spi_r: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: false,
        response: true,
        message_id: 0,
    };
    let asked = InitResponse::Cookie(vec![1, 2, 3]).into_payloads();
    let found = answer(&encode_cleartext(&header, &asked));
    assert_eq!(found, Some((7, Some(vec![1, 2, 3]))));
    assert_eq!(answer(&message(8, &accepted())), Some((8, None)));
    assert_eq!(answer(b"garbage"), None);
}
