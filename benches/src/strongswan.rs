//! Two strongSwan peers with their user-space ESP, AES-128-GCM in UDP.

use std::net::IpAddr;

use anyhow::Result;
use ipnet::IpNet;
use vgw_harness::stage::Stage;
use vgw_harness::strongswan::StrongSwan;
use vgw_lab::Namespace;
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, on_premises_cidr, vpc_cidr};

/// What carries its packets.
pub const PROGRAM: &str = "/usr/lib/ipsec/charon";

/// One end: where it is, its outside address, its network.
struct End<'a> {
    name: &'a str,
    namespace: &'a Namespace,
    outside: IpAddr,
    network: IpNet,
}

/// Starts both and brings their tunnel up.
pub fn start(stage: &Stage) -> Result<[StrongSwan; 2]> {
    let [outside, _] = GATEWAY_OUTSIDE;
    let cloud = End {
        name: "cloud",
        namespace: &stage.topology.vpc,
        outside,
        network: vpc_cidr(),
    };
    let customer = End {
        name: "customer",
        namespace: &stage.topology.on_premises,
        outside: CUSTOMER_OUTSIDE,
        network: on_premises_cidr(),
    };
    let waiting = cloud.start(&customer, stage)?;
    let initiating = customer.start(&cloud, stage)?;
    initiating.initiate("net")?;
    Ok([waiting, initiating])
}

impl End<'_> {
    fn start(&self, peer: &End<'_>, stage: &Stage) -> Result<StrongSwan> {
        let name = format!("{}.swanctl.conf", self.name);
        let conf = stage.workspace.write(&name, &self.configuration(peer))?;
        let directory = stage.workspace.directory().join(self.name);
        StrongSwan::start(self.namespace, &directory, &conf, peer.network, "")
    }

    fn configuration(&self, peer: &End<'_>) -> String {
        format!(
            "connections {{
    peer {{
        version = 2
        local_addrs = {ours}
        remote_addrs = {theirs}
        proposals = aes128gcm16-prfsha256-ecp256
        local {{
            auth = psk
            id = {ours}
        }}
        remote {{
            auth = psk
            id = {theirs}
        }}
        children {{
            net {{
                local_ts = {our_network}
                remote_ts = {their_network}
                esp_proposals = aes128gcm16-ecp256
            }}
        }}
    }}
}}
secrets {{
    ike-peer {{
        id-1 = {ours}
        id-2 = {theirs}
        secret = \"a_pair_to_be_measured\"
    }}
}}
",
            ours = self.outside,
            theirs = peer.outside,
            our_network = self.network,
            their_network = peer.network,
        )
    }
}
