//! Which end of the connections this daemon is, and what the options are called there.

/// Which end of the connections this daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The cloud side: a virtual private gateway.
    VirtualPrivateGateway,
    /// The on-premises side: a customer gateway. The same connection stands in
    /// both files; what is "ours" in it is swapped.
    CustomerGateway,
}

/// What the options of the configuration are called that say which networks there are.
#[derive(Debug, Clone, Copy)]
pub struct NetworkOptions {
    /// The networks behind us.
    pub our_networks: &'static str,
    /// Those behind the peer.
    pub their_networks: &'static str,
    /// Our side of the traffic selectors.
    pub our_selectors: SelectorOptions,
    /// The peer's side of them.
    pub their_selectors: SelectorOptions,
}

/// What the options are called that set one side of the traffic selectors.
#[derive(Debug, Clone, Copy)]
pub struct SelectorOptions {
    ipv4: &'static str,
    ipv6: &'static str,
}

impl SelectorOptions {
    const LOCAL: Self = Self {
        ipv4: "local_ipv4_network_cidr",
        ipv6: "local_ipv6_network_cidr",
    };
    const REMOTE: Self = Self {
        ipv4: "remote_ipv4_network_cidr",
        ipv6: "remote_ipv6_network_cidr",
    };

    /// The one for addresses of this family.
    #[must_use]
    pub const fn of(self, v6: bool) -> &'static str {
        if v6 { self.ipv6 } else { self.ipv4 }
    }
}

impl Side {
    /// What the options are called at this side.
    #[must_use]
    pub const fn network_options(self) -> NetworkOptions {
        match self {
            Self::VirtualPrivateGateway => NetworkOptions {
                our_networks: "vpc.cidrs",
                their_networks: "static_routes",
                our_selectors: SelectorOptions::REMOTE,
                their_selectors: SelectorOptions::LOCAL,
            },
            Self::CustomerGateway => NetworkOptions {
                our_networks: "on_premises.cidrs",
                their_networks: "vpc_cidrs",
                our_selectors: SelectorOptions::LOCAL,
                their_selectors: SelectorOptions::REMOTE,
            },
        }
    }
}
