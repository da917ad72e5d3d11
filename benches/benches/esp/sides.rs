//! Both ends of an SA and a burst of packets between them.

use std::hint::black_box;
use std::ops::Range;

use vgw_crypto::{DirectionKeys, EspSuite, Integrity, Secret};
use vgw_esp::{DropReason, InboundSa, NEXT_HEADER_IPV4, Opened, OutboundSa, Plain};

use crate::{Failure, Shape, Subject};

const SPI: u32 = 0x1234_5678;

pub struct Sides {
    outbound: OutboundSa,
    inbound: InboundSa,
    buffer: Vec<u8>,
    plains: Vec<Plain>,
    sealed: Vec<Range<usize>>,
    opened: Vec<Result<Opened, DropReason>>,
}

impl Sides {
    pub fn new(suite: EspSuite, shape: Shape) -> Result<Self, Failure> {
        let integrity_len = suite.integrity.map_or(0, Integrity::key_len);
        let keys = DirectionKeys {
            encryption: Secret::new(vec![1; suite.encryption.keymat_len()]),
            integrity: Secret::new(vec![2; integrity_len]),
        };
        let outbound = OutboundSa::new(SPI, suite, &keys, [3; 32])?;
        let count = usize::try_from(shape.packets)?;
        let len = outbound.sealed_len(shape.inner_len);
        let starts = || (0..count).map(|i| i * len);
        Ok(Self {
            inbound: InboundSa::new(SPI, suite, &keys, 1024)?,
            // The version that the next header promises.
            buffer: vec![0x45; count * len],
            plains: starts()
                .map(|at| Plain {
                    at,
                    inner_len: shape.inner_len,
                    next_header: NEXT_HEADER_IPV4,
                })
                .collect(),
            sealed: starts().map(|at| at..at + len).collect(),
            opened: Vec::with_capacity(count),
            outbound,
        })
    }
}

impl Subject for Sides {
    fn seal(&mut self) {
        let count = u32::try_from(self.plains.len()).unwrap_or(0);
        let Ok(first) = self.outbound.reserve(count) else {
            return;
        };
        black_box(
            self.outbound
                .seal_burst(first, &mut self.buffer, &self.plains),
        )
        .ok();
    }

    fn open(&mut self) {
        self.opened.clear();
        self.inbound
            .opener()
            .open_burst(&mut self.buffer, &self.sealed, &mut self.opened);
        black_box(&self.opened);
    }
}
