//! Our program at both ends of the same connections: the virtual private gateway in
//! the VPC, a customer gateway on the premises.

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use vgw_lab::topology::{HOST_LINK, ON_PREMISES_HOST, VPC_HOST};

use crate::gateway::{Gateway, program};
use crate::stage::{LATER, SOON, Stage};
use crate::tools::run;

/// What both ends are configured with.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// VPN connections of two tunnels each, at most [`MOST`]. Both ends return to tunnel 1, so
    /// that they send by the same one. The first leads from the VPC to the premises, the others between networks of their own: number N from
    /// 10.(N / 256).(N % 256).0/24 to 172.(16 + N / 256).(N % 256).0/24.
    pub connections: u16,
    /// What carries ESP: "udp" or "native".
    pub encapsulation: &'a str,
    /// More lines of every tunnel's table: algorithms, timers.
    pub options: &'a str,
}

/// Most connections of a pair.
pub const MOST: u16 = 512;

/// The lines of a suite that is used in phase 2.
pub const AES_128_GCM: &str = "phase2_encryption_algorithms = [\"AES128-GCM-16\"]\n";

/// The hosts of connection `number`, in the VPC and on the premises. But for the first connection's
/// they are there after [`add_hosts`].
#[must_use]
pub fn hosts(number: u16) -> [IpAddr; 2] {
    let [high, low] = number.to_be_bytes();
    let premises = match number {
        0 => ON_PREMISES_HOST,
        _ => IpAddr::from([172, 16 + high, low, 1]),
    };
    [IpAddr::from([10, high, low, 1]), premises]
}

/// Makes every address of the connections' networks one of the host behind the gateway.
///
/// # Errors
/// When that is done already or the kernel refuses.
pub fn add_hosts(stage: &Stage) -> Result<()> {
    let topology = &stage.topology;
    for (gateway, host, network, address) in [
        (&topology.vpc, &topology.vpc_host, "10.0.0.0/15", VPC_HOST),
        (
            &topology.on_premises,
            &topology.on_premises_host,
            "172.16.0.0/12",
            ON_PREMISES_HOST,
        ),
    ] {
        let address = address.to_string();
        run(host, "ip", &["route", "add", "local", network, "dev", "lo"])?;
        run(gateway, "ip", &["route", "add", network, "via", &address])?;
    }
    // One address of the first network is the gateway's.
    let gateway = [
        "route",
        "add",
        "10.0.0.254",
        "dev",
        HOST_LINK,
        "table",
        "local",
    ];
    run(&topology.vpc_host, "ip", &gateway)?;
    Ok(())
}

/// Both ends, running.
#[derive(Debug)]
pub struct Pair {
    /// In the VPC.
    pub cloud: Gateway,
    /// On the premises.
    pub customer: Gateway,
}

impl Setup<'_> {
    /// Starts both ends with the program under test and waits until every tunnel is up.
    ///
    /// # Errors
    /// When one does not start or a tunnel does not come up.
    pub fn start(&self, stage: &Stage) -> Result<Pair> {
        self.start_as(&program()?, stage)
    }

    /// As [`Self::start`], of this program.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as(&self, program: &Path, stage: &Stage) -> Result<Pair> {
        let cloud = self.start_cloud(program, stage)?;
        self.join(program, stage, cloud)
    }

    /// Starts the VPC's end alone: no tunnel comes up.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_cloud(&self, program: &Path, stage: &Stage) -> Result<Gateway> {
        Gateway::start_as(program, &stage.topology.vpc, &self.cloud_file(stage)?)
    }

    /// Starts the customer's end beside the VPC's and waits until every tunnel is up.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn join(&self, program: &Path, stage: &Stage, cloud: Gateway) -> Result<Pair> {
        let config = self.customer_file(stage)?;
        let customer = Gateway::start_as(program, &stage.topology.on_premises, &config)?;
        let wanted = usize::from(self.connections) * 2;
        let limit = if wanted > 2 { LATER } else { SOON };
        cloud.await_tunnels(wanted, limit)?;
        Ok(Pair { cloud, customer })
    }

    fn cloud_file(&self, stage: &Stage) -> Result<PathBuf> {
        let head = "[gateway]\noutside_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n\
                    [vpc]\ncidrs = [\"10.0.0.0/16\", \"10.1.0.0/16\"]\n\
                    [control]\nsocket = \"@DIR@/control.sock\"\n";
        self.write(stage, "vgw.toml", head)
    }

    fn customer_file(&self, stage: &Stage) -> Result<PathBuf> {
        let head = "[gateway]\nside = \"customer-gateway\"\nasn = 65000\n\
                    outside_addresses = [\"192.0.2.1\"]\n\
                    [on_premises]\ncidrs = [\"192.168.10.0/24\", \"172.16.0.0/12\"]\n\
                    [control]\nsocket = \"@DIR@/customer/control.sock\"\n";
        std::fs::create_dir_all(stage.workspace.directory().join("customer"))?;
        self.write(stage, "customer/vgw.toml", head)
    }

    fn write(&self, stage: &Stage, name: &str, head: &str) -> Result<PathBuf> {
        ensure!(
            (1..=MOST).contains(&self.connections),
            "{} connections, expected 1 to {MOST}",
            self.connections
        );
        let mut text = head.to_owned();
        for number in 0..self.connections {
            self.connection(&mut text, number)?;
        }
        stage.workspace.write(name, &text)
    }

    fn connection(&self, text: &mut String, number: u16) -> Result<()> {
        let [high, low] = number.to_be_bytes();
        let route = match number {
            0 => "192.168.10.0/24".to_owned(),
            _ => format!("172.{}.{low}.0/24", 16 + high),
        };
        write!(
            text,
            "[[customer_gateway]]\nid = \"cgw-{number}\"\nidentity = \"fqdn:site{number}.example\"\n\
             ip_address = \"192.0.2.1\"\n\
             [[vpn_connection]]\nid = \"vpn-{number}\"\ncustomer_gateway = \"cgw-{number}\"\n\
             static_routes = [\"{route}\"]\nvpc_cidrs = [\"10.{high}.{low}.0/24\"]\n\
             failback = true\n"
        )?;
        let networks = (0_u16..).step_by(4).skip(usize::from(number) * 2);
        for ((tunnel, outside), inside) in ["203.0.113.1", "198.51.100.1"]
            .iter()
            .enumerate()
            .zip(networks)
        {
            // 169.254.10.0 and up: no network that AWS reserves is among them.
            let [high, low] = inside.to_be_bytes();
            write!(
                text,
                "[[vpn_connection.tunnel]]\noutside_address = \"{outside}\"\n\
                 identity = \"fqdn:gateway{number}.example\"\n\
                 tunnel_inside_cidr = \"169.254.{}.{low}/30\"\n\
                 pre_shared_key = \"key_{number}_{tunnel}_x\"\nencapsulation = \"{}\"\n{}",
                10 + high,
                self.encapsulation,
                self.options
            )?;
        }
        Ok(())
    }
}
