//! Two user-space WireGuards, configured over their control sockets.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use vgw_harness::stage::{SOON, Stage};
use vgw_harness::tools::run;
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, on_premises_cidr, vpc_cidr};
use vgw_lab::{Namespace, PrivateRun, Process, wait_until};
use x25519_dalek::{PublicKey, StaticSecret};

const DEVICE: &str = "wg0";
const PORT: u16 = 51820;
/// What `wg-quick` gives a device over a path of 1,500.
const MTU: &str = "1420";
/// How long an answer to a request may take.
const ANSWER: Duration = Duration::from_secs(10);

/// One end: where it is, its outside address, its network, its key.
struct End<'a> {
    namespace: &'a Namespace,
    outside: IpAddr,
    network: IpNet,
    secret: StaticSecret,
    log: &'a str,
}

/// Starts both and waits until they let a ping through.
pub fn start(program: &Path, stage: &Stage) -> Result<[Process; 2]> {
    let [outside, _] = GATEWAY_OUTSIDE;
    let cloud = End {
        namespace: &stage.topology.vpc,
        outside,
        network: vpc_cidr(),
        secret: StaticSecret::from([1; 32]),
        log: "cloud.log",
    };
    let customer = End {
        namespace: &stage.topology.on_premises,
        outside: CUSTOMER_OUTSIDE,
        network: on_premises_cidr(),
        secret: StaticSecret::from([2; 32]),
        log: "customer.log",
    };
    let directory = stage.workspace.directory();
    let ends = [
        cloud.start(&customer, program, directory)?,
        customer.start(&cloud, program, directory)?,
    ];
    stage.ping_both_ways()?;
    Ok(ends)
}

impl End<'_> {
    fn start(&self, peer: &End<'_>, program: &Path, directory: &Path) -> Result<Process> {
        let mut command = self.namespace.command(program);
        // Both would give up root for the user who called sudo.
        command
            .args(["--foreground", "--disable-drop-privileges", DEVICE])
            .private_run();
        let mut process = Process::start("wireguard", command, &directory.join(self.log))?;
        let socket = control_socket(&process);
        let mut control = wait_until("the control socket", SOON, || {
            process.check()?;
            Ok(UnixStream::connect(&socket).ok())
        })
        .with_context(|| process.last_words(5))?;
        let ip = |arguments: &[&str]| run(self.namespace, "ip", arguments);
        ip(&["link", "set", DEVICE, "mtu", MTU])?;
        set(&mut control, &self.settings(peer)?)?;
        self.namespace.link_up(DEVICE)?;
        self.namespace.add_link_route(peer.network, DEVICE)?;
        Ok(process)
    }

    /// The request that configures it: <https://www.wireguard.com/xplatform/>.
    fn settings(&self, peer: &End<'_>) -> Result<String> {
        let mut text = String::from("set=1\n");
        writeln!(text, "private_key={}", hex(self.secret.as_bytes())?)?;
        writeln!(text, "listen_port={PORT}")?;
        writeln!(
            text,
            "public_key={}",
            hex(PublicKey::from(&peer.secret).as_bytes())?
        )?;
        writeln!(text, "endpoint={}", SocketAddr::new(peer.outside, PORT))?;
        writeln!(text, "allowed_ip={}", peer.network)?;
        text.push('\n');
        Ok(text)
    }
}

/// In the `/run` of its own that the process sees.
fn control_socket(process: &Process) -> PathBuf {
    let root = format!("/proc/{}/root", process.id());
    Path::new(&root).join(format!("run/wireguard/{DEVICE}.sock"))
}

fn set(control: &mut UnixStream, request: &str) -> Result<()> {
    control.set_read_timeout(Some(ANSWER))?;
    control.write_all(request.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&*control)
        .read_line(&mut answer)
        .context("no answer at the control socket")?;
    // A half-closed connection tells those that wait for another request.
    let _ = control.shutdown(Shutdown::Both);
    ensure!(
        answer.trim() == "errno=0",
        "the settings were refused with {answer:?}, expected errno=0"
    );
    Ok(())
}

fn hex(octets: &[u8]) -> Result<String> {
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        write!(text, "{octet:02x}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_in_lower_case_hexadecimal() {
        assert_eq!(hex(&[0, 0xab, 0x10]).unwrap(), "00ab10");
    }
}
