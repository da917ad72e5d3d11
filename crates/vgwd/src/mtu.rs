//! Whether packets from inside, as large as the TUN device lets them be, fit
//! the tunnels.

use std::collections::BTreeSet;

use vgw_crypto::{Encryption, EspSuite, Integrity};
use vgw_dataplane::{Family, inner_mtu};
use vgw_gateway::domain::{Gateway, Tunnel, TunnelName};
use vgw_ike::config::Encapsulation;

/// The TUN device's MTU is never less, since IPv6 needs as much (RFC 8200
/// section 5).
pub const LEAST: u64 = 1_280;

/// Nor more.
pub const MOST: u64 = 9_000;

/// What becomes of packets that do not fit.
pub const CONSEQUENCE: &str = "larger packets are answered with \"fragmentation needed\" or, \
     where they may, travel in fragments; TCP keeps to the tunnel's";

/// What to set `tun.mtu` to, so that whatever it lets through fits this tunnel;
/// None if it does already, or is as small as it may be.
#[must_use]
pub fn advice(tun_mtu: u16, tunnel_mtu: usize) -> Option<u64> {
    let fits = u64::try_from(tunnel_mtu).unwrap_or(u64::MAX).max(LEAST);
    (fits < u64::from(tun_mtu)).then_some(fits)
}

/// The MTU of a tunnel, whatever it negotiates, is at most this: that of the
/// cheapest suite allowed, and in UDP only if it is so always. None if no
/// suite is allowed.
#[must_use]
pub fn at_most(gateway: &Gateway, tunnel: &Tunnel) -> Option<usize> {
    best(gateway, tunnel, tunnel.encapsulation == Encapsulation::Udp)
}

/// The default of `tun.mtu`: what every tunnel carries that negotiates its best, in
/// UDP unless it never is.
///
/// With a larger one, packets that may be fragmented would leave in two outer fragments. With
/// this one the kernel fragments them before they come to us, so that each part is whole
/// outside, and TCP is held to it. A tunnel with a worse suite keeps its smaller MTU: its TCP is
/// clamped, its packets that must not be fragmented are answered by ICMP, and the log says so.
#[must_use]
pub fn default(gateway: &Gateway) -> u16 {
    let tunnels = gateway.connections.iter().flat_map(|c| &c.tunnels);
    let least = tunnels
        .filter_map(|tunnel| {
            best(
                gateway,
                tunnel,
                tunnel.encapsulation != Encapsulation::Native,
            )
        })
        .min();
    // Of AES-GCM over IPv4 where nothing is configured yet.
    let least = least.unwrap_or_else(|| {
        let suite = EspSuite {
            encryption: Encryption::AesGcm256,
            integrity: None,
            esn: true,
        };
        inner_mtu(suite, true, Family::V4, usize::from(gateway.outside_mtu))
    });
    let least = u64::try_from(least).unwrap_or(MOST).clamp(LEAST, MOST);
    u16::try_from(least).unwrap_or(u16::MAX)
}

/// The MTU of a tunnel with the cheapest suite allowed.
fn best(gateway: &Gateway, tunnel: &Tunnel, udp: bool) -> Option<usize> {
    let outside = Family::of(tunnel.outside_address);
    let link_mtu = usize::from(gateway.outside_mtu);
    let of_suite = |encryption: Encryption, integrity: Option<Integrity>| {
        // Extended sequence numbers take no room.
        let suite = EspSuite {
            encryption,
            integrity,
            esn: true,
        };
        inner_mtu(suite, udp, outside, link_mtu)
    };
    let integrity = &tunnel.phase2.integrity;
    let of_encryption = |&encryption: &Encryption| {
        if encryption.is_aead() {
            return Some(of_suite(encryption, None));
        }
        let with = integrity.iter().map(|one| of_suite(encryption, Some(*one)));
        with.max()
    };
    let encryption = tunnel.phase2.encryption.iter();
    encryption.filter_map(of_encryption).max()
}

/// Warns of each tunnel that carries less than the TUN device lets through, once for each
/// MTU that it has and not at every rekey.
#[derive(Debug)]
pub struct MtuWarnings {
    tun_mtu: u16,
    given: BTreeSet<(TunnelName, usize)>,
}

impl MtuWarnings {
    /// For a TUN device of this MTU.
    #[must_use]
    pub const fn new(tun_mtu: u16) -> Self {
        Self {
            tun_mtu,
            given: BTreeSet::new(),
        }
    }

    /// Logs what there is to be said of a tunnel that can send.
    pub fn tell(&mut self, tunnel: &TunnelName, mtu: usize) {
        if let Some(fits) = self.news(tunnel, mtu) {
            tracing::warn!(
                %tunnel,
                tunnel_mtu = mtu,
                tun_mtu = self.tun_mtu,
                "{tunnel}: tun.mtu is larger than the tunnel's MTU, {} instead of {mtu}: \
                 {CONSEQUENCE}; a tun.mtu of {fits} would fit",
                self.tun_mtu
            );
        }
    }

    fn news(&mut self, tunnel: &TunnelName, mtu: usize) -> Option<u64> {
        let fits = advice(self.tun_mtu, mtu)?;
        let news = self.given.insert((tunnel.clone(), mtu));
        news.then_some(fits)
    }
}

#[cfg(test)]
mod tests {
    use vgw_gateway::domain::TunnelName;

    use super::{MtuWarnings, advice};

    #[test]
    fn what_fits_needs_no_advice_and_none_is_given_that_cannot_be_followed() {
        assert_eq!(advice(1406, 1406), None);
        assert_eq!(advice(1406, 9_000_000), None);
        assert_eq!(advice(1406, 1405), Some(1405));
        assert_eq!(advice(1406, 1200), Some(1280));
        assert_eq!(advice(1280, 1200), None);
    }

    #[test]
    fn a_tunnel_is_told_of_once_for_each_mtu() {
        let [first, second] = [1, 2].map(|number| TunnelName {
            connection: "vpn-office".to_owned(),
            number,
        });
        let mut mtu_warnings = MtuWarnings::new(1446);
        assert_eq!(mtu_warnings.news(&first, 1446), None);
        assert_eq!(mtu_warnings.news(&first, 1438), Some(1438));
        assert_eq!(mtu_warnings.news(&second, 1438), Some(1438));
        assert_eq!(mtu_warnings.news(&first, 1422), Some(1422));
        for again in [1438, 1422] {
            assert_eq!(mtu_warnings.news(&first, again), None);
        }
    }
}
