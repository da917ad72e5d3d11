//! A strongSwan peer in a namespace, with its user-space ESP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde_json::Value;
use vgw_lab::{Namespace, PrivateRun, Process, wait_until};

use crate::vici;

/// The device of charon's user-space ESP.
const TUN: &str = "ipsec0";

const CHARON: &str = "/usr/lib/ipsec/charon";

/// How long charon may take to answer its control socket.
const START: Duration = Duration::from_secs(10);

/// charon asks for UDP encapsulation in its user-space ESP, whose packets must not
/// enter its own routing table: the mark tells them apart.
const STRONGSWAN_CONF: &str = r#"
charon {
    load = random nonce pem openssl curve25519 aes sha1 sha2 hmac gcm gmp kdf kernel-libipsec kernel-netlink socket-default vici counters
    install_virtual_ip = no
    # Two tunnels lead to the same networks; charon would take the one route for both
    # away with the first tunnel.
    install_routes = no
    plugins {
        kernel-netlink { fwmark = !0x42 }
        socket-default { fwmark = 0x42 }
        vici { socket = unix://@DIR@/charon.vici }
    }
    filelog {
        stderr { default = 1
                 ike = 2 }
    }
    include @DIR@/extra.conf
}
"#;

/// A running charon.
#[derive(Debug)]
pub struct StrongSwan {
    namespace: Namespace,
    directory: PathBuf,
    process: Process,
}

/// One CHILD SA as the peer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSa {
    /// The connection's name.
    pub connection: String,
    /// The child's name in the configuration.
    pub name: String,
    /// Number of its IKE SA, new with every IKE SA but kept by a rekeying.
    pub ike_id: String,
    /// The IKE SA's initiator SPI, new with every rekeying.
    pub ike_spi: String,
    /// `INSTALLED` and so on.
    pub state: String,
    /// The SPI of what it receives.
    pub spi_in: String,
    /// `AES_GCM_16` and so on.
    pub encryption: String,
    /// Integrity algorithm; empty for a combined one.
    pub integrity: String,
    /// Packets received.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}

impl StrongSwan {
    /// Starts charon in `namespace` with its files in `directory`, and loads the
    /// connections and secrets of `swanctl_conf`. Packets to `far_side` are led to its
    /// TUN device. `extra` is added to the section `charon` of its configuration.
    ///
    /// # Errors
    /// When charon does not start or refuses the file.
    pub fn start(
        namespace: &Namespace,
        directory: &Path,
        swanctl_conf: &Path,
        far_side: IpNet,
        extra: &str,
    ) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let settings = directory.join("strongswan.conf");
        let text = STRONGSWAN_CONF.replace("@DIR@", &directory.to_string_lossy());
        std::fs::write(&settings, text)?;
        std::fs::write(directory.join("extra.conf"), extra)?;
        let mut command = namespace.command(CHARON);
        command.env("STRONGSWAN_CONF", &settings).private_run();
        let process = Process::start("charon", command, &directory.join("charon.log"))?;
        let mut peer = Self {
            namespace: namespace.clone(),
            directory: directory.to_owned(),
            process,
        };
        wait_until("charon's control socket", START, || {
            peer.process.check()?;
            Ok(peer.swanctl(&["--version", "--daemon"]).ok())
        })?;
        peer.lead(far_side)?;
        peer.load(swanctl_conf)?;
        Ok(peer)
    }

    /// charon's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Leads packets to another prefix of the far side to charon's TUN device. Without
    /// the device, as when charon has ended, they go nowhere.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lead(&self, far_side: IpNet) -> Result<()> {
        self.namespace.guard(far_side)?;
        self.namespace.add_link_route(far_side, TUN)
    }

    /// Loads a configuration in place of the one before.
    ///
    /// # Errors
    /// When charon refuses it.
    pub fn load(&self, swanctl_conf: &Path) -> Result<()> {
        let file = swanctl_conf.to_str().context("a path that is not UTF-8")?;
        self.swanctl(&["--load-all", "--clear", "--noprompt", "--file", file])?;
        Ok(())
    }

    /// Ends charon, which tells its peers.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(self) -> Result<()> {
        self.process.stop()?;
        Ok(())
    }

    /// Kills charon; its peers are not told.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn crash(self) -> Result<()> {
        self.process.kill()
    }

    /// Initiates a child and, where there is none, its IKE SA.
    ///
    /// # Errors
    /// When it is not established, with what `swanctl` says about it.
    pub fn initiate(&self, child: &str) -> Result<()> {
        self.swanctl(&["--initiate", "--timeout", "10", "--child", child])?;
        Ok(())
    }

    /// Rekeys a CHILD SA by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey_child(&self, child: &str) -> Result<()> {
        self.swanctl(&["--rekey", "--child", child])?;
        Ok(())
    }

    /// Rekeys an IKE SA by its connection's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey_ike(&self, connection: &str) -> Result<()> {
        self.swanctl(&["--rekey", "--ike", connection])?;
        Ok(())
    }

    /// Deletes an IKE SA by its connection's name.
    ///
    /// # Errors
    /// When there is none.
    pub fn terminate(&self, connection: &str) -> Result<()> {
        self.swanctl(&["--terminate", "--timeout", "10", "--ike", connection])?;
        Ok(())
    }

    /// Its CHILD SAs.
    ///
    /// # Errors
    /// When charon does not answer.
    pub fn children(&self) -> Result<Vec<ChildSa>> {
        let text = self.swanctl(&["--list-sas", "--raw"])?;
        let mut children = Vec::new();
        for event in vici::events(&text)? {
            for (connection, ike) in &event {
                for child in ike["child-sas"]
                    .as_object()
                    .into_iter()
                    .flat_map(|c| c.values())
                {
                    children.push(child_sa(connection, ike, child));
                }
            }
        }
        Ok(children)
    }

    /// Its installed CHILD SAs of this name.
    ///
    /// # Errors
    /// When charon does not answer.
    pub fn installed(&self, child: &str) -> Result<Vec<ChildSa>> {
        let mut children = self.children()?;
        children.retain(|sa| sa.name == child && sa.state == "INSTALLED");
        Ok(children)
    }

    /// Runs `swanctl` with these arguments; gives what it prints.
    ///
    /// # Errors
    /// When it fails, with what it prints.
    pub fn swanctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.namespace.command("swanctl");
        let uri = format!("unix://{}/charon.vici", self.directory.display());
        command
            .args(arguments)
            .args(["--uri", &uri])
            .env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"));
        let output = command.output().context("starting swanctl")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("swanctl {arguments:?}: {}\n{text}{errors}", output.status);
        }
        Ok(text)
    }
}

fn child_sa(connection: &str, ike: &Value, child: &Value) -> ChildSa {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| text(value).parse().unwrap_or_default();
    ChildSa {
        connection: connection.to_owned(),
        name: text(&child["name"]),
        ike_id: text(&ike["uniqueid"]),
        ike_spi: text(&ike["initiator-spi"]),
        state: text(&child["state"]),
        spi_in: text(&child["spi-in"]),
        encryption: text(&child["encr-alg"]),
        integrity: text(&child["integ-alg"]),
        packets_in: number(&child["packets-in"]),
        packets_out: number(&child["packets-out"]),
    }
}
