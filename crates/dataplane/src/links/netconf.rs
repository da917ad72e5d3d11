//! Whether the kernel forwards packets from a link, and whether its reverse
//! path filter drops them. It is asked by netlink (RTM_GETNETCONF,
//! linux/netconf.h), as the service does not see `/proc/sys`.

use std::io;

use nix::errno::Errno;

use crate::links::netlink::Netlink;
use crate::packet::mtu::Family;

const RTM_NEWNETCONF: u16 = 80;
const RTM_GETNETCONF: u16 = 82;
/// `struct nlmsghdr` and `struct netconfmsg`, which is padded.
const HEADERS: usize = 16 + 4;
const REQUEST_LEN: usize = HEADERS + 8;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_FORWARDING: u16 = 2;
const NETCONFA_RP_FILTER: u16 = 3;
const NETCONFA_FORCE_FORWARDING: u16 = 9;
/// `NETCONFA_IFINDEX_ALL`.
const ALL: i32 = -1;

/// The kernel's settings of one address family, `net.ipv4.conf` or `net.ipv6.conf`, of a
/// link or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetConf {
    /// Packets from the link may be forwarded. Over IPv6 only the setting of all links counts.
    pub forwarding: bool,
    /// IPv6: they may be forwarded even if the setting of all links says no (Linux 6.17).
    pub force_forwarding: bool,
    /// IPv4: `rp_filter`; the higher of the link's and that of all links counts.
    pub rp_filter: i32,
}

impl Netlink {
    /// The settings of a link in the socket's namespace; without `index`, of all.
    ///
    /// # Errors
    /// What the kernel says; EINVAL if the link does not have this family.
    pub fn net_conf(&self, family: Family, index: Option<u32>) -> io::Result<NetConf> {
        let index = index.map_or(Ok(ALL), i32::try_from);
        let index = index.map_err(io::Error::other)?;
        self.ask(&request(family, index), read)
    }
}

fn request(family: Family, index: i32) -> [u8; REQUEST_LEN] {
    const NLM_F_REQUEST: u16 = 1;
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let mut request = [0; REQUEST_LEN];
    let fields = [
        &28_u32.to_ne_bytes()[..],
        &RTM_GETNETCONF.to_ne_bytes(),
        &NLM_F_REQUEST.to_ne_bytes(),
        // Sequence number and port: one answer at a time needs neither.
        &[0; 8],
        &u8::try_from(family).unwrap_or_default().to_ne_bytes(),
        &[0; 3],
        &8_u16.to_ne_bytes(),
        &NETCONFA_IFINDEX.to_ne_bytes(),
        &index.to_ne_bytes(),
    ];
    for (to, from) in request.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    request
}

fn read(answer: &[u8]) -> io::Result<NetConf> {
    let kind = u16_at(answer, 4);
    if kind == Some(RTM_NEWNETCONF) {
        return Ok(net_conf(answer.get(HEADERS..).unwrap_or_default()));
    }
    // An NLMSG_ERROR has the negative error number behind its header.
    match (kind.map(i32::from), i32_at(answer, 16)) {
        (Some(libc::NLMSG_ERROR), Some(error)) => Err(Errno::from_raw(error.wrapping_neg()).into()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("netlink: type {kind:?} holds no settings of a link"),
        )),
    }
}

/// The settings in a list of attributes (`struct nlattr`).
fn net_conf(mut attributes: &[u8]) -> NetConf {
    const HEADER: usize = 4;
    let mut found = NetConf::default();
    while let (Some(len), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = i32_at(attributes, HEADER).unwrap_or_default();
        match kind {
            NETCONFA_FORWARDING => found.forwarding = value != 0,
            NETCONFA_FORCE_FORWARDING => found.force_forwarding = value != 0,
            NETCONFA_RP_FILTER => found.rp_filter = value,
            _ => {}
        }
        let len = usize::from(len).max(HEADER).next_multiple_of(4);
        attributes = attributes.get(len..).unwrap_or_default();
    }
    found
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*octets))
}

fn i32_at(octets: &[u8], at: usize) -> Option<i32> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(i32::from_ne_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vgw_lab::{Lab, Veth};

    use super::{NetConf, RTM_NEWNETCONF, read};
    use crate::links::netlink::Netlink;
    use crate::packet::mtu::Family;

    #[test]
    #[ignore = "needs root"]
    fn the_settings_of_a_link_and_of_all_are_those_of_proc() {
        let lab = Lab::new("netconf").unwrap();
        let [near, far] = ["near", "far"].map(|name| lab.namespace(name).unwrap());
        let end = |namespace| Veth {
            namespace,
            name: "out",
            addresses: &[],
        };
        end(&near).connect(end(&far)).unwrap();
        let index = near.run(|| nix::net::if_::if_nametoindex("out")).unwrap();
        let index = Some(index.unwrap());
        let netlink = near.run(Netlink::open).unwrap().unwrap();
        let set = |parameter: &str, value: &str| near.set_parameter(parameter, value).unwrap();
        let settings = |family, index| netlink.net_conf(family, index).unwrap();

        set("ipv4/ip_forward", "0");
        set("ipv4/conf/out/rp_filter", "1");
        set("ipv4/conf/all/rp_filter", "2");
        set("ipv6/conf/all/forwarding", "0");
        let strict = |rp_filter| NetConf {
            rp_filter,
            ..NetConf::default()
        };
        assert_eq!(settings(Family::V4, index), strict(1));
        assert_eq!(settings(Family::V4, None), strict(2));
        assert!(!settings(Family::V6, None).forwarding);
        set("ipv4/conf/out/forwarding", "1");
        set("ipv6/conf/all/forwarding", "1");
        assert!(settings(Family::V4, index).forwarding);
        assert!(!settings(Family::V4, None).forwarding);
        assert!(settings(Family::V6, None).forwarding);

        let none = netlink.net_conf(Family::V4, Some(u32::MAX >> 1));
        assert!(none.is_err(), "{none:?}");
    }

    proptest! {
        #[test]
        fn any_octets_are_an_answer_or_not(rest in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&rest);
            let header = [&[0; 4][..], &RTM_NEWNETCONF.to_ne_bytes(), &[0; 10], &rest].concat();
            prop_assert!(read(&header).is_ok());
        }
    }
}
