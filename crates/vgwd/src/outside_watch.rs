//! What the kernel tells of links, addresses and routes outside, as it happens: the tunnels
//! whose packets go by them may not be whole any more, or are again.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::kernel::watch::{Change, Watch};

/// News of something that packets need outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideNews {
    /// What it is about.
    pub of: OutsideThing,
    /// Whether it is there.
    pub there: bool,
}

/// What packets need outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutsideThing {
    /// A link, up and with a carrier.
    Link(Arc<str>),
    /// An address of this machine.
    Address(IpAddr),
    /// A route.
    Route(IpNet),
}

/// Tells of changes in the network namespace where it was opened.
#[derive(Debug)]
pub struct OutsideWatch {
    /// None where the kernel does not tell, or no longer.
    watch: Option<Watch>,
    links: DownLinks,
}

/// The links that are known to be down.
#[derive(Debug, Default)]
struct DownLinks(BTreeSet<u32>);

impl OutsideWatch {
    /// Opens it in the network namespace of the calling thread, which must be one of a tokio
    /// runtime.
    pub fn open() -> Self {
        let watch = Watch::open_outside();
        Self {
            watch: watch.inspect_err(not_told).ok(),
            links: DownLinks::default(),
        }
    }

    /// Waits for news. None are lost if it is not waited for to the end.
    pub async fn next(&mut self) -> Vec<OutsideNews> {
        let Some(watch) = &mut self.watch else {
            return pending().await;
        };
        match watch.next().await {
            Ok(changes) => {
                let news = changes.into_iter().map(|change| self.links.news(change));
                news.flatten().collect()
            }
            Err(error) => {
                not_told(&error);
                self.watch = None;
                Vec::new()
            }
        }
    }
}

fn not_told(error: &io::Error) {
    tracing::warn!(
        %error,
        "the kernel does not tell what changes outside, so a link that is down shows by its \
         silence alone: {error}"
    );
}

impl DownLinks {
    /// What a change means. Of a link there are messages for much else.
    fn news(&mut self, change: Change) -> Option<OutsideNews> {
        let (of, there) = match change {
            Change::Link { index, now } => {
                let there = now.up && now.running;
                let news = if there {
                    self.0.remove(&index)
                } else {
                    self.0.insert(index)
                };
                if !news {
                    return None;
                }
                (OutsideThing::Link(now.name.into()), there)
            }
            Change::LinkGone { index } => {
                self.0.remove(&index);
                return None;
            }
            Change::Address(address) => (OutsideThing::Address(address.net.addr()), true),
            Change::AddressGone(address) => (OutsideThing::Address(address.net.addr()), false),
            Change::Route { prefix, gone } => (OutsideThing::Route(prefix), !gone),
            // Whatever was missed shows by a silence.
            Change::Rule | Change::NetConf | Change::Missed => return None,
        };
        Some(OutsideNews { of, there })
    }
}

#[cfg(test)]
mod tests {
    use super::{DownLinks, OutsideNews, OutsideThing};
    use crate::kernel::watch::{Change, LinkState};

    fn link(index: u32, up: bool, running: bool) -> Change {
        let name = format!("line-{index}");
        let now = LinkState {
            name,
            up,
            running,
            mtu: 1500,
        };
        Change::Link { index, now }
    }

    #[test]
    fn a_link_is_told_of_when_it_goes_down_or_loses_its_carrier_and_when_it_is_back() {
        let mut links = DownLinks::default();
        let told = |index: u32, there| {
            let of = OutsideThing::Link(format!("line-{index}").into());
            Some(OutsideNews { of, there })
        };
        assert_eq!(links.news(link(1, true, true)), None);
        assert_eq!(links.news(link(1, true, false)), told(1, false));
        assert_eq!(links.news(link(1, false, false)), None);
        assert_eq!(links.news(link(2, false, false)), told(2, false));
        assert_eq!(links.news(link(1, true, true)), told(1, true));
        assert_eq!(links.news(link(1, true, true)), None);
        assert_eq!(links.news(Change::LinkGone { index: 2 }), None);
        assert_eq!(links.news(link(2, true, true)), None);
    }
}
