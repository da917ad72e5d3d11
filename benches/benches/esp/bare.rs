//! What the library itself takes for the same octets in the same places: no
//! header, no padding to write or check, no sequence number.

use std::hint::black_box;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use vgw_crypto::{Encryption, EspSuite};
use vgw_esp::Layout;

use crate::{Failure, Shape, Subject};

pub struct Bare {
    key: LessSafeKey,
    layout: Layout,
    packet_len: usize,
    buffer: Vec<u8>,
    tags: Vec<Option<Tag>>,
}

impl Bare {
    pub fn new(shape: Shape) -> Result<Self, Failure> {
        let layout = Layout::of(EspSuite {
            encryption: Encryption::AesGcm128,
            integrity: None,
            esn: true,
        });
        let key = UnboundKey::new(&AES_128_GCM, &[1; 16]).map_err(|_| "ring refuses its key")?;
        let packet_len = layout.sealed_len(shape.inner_len);
        let count = usize::try_from(shape.packets)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            layout,
            packet_len,
            buffer: vec![0x45; packet_len * count],
            tags: vec![None; count],
        })
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key(black_box([5; NONCE_LEN]))
}

impl Subject for Bare {
    fn seal(&mut self) {
        let Layout {
            header_len,
            icv_len,
            ..
        } = self.layout;
        let packets = self.buffer.chunks_exact_mut(self.packet_len);
        for (packet, tag) in packets.zip(&mut self.tags) {
            let Some(payload) = packet.get_mut(header_len..self.packet_len - icv_len) else {
                return;
            };
            *tag = self
                .key
                .seal_in_place_separate_tag(nonce(), Aad::from([6; 12]), payload)
                .ok();
        }
        black_box(&self.tags);
    }

    fn open(&mut self) {
        let Layout {
            header_len,
            icv_len,
            ..
        } = self.layout;
        let packets = self.buffer.chunks_exact_mut(self.packet_len);
        for (packet, tag) in packets.zip(&self.tags) {
            let (Some(payload), Some(tag)) =
                (packet.get_mut(header_len..self.packet_len - icv_len), *tag)
            else {
                return;
            };
            let opened =
                self.key
                    .open_in_place_separate_tag(nonce(), Aad::from([6; 12]), tag, payload, 0..);
            black_box(opened.is_ok());
        }
    }
}
