//! The real daemon at both ends of a connection, as processes in network
//! namespaces; needs root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use vgw_admin::client::ask;
use vgw_admin::wire::{RekeyTarget, Reply, Request, Status};
use vgw_ike::wire::{
    ExchangeType, Header, KeyExchange, Payload, Proposal, ProtocolId, Transform, TransformType,
    encode_cleartext,
};
use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, ON_PREMISES_HOST, Topology, router};
use vgw_lab::{Lab, Namespace, Process, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const TUNNELS: &str = r#"
    [[vpn_connection.tunnel]]
    outside_address = "OUTSIDE1"
    tunnel_inside_cidr = "169.254.10.0/30"
    pre_shared_key = "correct.horse.battery"
    [[vpn_connection.tunnel]]
    outside_address = "OUTSIDE2"
    tunnel_inside_cidr = "169.254.10.4/30"
    pre_shared_key = "staple.correct.horse"
"#;

/// One end: its daemon, and where it hears what the service manager would.
struct End {
    process: Process,
    config: PathBuf,
    socket: PathBuf,
    notified: UnixDatagram,
}

impl End {
    fn start(name: &str, namespace: &Namespace, folder: &Path, own: &str, routes: &str) -> Self {
        Self::start_as(name, namespace, folder, |socket| {
            configuration(own, socket, routes)
        })
    }

    /// With the configuration that is made for this control socket.
    fn start_as(
        name: &str,
        namespace: &Namespace,
        folder: &Path,
        text: impl FnOnce(&Path) -> String,
    ) -> Self {
        let config = folder.join(format!("{name}.toml"));
        let socket = folder.join(format!("{name}.sock"));
        let notify = folder.join(format!("{name}.notify"));
        let notified = UnixDatagram::bind(&notify).unwrap();
        notified.set_read_timeout(Some(LIMIT)).unwrap();
        write_privately(&config, &text(&socket));
        let mut command = namespace.command(env!("CARGO_BIN_EXE_vgwd"));
        command
            .arg("--config")
            .arg(&config)
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "200000");
        let log = folder.join(format!("{name}.log"));
        Self {
            process: Process::start(name, command, &log).unwrap(),
            config,
            socket,
            notified,
        }
    }

    /// The next thing the service manager is told that is not the watchdog's.
    fn heard(&self) -> String {
        loop {
            let said = self.heard_anything();
            if said != "WATCHDOG=1\n" {
                return said;
            }
        }
    }

    fn heard_anything(&self) -> String {
        let mut buffer = [0; 512];
        let len = self.notified.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(buffer.get(..len).unwrap()).into_owned()
    }

    fn status(&self) -> Status {
        match ask(&self.socket, &Request::Status).unwrap() {
            Reply::Status { status } => *status,
            other => panic!("{other:?}"),
        }
    }

    /// What the kernel sends to the TUN link alone is nobody's loss.
    fn await_no_drops_but_the_links_own(&self) {
        let drops = wait_until("the kernel's reports", LIMIT, || {
            let mut drops = self.status().drops;
            let own = drops.remove("link_local").unwrap();
            Ok((own > 0).then_some(drops))
        })
        .unwrap();
        assert!(drops.values().all(|packets| *packets == 0), "{drops:?}");
    }

    fn await_tunnels(&self, up: usize) {
        wait_until("tunnels", LIMIT, || {
            let status = self.status();
            let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
            Ok((tunnels.filter(|t| t.up).count() == up).then_some(()))
        })
        .unwrap();
    }
}

fn configuration(own: &str, socket: &Path, routes: &str) -> String {
    let [one, two] = GATEWAY_OUTSIDE.map(|address| address.to_string());
    let tunnels = TUNNELS.replace("OUTSIDE1", &one).replace("OUTSIDE2", &two);
    let socket = socket.display();
    format!(
        r#"
        {own}
        [control]
        socket = "{socket}"
        [[customer_gateway]]
        id = "cgw-office"
        ip_address = "{CUSTOMER_OUTSIDE}"
        [[vpn_connection]]
        id = "vpn-office"
        customer_gateway = "cgw-office"
        static_routes = ["192.168.10.0/24"]
        {routes}
        {tunnels}
        "#
    )
}

