//! The tables that are about the daemon, not the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::de::DeValue;
use tracing::level_filters::LevelFilter;
use vgw_dataplane::Features;
use vgw_gateway::domain::Gateway;
use vgw_gateway::rules::{Bounds, Refusal};
use vgw_ike::config::Limits;

use super::document::{Notes, Table};
use super::settings::{
    Control, DataPlane, KeyLog, Log, LogFormat, NetworkNamespace, Settings, Tun,
};
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
    notes: &mut Notes,
    network_namespace: Option<NetworkNamespace>,
    gateway: &Gateway,
) -> Settings {
    Settings {
        tun: tun(root.table(notes, "tun"), notes, gateway),
        network_namespace,
        data_plane: data_plane(root.table(notes, "data_plane"), notes),
        log: log(root.table(notes, "log"), notes),
        metrics: metrics(root.table(notes, "metrics"), notes),
        control: control(root.table(notes, "control"), notes),
        key_log: key_log(root.table(notes, "key_log"), notes),
        limits: limits(root.table(notes, "limits"), notes),
        state_directory: state_directory(root.table(notes, "state"), notes),
    }
}

fn tun(mut table: Table<'_>, notes: &mut Notes, gateway: &Gateway) -> Tun {
    let name = table.read(notes, "name", tun_name);
    let mtu = table.read(notes, "mtu", values::number(TUN_MTU));
    table.finish(notes);
    Tun {
        name: name.unwrap_or_else(|| TUN_NAME.to_owned()),
        mtu: mtu
            .and_then(|mtu| u16::try_from(mtu).ok())
            .unwrap_or_else(|| mtu::default(gateway)),
    }
}

fn data_plane(mut table: Table<'_>, notes: &mut Notes) -> DataPlane {
    let workers = table.read(notes, "workers", values::number_32(WORKERS));
    let mut may = |key| table.read(notes, key, values::boolean).unwrap_or(true);
    let features = Features {
        tun_vnet_header: may("tun_vnet_header"),
        tun_tso: may("tun_tso"),
        tun_uso: may("tun_uso"),
        tun_multi_queue: may("tun_multi_queue"),
        udp_gso: may("udp_gso"),
        udp_gro: may("udp_gro"),
    };
    table.finish(notes);
    DataPlane {
        workers: workers.and_then(|count| usize::try_from(count).ok()),
        features,
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

fn log(mut table: Table<'_>, notes: &mut Notes) -> Log {
    let level = table.read(notes, "level", values::word(LEVELS));
    let format = table.read(notes, "format", values::word(FORMATS));
    table.finish(notes);
    Log {
        level: level.unwrap_or(LevelFilter::INFO),
        format: format.unwrap_or_default(),
    }
}

fn metrics(mut table: Table<'_>, notes: &mut Notes) -> Option<SocketAddr> {
    let listen = table.read(notes, "listen", |value| {
        let expected = "an address and a port in quotes, \"127.0.0.1:9469\"";
        let text = values::text(value, expected)?;
        text.parse()
            .map_err(|_| Refusal::new(values::describe(value), expected))
    });
    table.finish(notes);
    listen
}

fn control(mut table: Table<'_>, notes: &mut Notes) -> Control {
    let socket = table.read(notes, "socket", path);
    let mode = table.read(notes, "mode", mode);
    table.finish(notes);
    Control {
        socket: socket.unwrap_or_else(|| PathBuf::from(CONTROL_SOCKET)),
        mode: mode.unwrap_or(CONTROL_MODE),
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

fn key_log(mut table: Table<'_>, notes: &mut Notes) -> KeyLog {
    let ike = table.read(notes, "ike", path);
    let esp = table.read(notes, "esp", path);
    for (key, set) in [("ike", ike.is_some()), ("esp", esp.is_some())] {
        if set {
            let message = "is set: whoever reads that file can decrypt the traffic";
            notes.warn(&table.field(key), message);
        }
    }
    table.finish(notes);
    KeyLog { ike, esp }
}

fn state_directory(mut table: Table<'_>, notes: &mut Notes) -> Option<PathBuf> {
    let directory = table.read(notes, "directory", path);
    table.finish(notes);
    directory
}

fn limits(mut table: Table<'_>, notes: &mut Notes) -> Limits {
    let half_open = table.read(notes, "half_open", values::number(HALF_OPEN));
    let cookie = table.read(notes, "cookie_threshold", values::number(COOKIE_THRESHOLD));
    let percent = table.read(
        notes,
        "strangers_percent",
        values::number_32(STRANGERS_PERCENT),
    );
    let failed = table.read(
        notes,
        "failed_authentications_per_minute",
        values::number_32(FAILED_AUTHENTICATIONS),
    );
    let count = |given: Option<u64>, bounds: Bounds| {
        let number = given.or(bounds.default).unwrap_or_default();
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    let own = Limits::default();
    let limits = Limits {
        half_open: count(half_open, HALF_OPEN),
        cookie_threshold: count(cookie, COOKIE_THRESHOLD),
        strangers_percent: percent.unwrap_or(own.strangers_percent),
        failed_authentications: failed.unwrap_or(own.failed_authentications),
        ..own
    };
    if limits.cookie_threshold > limits.half_open {
        let message = format!(
            "found {}, expected no more than half_open ({})",
            limits.cookie_threshold, limits.half_open
        );
        notes.refuse(&table.field("cookie_threshold"), message);
    }
    table.finish(notes);
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
