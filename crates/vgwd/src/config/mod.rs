//! The configuration: `vgw.toml` to a checked [`Gateway`] and [`Settings`].
//!
//! `document` reads TOML with its positions; `gateway`, `connection`, `tunnel`
//! and `daemon` turn its tables into the domain's values; and
//! [`vgw_gateway::rules`] says what is allowed. Nothing stops at the first
//! error: a value that cannot be read is noted and stood in for, so that the
//! rest is still checked.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use vgw_gateway::domain::Gateway;
use vgw_gateway::rules;
use zeroize::Zeroizing;

mod connection;
mod daemon;
mod document;
mod fit;
mod gateway;
mod keys;
mod problem;
mod settings;
mod suggestion;
mod tunnel;
mod values;

#[cfg(test)]
mod tests;

use document::{Notes, Table};
use keys::{Generation, InlineOnly, KeySource, Machine};

pub use problem::Problem;
pub use settings::{Control, DataPlane, KeyLog, Log, LogFormat, NetworkNamespace, Settings, Tun};

/// A configuration that may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The gateway and its connections, checked by [`vgw_gateway::rules`].
    pub gateway: Gateway,
    /// Everything else.
    pub settings: Settings,
    /// What is allowed but probably not meant, and keys that were generated.
    pub warnings: Vec<Problem>,
}

/// A larger file is not a configuration.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Loads a configuration to run it. Pre-shared keys that are absent and asked
/// for are generated.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    load_file(path, Generation::Write)
}

/// Checks a configuration without changing anything on the machine; gives its
/// warnings.
///
/// # Errors
/// As [`load`].
pub fn check(path: &Path) -> Result<Vec<Problem>, Vec<Problem>> {
    load_file(path, Generation::Announce).map(|loaded| loaded.warnings)
}

/// Loads a configuration from memory; `origin` stands for the file's name in
/// messages. Its pre-shared keys must be inline.
///
/// # Errors
/// As [`load`].
pub fn load_str(text: &str, origin: &str) -> Result<Loaded, Vec<Problem>> {
    interpret(text, origin, &mut InlineOnly, None)
}

fn load_file(path: &Path, generation: Generation) -> Result<Loaded, Vec<Problem>> {
    let origin = path.display().to_string();
    let whole = |message: String| {
        vec![Problem {
            file: origin.clone(),
            line: None,
            field: String::new(),
            message,
        }]
    };
    let file = File::open(path).map_err(|error| whole(format!("cannot be opened: {error}")))?;
    let (text, mode) = contents(file).map_err(whole)?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut machine = Machine {
        directory,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        generation,
    };
    interpret(&text, &origin, &mut machine, Some(mode))
}

/// A file's text, which may hold keys, and its mode.
fn contents(file: File) -> Result<(Zeroizing<String>, u32), String> {
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be examined: {error}"))?;
    if metadata.len() > LARGEST_FILE {
        let size = metadata.len();
        return Err(format!(
            "has {size} octets, expected at most {LARGEST_FILE}"
        ));
    }
    // Room for all of it, so that growing leaves no copy of a key behind.
    let room = usize::try_from(metadata.len())
        .unwrap_or(0)
        .saturating_add(1);
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(LARGEST_FILE)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok((text, metadata.permissions().mode()))
}

/// `mode` is that of the file the text came from, if it came from one.
fn interpret(
    text: &str,
    origin: &str,
    keys: &mut dyn KeySource,
    mode: Option<u32>,
) -> Result<Loaded, Vec<Problem>> {
    let mut notes = Notes::new(origin, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        notes.syntax(error);
    }
    if !errors.is_empty() {
        return Err(notes.verdict().err().unwrap_or_default());
    }
    let mut root = Table::root(document.get_ref());
    let (gateway, network_namespace) = gateway::read(&mut root, &mut notes, keys);
    let settings = daemon::read(&mut root, &mut notes, network_namespace);
    root.finish(&mut notes);
    for violation in rules::gateway(&gateway) {
        // Those of a customer gateway are found where it is defined.
        if !violation.field.contains(".customer_gateway.") {
            notes.violation(&violation);
        }
    }
    fit::warn_of_packets_too_large(&mut notes, &gateway, settings.tun.mtu);
    if let Some(mode) = mode {
        notes.judge_inline_keys(mode);
    }
    let warnings = notes.verdict()?;
    Ok(Loaded {
        gateway,
        settings,
        warnings,
    })
}
