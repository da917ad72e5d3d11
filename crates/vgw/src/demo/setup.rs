//! The configuration files of both ends.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE};

pub(super) const VPC_CIDR: &str = "10.0.0.0/16";
pub(super) const ON_PREMISES_CIDR: &str = "192.168.10.0/24";

/// What one end is started with.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
}

/// Those of both.
#[derive(Debug)]
pub(super) struct Both {
    pub(super) cloud: Files,
    pub(super) customer: Files,
}

/// Writes both configurations, with pre-shared keys of their own, to a directory
/// that nobody else may read.
pub(super) fn write(directory: &Path) -> Result<Both> {
    let connection = connection([psk()?, psk()?]);
    let [a, b] = GATEWAY_OUTSIDE;
    let cloud = format!(
        "[gateway]\nside = \"virtual-private-gateway\"\noutside_addresses = [\"{a}\", \"{b}\"]\n\n\
         [vpc]\ncidrs = [\"{VPC_CIDR}\"]\n"
    );
    let customer = format!(
        "[gateway]\nside = \"customer-gateway\"\n\n\
         [on_premises]\ncidrs = [\"{ON_PREMISES_CIDR}\"]\n"
    );
    Ok(Both {
        cloud: write_end(directory, "vpc", &cloud, &connection)?,
        customer: write_end(directory, "on-premises", &customer, &connection)?,
    })
}

/// The connection, which stands alike in both files.
fn connection(keys: [String; 2]) -> String {
    let [key_1, key_2] = keys;
    let [outside_1, outside_2] = GATEWAY_OUTSIDE;
    let tunnel = |outside: std::net::IpAddr, inside: &str, key: &str| {
        format!(
            "\n[[vpn_connection.tunnel]]\noutside_address = \"{outside}\"\n\
             tunnel_inside_cidr = \"{inside}\"\npre_shared_key = \"{key}\"\n\
             dpd_timeout_action = \"restart\"\n\
             encapsulation = \"udp\"\n"
        )
    };
    format!(
        "\n[[customer_gateway]]\nid = \"cgw-office\"\nip_address = \"{CUSTOMER_OUTSIDE}\"\n\n\
         [[vpn_connection]]\nid = \"vpn-office\"\ncustomer_gateway = \"cgw-office\"\n\
         static_routes = [\"{ON_PREMISES_CIDR}\"]\nvpc_cidrs = [\"{VPC_CIDR}\"]\n{}{}",
        tunnel(outside_1, "169.254.10.0/30", &key_1),
        tunnel(outside_2, "169.254.10.4/30", &key_2),
    )
}

fn write_end(directory: &Path, name: &str, own: &str, connection: &str) -> Result<Files> {
    let files = Files {
        config: directory.join(format!("{name}.toml")),
        socket: directory.join(format!("{name}.sock")),
        log: directory.join(format!("{name}.log")),
    };
    let control = format!(
        "\n[log]\nformat = \"text\"\n\n[control]\nsocket = \"{}\"\n",
        files.socket.display()
    );
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&files.config)
        .and_then(|mut file| {
            for part in [own, control.as_str(), connection] {
                file.write_all(part.as_bytes())?;
            }
            Ok(())
        })
        .with_context(|| format!("writing {}", files.config.display()))?;
    Ok(files)
}

/// A pre-shared key of 32 random letters.
fn psk() -> Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).context("drawing a pre-shared key")?;
    Ok(random
        .iter()
        .map(|octet| char::from(b'a'.saturating_add(octet % 26)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_valid_and_hold_the_same_connection() {
        let directory = tempfile::tempdir().unwrap();
        let both = write(directory.path()).unwrap();
        let cloud = vgwd::config::load(&both.cloud.config).unwrap().gateway;
        let customer = vgwd::config::load(&both.customer.config).unwrap().gateway;
        assert_ne!(cloud.side, customer.side);
        assert_eq!(cloud.connections.len(), 1);
        let outside = |gateway: &vgw_gateway::domain::Gateway| {
            gateway.connections[0]
                .tunnels
                .clone()
                .map(|tunnel| tunnel.outside_address)
        };
        assert_eq!(outside(&cloud), GATEWAY_OUTSIDE);
        assert_eq!(outside(&customer), GATEWAY_OUTSIDE);
    }
}
