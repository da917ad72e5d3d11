//! AES-CBC encryption of several packets at a time, on any CPU: one block of
//! each packet in turn, so that the rounds of one hide the latency of
//! another's.

use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks,
    consts::U16,
};

use super::lane::{Block, LANES, Lane};

/// Encrypts every lane to its end; at most [`LANES`] of them.
pub(super) fn encrypt<C>(cipher: &C, lanes: &mut [Lane<'_>])
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    cipher.encrypt_with_backend(Lockstep { lanes });
}

struct Lockstep<'a, 'b> {
    lanes: &'a mut [Lane<'b>],
}

impl BlockSizeUser for Lockstep<'_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Lockstep<'_, '_> {
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        let Self { lanes } = self;
        let steps = lanes.iter().map(|lane| lane.blocks.len()).max();
        let mut chains = [Block::default(); LANES];
        let chains = chains.get_mut(..lanes.len()).unwrap_or_default();
        for (chain, lane) in chains.iter_mut().zip(&*lanes) {
            *chain = lane.iv.into();
        }
        for step in 0..steps.unwrap_or(0) {
            for (chain, lane) in chains.iter_mut().zip(&*lanes) {
                if let Some(block) = lane.blocks.get(step) {
                    *chain = xor((*chain).into(), *block).into();
                }
            }
            let (wide, rest) = ParBlocks::<B>::slice_as_chunks_mut(chains);
            for blocks in wide {
                backend.encrypt_par_blocks_inplace(blocks);
            }
            backend.encrypt_tail_blocks_inplace(rest);
            for (chain, lane) in chains.iter().zip(lanes.iter_mut()) {
                if let Some(block) = lane.blocks.get_mut(step) {
                    *block = (*chain).into();
                }
            }
        }
    }
}

fn xor(one: [u8; 16], other: [u8; 16]) -> [u8; 16] {
    (u128::from_ne_bytes(one) ^ u128::from_ne_bytes(other)).to_ne_bytes()
}
