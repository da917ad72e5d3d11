//! The ids of tunnels.

use std::collections::BTreeSet;

use vgw_sa::{GatewayId, TunnelId};

/// Hands out the lowest number that is free, so that they stay dense over all gateways.
#[derive(Debug, Default)]
pub(super) struct TunnelIds {
    next: u32,
    free: BTreeSet<u32>,
}

impl TunnelIds {
    pub(super) fn take(&mut self, gateway: GatewayId) -> TunnelId {
        let number = self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        gateway.tunnel(number)
    }

    pub(super) fn give_back(&mut self, id: TunnelId) {
        self.free.insert(id.number);
    }
}

#[cfg(test)]
mod tests {
    use vgw_sa::GatewayId;

    use super::TunnelIds;

    #[test]
    fn no_two_tunnels_have_one_number_whosever_they_are() {
        let mut ids = TunnelIds::default();
        let [one, other] = [GatewayId(0), GatewayId(1)];
        let first = ids.take(one);
        assert_eq!(ids.take(other), other.tunnel(1));
        ids.give_back(first);
        assert_eq!(ids.take(other), other.tunnel(0));
    }
}
