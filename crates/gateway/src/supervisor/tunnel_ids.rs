//! The ids of tunnels.

use std::collections::BTreeSet;

use vgw_sa::TunnelId;

/// Hands out the lowest that is free, so that they stay dense.
#[derive(Debug, Default)]
pub(super) struct TunnelIds {
    next: u32,
    free: BTreeSet<TunnelId>,
}

impl TunnelIds {
    pub(super) fn take(&mut self) -> TunnelId {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            TunnelId(self.next - 1)
        })
    }

    pub(super) fn give_back(&mut self, number: TunnelId) {
        self.free.insert(number);
    }
}
