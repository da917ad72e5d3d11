//! Packets that the kernel dropped because the TUN device was read too slowly.
//!
//! They never reach us, so that only the kernel can count them. It is asked by
//! netlink (RTM_GETSTATS, linux/if_link.h), and only when somebody wants to know.

use std::io;

use nix::errno::Errno;

use crate::links::netlink::Netlink;
use crate::tables::counters::Count;

const REQUEST_LEN: usize = 28;
/// linux/rtnetlink.h
const RTM_NEWSTATS: u16 = 92;
const RTM_GETSTATS: u16 = 94;
/// `struct nlmsghdr` of linux/netlink.h and `struct if_stats_msg`.
const HEADERS: usize = 16 + 12;
/// `struct rtnl_link_stats64`, and its bit in a request.
const IFLA_STATS_LINK_64: u16 = 1;
const LINK_64_WANTED: u32 = 1;
/// Eighth of the 64-bit counters in `struct rtnl_link_stats64`.
const TX_DROPPED: usize = 7;

/// The counter of one device.
#[derive(Debug)]
pub(crate) struct KernelDrops {
    request: [u8; REQUEST_LEN],
    /// What a persistent device had dropped before.
    before: u64,
    /// What it has dropped since, as last heard.
    since: Count,
}

impl KernelDrops {
    /// The counter of the interface `index` in the network namespace of
    /// `netlink`, from now on.
    pub(crate) fn open(netlink: &Netlink, index: u32) -> io::Result<Self> {
        let mut drops = Self {
            request: request(index),
            before: 0,
            since: Count::default(),
        };
        drops.before = drops.ask(netlink)?;
        Ok(drops)
    }

    /// Packets dropped since it was opened; of a device that is gone, the last
    /// known number.
    pub(crate) fn get(&self, netlink: &Netlink) -> u64 {
        if let Ok(now) = self.ask(netlink) {
            self.since.raise_to(now.saturating_sub(self.before));
        }
        self.since.get()
    }

    fn ask(&self, netlink: &Netlink) -> io::Result<u64> {
        netlink.ask(&self.request, tx_dropped)
    }
}

fn request(index: u32) -> [u8; REQUEST_LEN] {
    const NLM_F_REQUEST: u16 = 1;
    let mut request = [0; REQUEST_LEN];
    let fields = [
        &28_u32.to_ne_bytes()[..],
        &RTM_GETSTATS.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        // Sequence number and port: one answer at a time needs neither.
        &[0; 8],
        // Family and padding.
        &[0; 4],
        &index.to_ne_bytes(),
        &LINK_64_WANTED.to_ne_bytes(),
    ];
    for (to, from) in request.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    request
}

/// The counter in the kernel's answer.
fn tx_dropped(answer: &[u8]) -> io::Result<u64> {
    let kind = u16_at(answer, 4);
    if kind == Some(RTM_NEWSTATS) {
        let counters = attribute(answer.get(HEADERS..).unwrap_or_default());
        let (counters, _) = counters.unwrap_or_default().as_chunks();
        if let Some(counter) = counters.get(TX_DROPPED) {
            return Ok(u64::from_ne_bytes(*counter));
        }
    }
    // An NLMSG_ERROR has the negative error number behind its header.
    let error = answer.get(16..).and_then(<[u8]>::first_chunk);
    match (kind.map(i32::from), error) {
        (Some(libc::NLMSG_ERROR), Some(error)) => {
            let errno = i32::from_ne_bytes(*error).wrapping_neg();
            Err(Errno::from_raw(errno).into())
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "netlink: {} octets of type {kind:?} do not hold the counters of a link",
                answer.len()
            ),
        )),
    }
}

/// The value of the attribute with the counters (`struct nlattr`). A kernel may
/// have put an empty one before it to align it.
fn attribute(mut attributes: &[u8]) -> Option<&[u8]> {
    const HEADER: usize = 4;
    loop {
        let len = usize::from(u16_at(attributes, 0)?).max(HEADER);
        if u16_at(attributes, 2)? == IFLA_STATS_LINK_64 {
            return attributes.get(HEADER..len);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use proptest::prelude::*;

    use super::{IFLA_STATS_LINK_64, KernelDrops, RTM_NEWSTATS, tx_dropped};
    use crate::links::netlink::Netlink;

    fn answer(kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[0; 4][..], &kind.to_ne_bytes(), &[0; 10], rest].concat()
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    #[test]
    fn the_counter_is_found_behind_what_aligns_it() {
        let counters: Vec<u8> = (10..34_u64).flat_map(u64::to_ne_bytes).collect();
        let counters = attribute(IFLA_STATS_LINK_64, &counters);
        for padding in [&[][..], &attribute(0, &[])] {
            let message = answer(RTM_NEWSTATS, &[&[0; 12], padding, &counters].concat());
            assert_eq!(tx_dropped(&message).unwrap(), 17);
        }
    }

    #[test]
    fn the_kernels_refusal_is_told() {
        let error = KernelDrops::open(&Netlink::open().unwrap(), u32::MAX >> 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}");
    }

    #[test]
    fn an_answer_without_the_counters_is_refused() {
        let short = attribute(IFLA_STATS_LINK_64, &[0; 56]);
        let message = answer(RTM_NEWSTATS, &[&[0; 12][..], &short].concat());
        assert_eq!(
            tx_dropped(&message).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_an_answer_or_not(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = tx_dropped(&rest);
            let _ = tx_dropped(&answer(RTM_NEWSTATS, &rest));
        }
    }
}