fn write_privately(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = file.open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

fn cloud() -> String {
    let [one, two] = GATEWAY_OUTSIDE;
    format!(
        "[gateway]\noutside_addresses = [\"{one}\", \"{two}\"]\n[vpc]\ncidrs = [\"10.0.0.0/16\"]"
    )
}

const PREMISES: &str = "[gateway]\nside = \"customer-gateway\"\n\
     [on_premises]\ncidrs = [\"192.168.10.0/24\"]";

/// Starts the customer gateway of [`cloud`].
fn start_premises(topology: &Topology, folder: &Path) -> End {
    let vpc_cidrs = "vpc_cidrs = [\"10.0.0.0/16\"]";
    End::start(
        "premises",
        &topology.on_premises,
        folder,
        PREMISES,
        vpc_cidrs,
    )
}

/// What ip(8) says in a namespace.
fn ip(namespace: &Namespace, arguments: &[&str]) -> String {
    let output = namespace.command("ip").args(arguments).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// The routes that the daemon made in its namespace.
fn routes(namespace: &Namespace) -> String {
    ip(namespace, &["route", "show", "proto", "203"])
}

/// Every thread has dropped its privileges; one may change routes.
fn see_privileges(process: u32) {
    const NONE: &str = "0000000000000000";
    const NET_ADMIN: &str = "0000000000001000";
    let mut names = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let name = status.lines().next().unwrap().trim_start_matches("Name:\t");
        let may = if name == "vgw-kernel" {
            NET_ADMIN
        } else {
            NONE
        };
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert!(status.contains(&format!("{set}:\t{may}\n")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        assert!(status.contains("Seccomp:\t2\n"), "{status}");
        names.push(name.to_owned());
    }
    for name in ["vgw-kernel", "vgw-in-0", "vgw-out-0"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn two_daemons_bring_both_tunnels_up_obey_and_end_in_good_order() {
    let lab = Lab::new("daemon").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A router reports the multicast groups of routers on every link.
    let vpc = &topology.vpc;
    vpc.set_parameter("ipv6/conf/all/forwarding", "1").unwrap();
    let cloud_end = End::start("cloud", vpc, folder.path(), &cloud(), "");
    let ready = cloud_end.heard();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    assert_eq!(cloud_end.heard_anything(), "WATCHDOG=1\n");
    cloud_end.await_no_drops_but_the_links_own();
    let premises = start_premises(&topology, folder.path());
    cloud_end.await_tunnels(2);
    premises.await_tunnels(2);

    see_privileges(cloud_end.process.id());
    let mode = std::fs::metadata(&cloud_end.socket).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o660);

    // The kernel would cut what a host behind the gateway sends joined, up to 64 KiB,
    // for a link that takes less.
    let link = ip(&topology.vpc, &["-d", "link", "show", "dev", "vgw0"]);
    assert!(link.contains("gso_max_size 65536 "), "{link}");

    let accelerated = cloud_end.status().data_plane.accelerated;
    assert_eq!(accelerated, vgw_crypto::accelerated());

    // A reload adds a route and touches no SA.
    let before = cloud_end.status();
    let spis = |status: &Status| -> Vec<String> {
        let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        let children = tunnels.flat_map(|t| &t.children);
        children.map(|child| child.spi_in.clone()).collect()
    };
    let text = configuration(&cloud(), &cloud_end.socket, "");
    let wider = text.replace(
        "\"192.168.10.0/24\"",
        "\"192.168.10.0/24\", \"192.168.11.0/24\"",
    );
    write_privately(&cloud_end.config, &wider);
    let reply = ask(&cloud_end.socket, &Request::Reload).unwrap();
    let lines = vec!["vpn-office: changed static_routes".to_owned()];
    assert_eq!(reply, Reply::Done { lines });
    assert!(cloud_end.heard().starts_with("RELOADING=1\n"));
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    assert_eq!(spis(&before), spis(&cloud_end.status()));
    wait_until("the new route", LIMIT, || {
        Ok(routes(&topology.vpc)
            .contains("192.168.11.0/24")
            .then_some(()))
    })
    .unwrap();

    // Nor does one that changes the MTU, and tells that the TUN device's is larger;
    // threads wait for the next start.
    let narrower = wider.replace("[gateway]", "[gateway]\noutside_mtu = 1400");
    let narrower = format!("{narrower}\n[data_plane]\nworkers = 64\n");
    write_privately(&cloud_end.config, &narrower);
    let reply = ask(&cloud_end.socket, &Request::Reload).unwrap();
    let Reply::Done { lines } = reply else {
        panic!("{reply:?}");
    };
    let changes = [
        "tun: changed, takes effect at the next start: it is made with a privilege that is \
         given up after the start",
        "data_plane: changed, takes effect at the next start: its threads and queues are made \
         once",
        "gateway: changed outside_mtu",
    ];
    assert_eq!(lines, changes);
    assert!(cloud_end.heard().starts_with("RELOADING=1\n"));
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    let after = cloud_end.status();
    assert_eq!(spis(&before), spis(&after));
    let mtus = |status: &Status| -> Vec<usize> {
        let tunnels = status.connections.iter().flat_map(|c| &c.tunnels);
        tunnels.map(|tunnel| tunnel.mtu.unwrap()).collect()
    };
    let less: Vec<usize> = mtus(&before).into_iter().map(|mtu| mtu - 100).collect();
    assert_eq!(mtus(&after), less);
    let log = std::fs::read_to_string(folder.path().join("cloud.log")).unwrap();
    let told = log
        .matches("tun.mtu is larger than the tunnel's MTU")
        .count();
    assert_eq!(told, 2, "{log}");

    // A file that is wrong is refused as a whole.
    write_privately(&cloud_end.config, &format!("{wider}\nnonsense = 1\n"));
    let reply = ask(&cloud_end.socket, &Request::Reload).unwrap();
    assert!(matches!(&reply, Reply::Failed { lines } if lines.concat().contains("nonsense")));
    cloud_end.await_tunnels(2);

    // The peer is told that the SAs end, and nothing of ours stays but what
    // keeps the prefixes from leaving in clear.
    cloud_end.process.signal(Signal::SIGTERM).unwrap();
    loop {
        if cloud_end.heard().contains("STOPPING=1") {
            break;
        }
    }
    let End {
        process, socket, ..
    } = cloud_end;
    assert!(process.stop().unwrap().success());
    assert!(!socket.exists());
    premises.await_tunnels(0);
    let left = routes(&topology.vpc);
    let guards = [
        "unreachable 169.254.10.0/30 ",
        "unreachable 169.254.10.4/30 ",
        "unreachable 192.168.10.0/24 ",
        "unreachable 192.168.11.0/24 ",
    ];
    assert_eq!(left.lines().count(), guards.len(), "{left}");
    for (line, guard) in left.lines().zip(guards) {
        assert!(line.starts_with(guard), "{left}");
    }
}

/// The problems that name an outside address.
fn problems_of(end: &End, address: IpAddr) -> Vec<String> {
    problems_with(end, &format!("outside address {address} "))
}

/// The problems that have these words.
fn problems_with(end: &End, words: &str) -> Vec<String> {
    let problems = end.status().problems.into_iter();
    problems.filter(|line| line.contains(words)).collect()
}

#[test]
#[ignore = "needs root"]
fn what_the_machine_has_wrong_outside_is_told_until_it_is_mended() {
    let lab = Lab::new("wrong").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let vpc = &topology.vpc;
    let cloud_end = End::start("cloud", vpc, folder.path(), &cloud(), "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    let _premises = start_premises(&topology, folder.path());
    cloud_end.await_tunnels(2);
    assert_eq!(problems_with(&cloud_end, ""), [""; 0]);
    let await_problem = |words: &str, told: bool| {
        wait_until(words, LIMIT, || {
            Ok((problems_with(&cloud_end, words).is_empty() != told).then_some(()))
        })
        .unwrap();
    };

    let second = GATEWAY_OUTSIDE[1].to_string();
    let by_its_own = |change| ip(vpc, &["rule", change, "from", &second, "table", "102"]);
    let one_line = format!("packets from {second} to {CUSTOMER_OUTSIDE} leave by line-a");
    by_its_own("delete");
    await_problem(&one_line, true);
    by_its_own("add");
    await_problem(&one_line, false);

    let nft = |arguments: &str| {
        let status = vpc.command("nft").args(arguments.split(' ')).status();
        assert!(status.unwrap().success(), "{arguments}");
    };
    nft("add table inet shut");
    nft("add chain inet shut out { type filter hook output priority 0 ; }");
    nft("add rule inet shut out udp sport { 500, 4500 } drop");
    nft("add rule inet shut out meta l4proto esp drop");
    let tunnel = "vpn-office/1".to_owned();
    let what = RekeyTarget::Child;
    ask(&cloud_end.socket, &Request::Rekey { tunnel, what }).unwrap();
    await_problem("refuses to send IKE messages", true);
    assert!(!reaches_premises(&topology.vpc_host));
    await_problem("refuses to send ESP packets", true);
    nft("delete table inet shut");
    await_problem("refuses to send IKE messages", false);
}

#[test]
#[ignore = "needs root"]
fn an_outside_address_may_come_late_go_and_come_back_and_the_other_one_s_tunnel_stays() {
    let lab = Lab::new("late").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [first, late] = GATEWAY_OUTSIDE;
    let (vpc, address) = (&topology.vpc, format!("{late}/24"));
    let remove = || ip(vpc, &["address", "del", &address, "dev", "line-b"]);
    let add = || {
        ip(vpc, &["address", "add", &address, "dev", "line-b"]);
        // The routes of a link go with its last address.
        let via = router(late).to_string();
        let way_out = ["default", "via", &via, "dev", "line-b", "table", "102"];
        ip(vpc, &[&["route", "replace"], &way_out[..]].concat());
    };
    remove();
    let cloud_end = End::start("cloud", vpc, folder.path(), &cloud(), "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    let premises = start_premises(&topology, folder.path());
    cloud_end.await_tunnels(1);
    let await_problem = |missing: bool| {
        wait_until("the missing address in status, or not", LIMIT, || {
            Ok((problems_of(&cloud_end, late).is_empty() != missing).then_some(()))
        })
        .unwrap();
    };
    await_problem(true);
    assert_eq!(problems_of(&cloud_end, first), [""; 0]);

    for _ in 0..2 {
        add();
        cloud_end.await_tunnels(2);
        premises.await_tunnels(2);
        await_problem(false);
        // Dead peer detection would take a while.
        let tunnel = "vpn-office/2".to_owned();
        let down = Request::TunnelDown { tunnel };
        remove();
        await_problem(true);
        ask(&cloud_end.socket, &down).unwrap();
        ask(&premises.socket, &down).unwrap();
        cloud_end.await_tunnels(1);
        let tunnel = "vpn-office/2".to_owned();
        let up = Request::TunnelUp { tunnel };
        ask(&cloud_end.socket, &up).unwrap();
        ask(&premises.socket, &up).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn a_reload_does_nothing_or_all_and_takes_the_key_log_at_once() {
    let lab = Lab::new("reload").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cloud_end = End::start("cloud", &topology.vpc, folder.path(), &cloud(), "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    let reload = |own: &str, key: &str| {
        let text = configuration(own, &cloud_end.socket, "");
        let text = text.replacen("pre_shared_key = \"correct.horse.battery\"", key, 1);
        write_privately(&cloud_end.config, &text);
        ask(&cloud_end.socket, &Request::Reload).unwrap()
    };
    let logged = folder.path().join("esp");
    let key_log = |path: &Path| format!("{}\n[key_log]\nesp = {path:?}", cloud());
    let new_key = "pre_shared_key_file = \"./new.psk\"\npre_shared_key_generate = true";
    let made = folder.path().join("new.psk");
    let reply = reload(&key_log(Path::new("/nowhere/esp")), new_key);
    assert!(matches!(&reply, Reply::Failed { lines } if lines.concat().contains("/nowhere/esp")));
    let unbound = cloud().replace(
        "outside_addresses = [",
        "outside_addresses = [\"192.0.2.9\", ",
    );
    assert!(matches!(reload(&unbound, new_key), Reply::Failed { .. }));
    assert!(!made.exists());

    let kept = "pre_shared_key = \"correct.horse.battery\"";
    let own = format!("{}\n[limits]\nhalf_open = 99", key_log(&logged));
    let reply = reload(&own, kept);
    let Reply::Done { lines } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(lines[..2], ["key_log: changed", "limits: changed"]);
    assert!(lines[2].contains("can decrypt the traffic"), "{lines:?}");
    let _premises = start_premises(&topology, folder.path());
    cloud_end.await_tunnels(2);
    // Two lines for each CHILD SA.
    let lines = std::fs::read_to_string(&logged).unwrap();
    assert_eq!(lines.lines().count(), 4);
    // Closed again, and the key that is made is the one that counts.
    let reply = reload(&cloud(), new_key);
    let Reply::Done { lines } = reply else {
        panic!("{reply:?}");
    };
    let said = lines.join("\n");
    assert!(said.contains("key_log: changed"), "{said}");
    assert!(
        said.contains("vpn-office/1: changed pre_shared_key, restarts"),
        "{said}"
    );
    assert!(said.contains("a key was generated"), "{said}");
    let mode = std::fs::metadata(&made).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// Whether a host reaches the one on the premises.
fn reaches_premises(host: &Namespace) -> bool {
    let premises = ON_PREMISES_HOST.to_string();
    let mut ping = host.command("ping");
    ping.args(["-c", "3", "-i", "0.2", "-W", "2", "-q", &premises]);
    ping.output().unwrap().status.success()
}

#[test]
#[ignore = "needs root"]
fn a_default_route_may_lead_into_a_tunnel_while_our_own_packets_go_to_the_peer() {
    let lab = Lab::new("default").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let vpc = &topology.vpc;
    // As strict as it gets.
    for link in ["all", "line-a", "line-b"] {
        let strict = format!("ipv4/conf/{link}/rp_filter");
        vpc.set_parameter(&strict, "1").unwrap();
    }
    let cloud_end = End::start("cloud", vpc, folder.path(), &cloud(), "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    // By a reload, as when it is tried on a gateway that serves already.
    let everything = |socket: &Path| {
        let text = configuration(&cloud(), socket, "");
        text.replace("\"192.168.10.0/24\"", "\"0.0.0.0/0\"")
    };
    write_privately(&cloud_end.config, &everything(&cloud_end.socket));
    let reply = ask(&cloud_end.socket, &Request::Reload).unwrap();
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    let premises = start_premises(&topology, folder.path());
    cloud_end.await_tunnels(2);
    let leads = |to: &str, expected: &str| {
        let way = ip(vpc, &["route", "get", to]);
        assert!(way.contains(expected), "{to}: {way}");
    };
    leads("8.8.8.8", " dev vgw0 ");
    leads(&CUSTOMER_OUTSIDE.to_string(), " dev vgw0 ");
    assert!(reaches_premises(&topology.vpc_host));
    assert!(reaches_premises(vpc), "by its own address in the VPC");
    for what in [RekeyTarget::Child, RekeyTarget::Ike] {
        let tunnel = "vpn-office/1".to_owned();
        ask(&cloud_end.socket, &Request::Rekey { tunnel, what }).unwrap();
    }
    wait_until("the rekeys", LIMIT, || {
        let status = cloud_end.status();
        let counters = status.connections[0].tunnels[0].counters;
        let done = counters.ike_rekeys > 0 && counters.child_rekeys > 0;
        Ok(done.then_some(()))
    })
    .unwrap();
    assert!(reaches_premises(&topology.vpc_host));
    cloud_end.await_tunnels(2);
    premises.await_tunnels(2);
    // What loops is counted again and again.
    let tunnels = &cloud_end.status().connections[0].tunnels;
    let sent: u64 = tunnels
        .iter()
        .map(|tunnel| tunnel.traffic.packets_out)
        .sum();
    assert!((9..50).contains(&sent), "{sent} packets");

    // Killed, it leaves nothing in clear, and the next one finds its peer all the same.
    cloud_end.process.kill().unwrap();
    wait_until("the device to be gone", LIMIT, || {
        Ok((!ip(vpc, &["link"]).contains("vgw0")).then_some(()))
    })
    .unwrap();
    assert_eq!(ip(vpc, &["route", "get", "8.8.8.8"]), "");
    assert!(!reaches_premises(&topology.vpc_host));
    let cloud_end = End::start_as("again", vpc, folder.path(), everything);
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    cloud_end.await_tunnels(2);
    assert!(reaches_premises(&topology.vpc_host));
}

#[test]
#[ignore = "needs root"]
fn tcp_is_held_at_once_to_the_mtu_that_somebody_gives_the_tun_device() {
    let lab = Lab::new("tunmtu").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cloud_end = End::start("cloud", &topology.vpc, folder.path(), &cloud(), "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));
    // It is put right again, but ever later if that happens again and again.
    wait_until("the smaller MTU", LIMIT, || {
        ip(&topology.vpc, &["link", "set", "vgw0", "mtu", "1300"]);
        let found = cloud_end.status().data_plane.tun_mtu;
        Ok((found == Some(1300)).then_some(()))
    })
    .unwrap();
}

/// A request for an IKE SA that no connection takes: DES, with a long list of groups.
fn refused_request(spi_i: u64) -> Vec<u8> {
    let transform = |kind, id, key_bits| Transform {
        kind,
        id,
        key_bits,
        unknown_attribute: false,
    };
    let groups = (100..160).map(|id| transform(TransformType::KEY_EXCHANGE, id, None));
    let transforms = [
        transform(TransformType::ENCRYPTION, 2, None),
        transform(TransformType::PRF, 1, None),
        transform(TransformType::INTEGRITY, 1, None),
    ];
    let header = Header {
        spi_i,
        spi_r: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: true,
        response: false,
        message_id: 0,
    };
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: transforms.into_iter().chain(groups).collect(),
    };
    let key_exchange = KeyExchange {
        group: 100,
        data: vec![7; 32],
    };
    let payloads = [
        Payload::Sa(vec![proposal]),
        Payload::Ke(key_exchange),
        Payload::Nonce(vec![9; 32]),
    ];
    encode_cleartext(&header, &payloads)
}

/// Sends refused requests and garbage from a stranger's address, as fast as it can,
/// until told to stop.
fn flood(stop: &AtomicBool) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let [to, _] = GATEWAY_OUTSIDE;
    for spi_i in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let request = refused_request(spi_i);
        // The socket's queue may be full; that is as good.
        let _ = socket.send_to(&request, (to, 500));
        let (_, garbage) = request.split_first().unwrap();
        let _ = socket.send_to(garbage, (to, 500));
    }
}

#[test]
#[ignore = "needs root"]
fn status_the_watchdog_and_known_peers_are_served_while_strangers_flood_and_nobody_reads_the_log() {
    let lab = Lab::new("flood").unwrap();
    let topology = Topology::build(&lab).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A pipe that is open and never read.
    let log = folder.path().join("cloud.log");
    nix::unistd::mkfifo(&log, Mode::S_IRWXU).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let _never_read = options.open(&log).unwrap();
    // The peer alone begins handshakes, so that their messages can be counted.
    let own = cloud().replacen(
        "[gateway]",
        "[log]\nlevel = \"debug\"\n[gateway]\ninitiate_to_recover = false",
        1,
    );
    let cloud_end = End::start("cloud", &topology.vpc, folder.path(), &own, "");
    assert!(cloud_end.heard().starts_with("READY=1\n"));

    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| topology.internet.run(|| flood(&stop)).unwrap());
        // Ends the flood also where something fails below.
        let _stops = StopWhenDropped(&stop);
        wait_until("a log beyond what waits for its reader", LIMIT, || {
            Ok((cloud_end.status().log.lines_lost > 0).then_some(()))
        })
        .unwrap();
        let premises = start_premises(&topology, folder.path());
        cloud_end.await_tunnels(2);
        premises.await_tunnels(2);
        let before = cloud_end.status().ike_messages;
        for _ in 0..10 {
            while cloud_end.heard_anything() != "WATCHDOG=1\n" {}
            cloud_end.status();
        }
        wait_until("more of the flood", LIMIT, || {
            let now = cloud_end.status().ike_messages;
            let more = |name: &str| now.received.get(name) > before.received.get(name);
            let malformed = now.dropped.get("malformed") > before.dropped.get("malformed");
            Ok((more("stranger") && now.begin > before.begin && malformed).then_some(()))
        })
        .unwrap();
        // Both IKE_SA_INIT and IKE_AUTH of both tunnels, none taken for a stranger's.
        let counted = cloud_end.status().ike_messages;
        assert!(counted.received.get("handshake") >= Some(&4), "{counted:?}");
        assert_eq!(counted.unknown_spi, 0, "{counted:?}");
        let rekey = Request::Rekey {
            tunnel: "vpn-office/1".to_owned(),
            what: RekeyTarget::Ike,
        };
        assert!(matches!(
            ask(&premises.socket, &rekey),
            Ok(Reply::Done { .. })
        ));
        wait_until("a rekey", LIMIT, || {
            let status = cloud_end.status();
            let rekeys = status.connections[0].tunnels[0].counters.ike_rekeys;
            Ok((rekeys > 0).then_some(status.ike_messages))
        })
        .map(|counted| {
            assert!(
                counted.received.get("established") >= Some(&1),
                "{counted:?}"
            );
            for class in ["established", "handshake"] {
                let full = format!("{class}_queue_full");
                assert_eq!(counted.dropped.get(&full), Some(&0), "{counted:?}");
            }
        })
        .unwrap();
        stop.store(true, Ordering::Relaxed);
        flooding.join().unwrap();
    });
}

struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
