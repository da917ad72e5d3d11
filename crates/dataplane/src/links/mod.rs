//! What the kernel says of links, addresses and routes, by [`netlink`].

pub(crate) mod foreign_link;
pub(crate) mod netconf;
pub(crate) mod netlink;
pub(crate) mod outside_link;
