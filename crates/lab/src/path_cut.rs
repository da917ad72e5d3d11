//! Cutting a path so that packets vanish without a word, as they do on the Internet.

use std::net::IpAddr;

use anyhow::{Context, Result};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

use crate::Namespace;

/// Where in the order of routing rules a cut stands: before everything but local delivery.
const PRIORITY: u32 = 100;

/// A cut path, healed when this is dropped.
#[derive(Debug)]
pub struct Cut {
    router: Namespace,
    address: IpAddr,
    healed: bool,
}

impl Namespace {
    /// On a router: drops silently every packet from and to `address`. Links stay
    /// up and no ICMP message tells either end.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut(&self, address: IpAddr) -> Result<Cut> {
        self.netlink(async |handle| {
            for rule in rules(address) {
                let mut request = handle.rule().add();
                *request.message_mut() = rule;
                request.execute().await?;
            }
            Ok(())
        })
        .with_context(|| format!("{}: cutting the path of {address}", self.name()))?;
        Ok(Cut {
            router: self.clone(),
            address,
            healed: false,
        })
    }
}

impl Cut {
    /// Heals the path.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore(mut self) -> Result<()> {
        self.healed = true;
        self.heal()
    }

    fn heal(&self) -> Result<()> {
        self.router
            .netlink(async |handle| {
                for rule in rules(self.address) {
                    handle.rule().del(rule).execute().await?;
                }
                Ok(())
            })
            .with_context(|| {
                format!(
                    "{}: restoring the path of {}",
                    self.router.name(),
                    self.address
                )
            })
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if self.healed {
            return;
        }
        if let Err(error) = self.heal() {
            eprintln!("a cut path stays cut: {error:#}");
        }
    }
}

/// One rule for what comes from the address and one for what goes there.
fn rules(address: IpAddr) -> [RuleMessage; 2] {
    let (family, length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    let mut from = RuleMessage::default();
    from.header.family = family;
    from.header.action = RuleAction::Blackhole;
    from.attributes.push(RuleAttribute::Priority(PRIORITY));
    let mut to = from.clone();
    from.header.src_len = length;
    from.attributes.push(RuleAttribute::Source(address));
    to.header.dst_len = length;
    to.attributes.push(RuleAttribute::Destination(address));
    [from, to]
}

#[cfg(test)]
mod tests {
    use crate::Lab;
    use crate::probe::ping;
    use crate::probe::tests::{NEVER, SURELY, line};

    #[test]
    #[ignore = "needs root"]
    fn a_cut_path_is_silent_and_heals() {
        let lab = Lab::new("cut").unwrap();
        let [left, router, right] = line(&lab);
        let (from, to) = (
            "192.0.2.1".parse().unwrap(),
            "198.51.100.1".parse().unwrap(),
        );
        assert!(ping(&left, from, to, SURELY).unwrap().is_some());
        let cut = router.cut(to).unwrap();
        assert!(ping(&left, from, to, NEVER).unwrap().is_none());
        assert!(ping(&right, to, from, NEVER).unwrap().is_none());
        cut.restore().unwrap();
        assert!(ping(&left, from, to, SURELY).unwrap().is_some());
        drop(router.cut(to).unwrap());
        assert!(ping(&right, to, from, SURELY).unwrap().is_some());
    }
}
