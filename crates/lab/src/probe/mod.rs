//! What a tunnel does for its users, measured: echoes, pings, bulk data, many slow
//! flows, and datagrams at a rate.

mod bulk;
mod echo;
mod many;
mod ping;
mod stream;

pub use bulk::{Bulk, Throughput};
pub use echo::{EchoFlow, FlowReport};
pub use many::{ManyFlows, ManyReport};
pub use ping::ping;
pub use stream::{Arrivals, Patience, Stream};

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use crate::{Lab, Namespace, Veth};

    /// Until a reply that will come, however busy the machine is.
    pub(crate) const SURELY: Duration = Duration::from_secs(10);
    /// Long enough to believe that no reply comes.
    pub(crate) const NEVER: Duration = Duration::from_millis(200);

    /// Two hosts, 192.0.2.1 and 198.51.100.1, and a router between them.
    pub(crate) fn line(lab: &Lab) -> [Namespace; 3] {
        let [left, router, right] = ["left", "router", "right"].map(|r| lab.namespace(r).unwrap());
        let ends = [(&left, "192.0.2", "left"), (&right, "198.51.100", "right")];
        for (host, network, name) in ends {
            let address = |n| [format!("{network}.{n}/24").parse().unwrap()];
            let host_end = Veth {
                namespace: host,
                name: "wan",
                addresses: &address(1),
            };
            let router_end = Veth {
                namespace: &router,
                name,
                addresses: &address(254),
            };
            host_end.connect(router_end).unwrap();
            host.add_route(
                "0.0.0.0/0".parse().unwrap(),
                format!("{network}.254").parse().unwrap(),
            )
            .unwrap();
        }
        router.forward().unwrap();
        [left, router, right]
    }
}
