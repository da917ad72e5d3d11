//! What `docs/` and the shipped alerts say is what the code says.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "in a test's helpers too, what cannot be had fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use getrandom::SysRng;
use vgw_crypto::RandomSources;
use vgw_dataplane::DropReason;
use vgw_gateway::revision::ChangeSet;
use vgw_gateway::status::State;
use vgw_gateway::supervisor::Supervisor;
use vgw_ike::drop_reason;
use vgwd::config;

const TROUBLESHOOTING: &str = include_str!("../../../docs/troubleshooting.md");
const METRICS: &str = include_str!("../../../docs/metrics.md");
const CHANGES: &str = include_str!("../../../docs/changes.md");
const EXAMPLE: &str = include_str!("../../../config/vgw.toml");
const SMALLEST: &str = include_str!("smallest.toml");
/// Options of a tunnel, each with another value than its default.
const CHANGED: [(&str, &str); 21] = [
    ("encapsulation", "\"udp\""),
    ("phase1_encryption_algorithms", "[\"AES256\"]"),
    ("phase1_integrity_algorithms", "[\"SHA2-512\"]"),
    ("phase1_dh_group_numbers", "[20]"),
    ("phase2_encryption_algorithms", "[\"AES256\"]"),
    ("phase2_integrity_algorithms", "[\"SHA2-512\"]"),
    ("phase2_dh_group_numbers", "[20]"),
    ("phase2_extended_sequence_numbers", "\"off\""),
    ("phase1_lifetime_seconds", "7200"),
    ("phase2_lifetime_seconds", "1800"),
    ("phase2_lifetime_bytes", "1_000_000_000"),
    ("phase2_lifetime_packets", "1_000_000"),
    ("rekey_margin_time_seconds", "60"),
    ("rekey_fuzz_percentage", "50"),
    ("replay_window_size", "64"),
    ("dpd_timeout_seconds", "60"),
    ("dpd_timeout_action", "\"none\""),
    ("startup_action", "\"start\""),
    ("df_policy", "\"ignore\""),
    ("copy_dscp", "true"),
    ("bandwidth_limit_mbps", "100"),
];
const ALERTS: &str = include_str!("../../../config/alerts.yml");
/// Every series that there is.
const SERIES: &str = include_str!("../src/metrics/every_series.txt");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page, by its name below `docs/`.
fn pages() -> Vec<(String, String)> {
    let docs = root().join("docs");
    let (mut folders, mut pages) = (vec![docs.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&docs).unwrap().to_string_lossy();
            pages.push((name.into_owned(), fs::read_to_string(&path).unwrap()));
        }
    }
    pages.sort();
    pages
}

/// The fenced blocks of a page whose first line has this after the fence.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks
        .map(|rest| rest.split_once("```").unwrap().0.to_owned())
        .collect()
}

/// The first cells of the tables whose first heading is this.
fn first_cells<'a>(page: &'a str, heading: &'a str) -> impl Iterator<Item = &'a str> {
    let mut inside = false;
    page.lines().filter_map(move |line| {
        let cell = line
            .strip_prefix("| ")
            .and_then(|row| row.split(" | ").next());
        let heads = cell == Some(heading);
        inside = cell.is_some() && (inside || heads);
        cell.filter(|cell| inside && !heads && !cell.starts_with("---"))
    })
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn words_in(page: &str, heading: &str) -> BTreeSet<String> {
    let cells = first_cells(page, heading);
    cells.flat_map(quoted).map(str::to_owned).collect()
}

#[test]
fn every_state_drop_and_denial_is_explained_and_no_other() {
    let explained = words_in(TROUBLESHOOTING, "state");
    let states = State::ALL.map(|state| state.name().to_owned());
    assert_eq!(explained, BTreeSet::from(states));

    let explained = words_in(TROUBLESHOOTING, "reason");
    let drops = DropReason::ALL.iter().map(|reason| reason.name());
    let denials = drop_reason::DropReason::ALL
        .iter()
        .map(|denial| denial.name());
    let reasons = drops.chain(denials).chain(vgwd::inbox::reasons());
    let reasons: BTreeSet<_> = reasons.map(str::to_owned).collect();
    assert_eq!(explained, reasons);
}

/// All source of the workspace's crates, with each string on one line.
fn source() -> String {
    fn collect(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut text = String::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        collect(&entry.unwrap().path().join("src"), &mut text);
    }
    let lines = text.split("\\\n");
    let joined: String = lines.map(str::trim_start).collect();
    joined.replace("\\\"", "\"")
}

#[test]
fn every_message_that_is_explained_is_one_of_the_codes() {
    let source = source();
    let words = words_in(TROUBLESHOOTING, "words");
    assert!(words.len() > 40, "{words:?}");
    // Where a value stands in the message, the page has an ellipsis.
    let missing: Vec<_> = words
        .iter()
        .flat_map(|words| words.split('…'))
        .map(str::trim)
        .filter(|part| !source.contains(part))
        .collect();
    assert!(missing.is_empty(), "not in the code: {missing:#?}");
}

/// What is written into the log: the arguments of each `tracing` macro.
fn log_calls(source: &str) -> impl Iterator<Item = &str> {
    source.split("tracing::").skip(1).filter_map(|rest| {
        let (level, rest) = rest.split_once("!(")?;
        let levels = ["error", "warn", "info", "debug", "trace"];
        let mut depth = 1_u32;
        let end = rest.find(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            depth == 0
        })?;
        let call = rest.get(..end)?;
        (levels.contains(&level) && !call.contains("\"test\"")).then_some(call)
    })
}

