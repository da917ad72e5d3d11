//! What the daemon around the gateway is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;
use vgw_dataplane::Features;
use vgw_ike::config::Limits;

/// Where `ip netns` keeps the namespaces it names.
const NETNS_DIRECTORY: &str = "/run/netns";

/// Everything in the configuration that is not the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The device that inside packets come from and go to.
    pub tun: Tun,
    /// Namespace that the TUN device and its routes are put into; None: ours.
    pub network_namespace: Option<NetworkNamespace>,
    /// The threads that carry packets, and what they may ask of the kernel.
    pub data_plane: DataPlane,
    /// What is logged and how.
    pub log: Log,
    /// Where Prometheus may ask; None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// The socket of `vgw status` and its siblings.
    pub control: Control,
    /// Where the keys of SAs are written for Wireshark.
    pub key_log: KeyLog,
    /// What peers that have not authenticated may cost.
    pub limits: Limits,
    /// Where what outlives the daemon is kept; None: where systemd says.
    pub state_directory: Option<PathBuf>,
}

/// The TUN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tun {
    /// Its name in its namespace, at most 15 octets.
    pub name: String,
    /// Largest inside packet, octets.
    pub mtu: u16,
}

/// The threads that carry packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlane {
    /// Threads for each direction; None: one for each core.
    pub workers: Option<usize>,
    /// What they may ask of the kernel.
    pub features: Features,
}

/// A network namespace as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNamespace(String);

impl NetworkNamespace {
    /// A name that `ip netns` knows or an absolute path, as it was checked by
    /// the configuration.
    pub(super) fn new(name_or_path: String) -> Self {
        Self(name_or_path)
    }

    /// The file that stands for the namespace.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        // An absolute path replaces the directory it is joined to.
        Path::new(NETNS_DIRECTORY).join(&self.0)
    }
}

impl std::fmt::Display for NetworkNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is logged and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Least severity that is logged.
    pub level: LevelFilter,
    /// How it is written.
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// To the journal when systemd started us, else as text.
    #[default]
    Auto,
    /// Lines for people on standard error.
    Text,
    /// To the journal, with fields.
    Journal,
}

/// The control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its path.
    pub socket: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

/// Files that SA keys are appended to; both off unless named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLog {
    /// Wireshark's `ikev2_decryption_table`.
    pub ike: Option<PathBuf>,
    /// Wireshark's `esp_sa`.
    pub esp: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::NetworkNamespace;
    use std::path::Path;

    #[test]
    fn a_named_namespace_is_looked_for_where_ip_netns_keeps_it() {
        let named = NetworkNamespace::new("vpc".to_owned());
        assert_eq!(named.path(), Path::new("/run/netns/vpc"));
        let given = NetworkNamespace::new("/proc/7/ns/net".to_owned());
        assert_eq!(given.path(), Path::new("/proc/7/ns/net"));
    }
}
