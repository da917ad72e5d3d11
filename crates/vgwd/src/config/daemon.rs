//! The tables that are about the daemon, not the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;
use tracing::level_filters::LevelFilter;
use vgw_dataplane::Features;
use vgw_gateway::domain::Gateway;
use vgw_gateway::rules::{Bounds, Refusal};
use vgw_ike::config::Limits;

use super::settings::{
    Control, DataPlane, KeyLog, Log, LogFormat, NetworkNamespace, Settings, Tun,
};
use super::table::Table;
use super::values;
use crate::mtu;

const TUN_NAME: &str = "vgw0";
/// Longest name of a network device, octets (Linux, IFNAMSIZ less its end).
const TUN_NAME_LENGTH: usize = 15;
/// Without it, it follows from the tunnels.
const TUN_MTU: Bounds = Bounds {
    least: mtu::LEAST,
    most: mtu::MOST,
    default: None,
};
/// Without it there is one for each core.
const WORKERS: Bounds = Bounds {
    least: 1,
    most: 64,
    default: None,
};
const CONTROL_SOCKET: &str = "/run/vgw/control.sock";
const CONTROL_MODE: u32 = 0o660;
const HALF_OPEN: Bounds = Bounds {
    least: 1,
    most: 65_536,
    default: Some(1_024),
};
const COOKIE_THRESHOLD: Bounds = Bounds {
    least: 0,
    most: 65_536,
    default: Some(32),
};
const STRANGERS_PERCENT: Bounds = Bounds {
    least: 1,
    most: 100,
    default: Some(25),
};
const FAILED_AUTHENTICATIONS: Bounds = Bounds {
    least: 1,
    most: 6_000,
    default: Some(10),
};
const LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
const FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("journal", LogFormat::Journal),
];

/// Reads everything that is not the gateway's.
pub(super) fn read(
    root: &mut Table<'_>,
    network_namespace: Option<NetworkNamespace>,
    gateway: &Gateway,
) -> Settings {
    Settings {
        tun: root.table("tun").make(|table| tun(table, gateway)),
        network_namespace,
        data_plane: root.table("data_plane").make(data_plane),
        log: root.table("log").make(log),
        metrics: root.table("metrics").make(metrics),
        control: root.table("control").make(control),
        key_log: root.table("key_log").make(key_log),
        limits: root.table("limits").make(limits),
        state_directory: root
            .table("state")
            .make(|table| table.read("directory", path)),
    }
}

fn tun(table: &mut Table<'_>, gateway: &Gateway) -> Tun {
    Tun {
        name: table
            .read("name", tun_name)
            .unwrap_or_else(|| TUN_NAME.to_owned()),
        mtu: table
            .read("mtu", values::number(TUN_MTU))
            .unwrap_or_else(|| mtu::default(gateway)),
    }
}

fn tun_name(value: &DeValue<'_>) -> Result<String, Refusal> {
    let expected = "1 to 15 characters of A-Z a-z 0-9 . _ -, beginning with a letter";
    let name = values::text(value, expected)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(allowed)
        && name.len() <= TUN_NAME_LENGTH;
    good.then(|| name.to_owned())
        .ok_or_else(|| Refusal::new(values::describe(value), expected))
}

fn data_plane(table: &mut Table<'_>) -> DataPlane {
    DataPlane {
        workers: table.read("workers", values::number(WORKERS)),
        features: Features {
            tun_vnet_header: table.flag("tun_vnet_header", true),
            tun_tso: table.flag("tun_tso", true),
            tun_uso: table.flag("tun_uso", true),
            tun_multi_queue: table.flag("tun_multi_queue", true),
            udp_gso: table.flag("udp_gso", true),
            udp_gro: table.flag("udp_gro", true),
        },
    }
}

fn log(table: &mut Table<'_>) -> Log {
    Log {
        level: table
            .read("level", values::word(LEVELS))
            .unwrap_or(LevelFilter::INFO),
        format: table
            .read("format", values::word(FORMATS))
            .unwrap_or_default(),
    }
}

fn metrics(table: &mut Table<'_>) -> Option<SocketAddr> {
    table.read("listen", |value| {
        values::parsed(value, "an address and a port in quotes, \"127.0.0.1:9469\"")
    })
}

fn control(table: &mut Table<'_>) -> Control {
    Control {
        socket: table
            .read("socket", path)
            .unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET)),
        mode: table.read("mode", mode).unwrap_or(CONTROL_MODE),
    }
}

/// Who may write to the socket may take tunnels down, so that is not everyone.
fn mode(value: &DeValue<'_>) -> Result<u32, Refusal> {
    const ALL: u32 = 0o777;
    const OTHERS_WRITE: u32 = 0o002;
    let number = value
        .as_integer()
        .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
    number
        .filter(|mode| *mode <= ALL && mode & OTHERS_WRITE == 0)
        .ok_or_else(|| {
            let expected = "permission bits in octal that do not let everyone write, 0o660";
            Refusal::new(values::describe(value), expected)
        })
}

/// An absolute path.
fn path(value: &DeValue<'_>) -> Result<PathBuf, Refusal> {
    let expected = "an absolute path in quotes";
    let path = values::text(value, expected)?;
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Refusal::new(values::describe(value), expected));
    }
    Ok(PathBuf::from(path))
}

fn key_log(table: &mut Table<'_>) -> KeyLog {
    let [ike, esp] = ["ike", "esp"].map(|key| {
        let file = table.read(key, path);
        if file.is_some() {
            let message = "is set: whoever reads that file can decrypt the traffic";
            table.warn(key, message);
        }
        file
    });
    KeyLog { ike, esp }
}

fn limits(table: &mut Table<'_>) -> Limits {
    let limits = Limits {
        half_open: table.number("half_open", HALF_OPEN),
        cookie_threshold: table.number("cookie_threshold", COOKIE_THRESHOLD),
        strangers_percent: table.number("strangers_percent", STRANGERS_PERCENT),
        failed_authentications: table
            .number("failed_authentications_per_minute", FAILED_AUTHENTICATIONS),
        ..Limits::default()
    };
    if limits.cookie_threshold > limits.half_open {
        let message = format!(
            "found {}, expected no more than half_open ({})",
            limits.cookie_threshold, limits.half_open
        );
        table.refuse("cookie_threshold", message);
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::{COOKIE_THRESHOLD, FAILED_AUTHENTICATIONS, HALF_OPEN, STRANGERS_PERCENT};
    use vgw_ike::config::Limits;

    #[test]
    fn the_limits_that_are_not_set_are_the_negotiators_own() {
        let default = Limits::default();
        assert_eq!(HALF_OPEN.default, u64::try_from(default.half_open).ok());
        assert_eq!(
            COOKIE_THRESHOLD.default,
            u64::try_from(default.cookie_threshold).ok()
        );
        let percent = STRANGERS_PERCENT.default;
        assert_eq!(percent, Some(default.strangers_percent.into()));
        let failed = FAILED_AUTHENTICATIONS.default;
        assert_eq!(failed, Some(default.failed_authentications.into()));
    }
}