/// `journalctl` shows the message and no field.
#[test]
fn every_log_message_says_what_its_fields_say_of_others() {
    let source = source();
    let mut fields = 0;
    for call in log_calls(&source) {
        let (before, message) = call.split_once('"').unwrap();
        for field in before.split(',').map(str::trim) {
            let Some(name) = field.strip_prefix(['%', '?']) else {
                continue;
            };
            let said = message.contains(&format!("{{{name}"));
            assert!(said, "{name} is not in the message: {call}");
            fields += 1;
        }
    }
    assert!(fields > 40, "{fields}");
}

#[test]
fn every_piece_of_configuration_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vgw.toml");
    let write = |text: &str| {
        let keys = folder.path().to_string_lossy();
        fs::write(&file, text.replace("/var/lib/vgw", &keys)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let mut whole = 0;
    for (name, page) in pages() {
        for text in blocks(&page, "toml") {
            write(&text);
            let checked = config::check(&file);
            assert!(checked.is_ok(), "{name}: {checked:#?}\n{text}");
            whole += 1;
        }
        for text in blocks(&page, "toml part") {
            write(&text);
            let mut problems = config::outline(&file).unwrap().problems;
            problems.retain(|problem| !problem.message.contains("missing"));
            assert!(problems.is_empty(), "{name}: {problems:#?}\n{text}");
        }
    }
    assert!(whole > 0);
}

/// The options of the commented example, `key` or, of a table around the gateway,
/// `[table] key`.
fn options() -> BTreeSet<String> {
    const AROUND: [&str; 8] = [
        "tun",
        "data_plane",
        "log",
        "metrics",
        "control",
        "key_log",
        "state",
        "limits",
    ];
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut table = "";
    let mut options = BTreeSet::new();
    for line in EXAMPLE.lines() {
        if let Some(headed) = line.strip_prefix('[') {
            table = headed.trim_matches(['[', ']']);
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        if key.chars().all(name) {
            options.insert(match AROUND.contains(&table) {
                true => format!("[{table}] {key}"),
                false => key.to_owned(),
            });
        }
    }
    options
}

#[test]
fn what_a_change_does_is_said_of_every_option() {
    let mut options = options();
    assert!(options.len() > 60, "{options:?}");
    // Names and places of things are not options of theirs.
    options.remove("id");
    // In the example's sentences alone.
    let also = ["pre_shared_key", "pre_shared_key_credential", "public"];
    options.extend(also.map(str::to_owned));
    assert_eq!(words_in(CHANGES, "what is changed"), options);
}

/// What a reload with this option in its first tunnel says of the tunnel.
fn said_of(option: &str) -> Option<String> {
    let load = |option: &str| {
        let head = "[[vpn_connection.tunnel]]\n";
        let text = SMALLEST.replacen(head, &format!("{head}{option}\n"), 1);
        config::load_str(&text, "test").unwrap().gateway
    };
    let random = RandomSources::new(SysRng, SysRng);
    let now = Instant::now();
    let mut supervisor = Supervisor::new(now, load(""), random);
    let changes = ChangeSet::between(supervisor.revision(), load(option));
    let changes = supervisor.apply(now, changes);
    let mut said = changes.iter().map(ToString::to_string);
    said.find(|line| line.starts_with("vpn-office/1: "))
}

#[test]
fn a_tunnel_begins_anew_for_the_options_that_are_said_to_do_so_and_for_no_other() {
    let mut seen = 0;
    let rows = CHANGES.lines().filter_map(|row| {
        let (what, does) = row.strip_prefix("| ")?.split_once(" | ")?;
        Some((what, does.contains("the tunnel begins anew")))
    });
    for (what, anew) in rows {
        for option in quoted(what) {
            let changed = CHANGED.iter().find(|(name, _)| *name == option);
            let Some((_, value)) = changed else { continue };
            let said = said_of(&format!("{option} = {value}")).unwrap();
            assert_eq!(said.contains("restarts"), anew, "{said}");
            seen += 1;
        }
    }
    assert_eq!(seen, CHANGED.len());
}

fn metrics_in(text: &str) -> BTreeSet<&str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word)
        .filter(|word| word.starts_with("vgw_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn every_metric_is_explained_and_alerts_are_about_those_that_there_are() {
    let series = SERIES.lines().filter(|line| !line.starts_with('#'));
    let series: BTreeSet<_> = series
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let explained: Vec<_> = first_cells(METRICS, "metric").collect();
    assert_eq!(metrics_in(&explained.join(" ")), series);
    let alerted = metrics_in(ALERTS);
    assert!(alerted.is_subset(&series), "{alerted:?}");
}

#[test]
fn every_alert_is_explained_and_names_reasons_that_there_are() {
    let named: Vec<_> = ALERTS
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let explained: Vec<_> = first_cells(METRICS, "alert").collect();
    assert_eq!(explained, named);

    let known = words_in(TROUBLESHOOTING, "reason");
    let mut lists = 0;
    for list in ALERTS.split("reason").filter_map(|rest| {
        let list = rest.trim_start_matches(['!', '=', '~']).strip_prefix('"')?;
        Some(list.split_once('"').unwrap().0)
    }) {
        lists += 1;
        for reason in list.split('|') {
            assert!(known.contains(reason), "{reason}");
        }
    }
    assert_eq!(lists, 3);
}

#[test]
fn every_link_leads_somewhere() {
    let mut found = 0;
    for (name, page) in pages() {
        let links = page.split("](").skip(1);
        for link in links.map(|rest| rest.split(')').next().unwrap()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() {
                let page = root().join("docs").join(&name);
                let path = page.parent().unwrap().join(file);
                assert!(path.exists(), "{name} leads to {link}");
                found += 1;
            }
        }
    }
    assert!(found > 20);
}
