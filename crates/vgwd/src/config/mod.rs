//! The configuration: `vgw.toml` to a checked [`Gateway`] and [`Settings`].
//!
//! `table` reads a table of the file option by option; `gateway`, `customer`, `connection`,
//! `tunnel` and `daemon` declare the options of theirs and make the domain's values of them by
//! the parsers in `values`; [`vgw_gateway::rules`] says what is allowed. Nothing stops at the
//! first error: `report` collects all of them, and a value that cannot be read is stood in for,
//! so that the rest is still checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;
use vgw_gateway::domain::Gateway;
use vgw_gateway::rules::{self, Checked, Subject};
use zeroize::Zeroizing;

mod access;
mod ambiguous_peers;
mod connection;
mod customer;
mod daemon;
mod gateway;
mod host_check;
mod keys;
mod new_keys;
mod places;
mod pre_shared_key;
mod problem;
mod report;
pub(crate) mod settings;
mod stand_in;
mod suggestion;
mod table;
mod tunnel;
mod values;

#[cfg(test)]
mod tests;

use keys::{InlineOnly, KeySource, MachineKeys, Purpose, Unread};
use places::Places;
use report::Report;
use table::Table;

use crate::kernel::Desired;

pub use keys::CredentialVersion;
pub use new_keys::NewKeys;
pub use problem::Problem;
pub use settings::{Control, DataPlane, KeyLog, Log, LogFormat, NetworkNamespace, Settings, Tun};

/// A configuration that may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The gateway and its connections.
    pub gateway: Checked<Gateway>,
    /// Everything else.
    pub settings: Settings,
    /// What is allowed but probably not meant, and keys that are generated.
    pub warnings: Vec<Problem>,
    /// Pre-shared keys that are to be kept before the configuration is used.
    pub new_keys: NewKeys,
    /// Pre-shared keys that are credentials, by name, as they were read.
    pub credentials: BTreeMap<String, CredentialVersion>,
}

/// A larger file is not a configuration.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// Loads a configuration to run it. Pre-shared keys that are absent and asked
/// for are generated, but the machine is not changed: see [`Loaded::new_keys`].
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(path: &Path) -> Result<Loaded, Vec<Problem>> {
    let (interpreted, machine) = read_file(path, Purpose::Run)?;
    let loaded = interpreted.loaded(&path.display().to_string())?;
    Ok(Loaded {
        new_keys: machine.new,
        credentials: machine.read,
        ..loaded
    })
}

/// Checks a configuration without changing anything on the machine; gives its
/// warnings.
///
/// # Errors
/// As [`load`].
pub fn check(path: &Path) -> Result<Vec<Problem>, Vec<Problem>> {
    read_file(path, Purpose::Check).map(|(interpreted, _)| interpreted.warnings)
}

/// What must not leave in clear by a configuration, as far as it can be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Everything but the gateway.
    pub settings: Settings,
    /// What is for tunnels.
    pub desired: Desired,
    /// Everything that could not be read; whether the rest makes sense is not asked.
    pub problems: Vec<Problem>,
}

/// Reads what must not leave in clear, in spite of errors elsewhere in the file and
/// without its pre-shared keys: a mistake in one tunnel must not open the others.
///
/// # Errors
/// When the file cannot be read.
pub fn outline(path: &Path) -> Result<Outline, Vec<Problem>> {
    let origin = path.display().to_string();
    let (text, _) = text_and_mode(path, &origin)?;
    Ok(outline_of(&text, &origin))
}

fn outline_of(text: &str, origin: &str) -> Outline {
    let report = Report::new(origin, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    errors.iter().for_each(|error| report.syntax(error));
    let (gateway, settings) = read(document.get_ref(), &report, &mut Unread);
    let problems = report.verdict().err().unwrap_or_default();
    let mut desired = Desired::of(&gateway, &settings);
    if !problems.is_empty() {
        desired.retain(|prefix| !stand_in::is_stand_in(prefix));
    }
    Outline {
        settings,
        desired,
        problems,
    }
}

/// Loads a configuration from memory; `origin` stands for the file's name in
/// messages. Its pre-shared keys must be inline.
///
/// # Errors
/// As [`load`].
pub fn load_str(text: &str, origin: &str) -> Result<Loaded, Vec<Problem>> {
    interpret(text, origin, &mut InlineOnly, None)?.loaded(origin)
}

fn read_file(path: &Path, purpose: Purpose) -> Result<(Interpreted, MachineKeys), Vec<Problem>> {
    let origin = path.display().to_string();
    let (text, mode) = text_and_mode(path, &origin)?;
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut machine = MachineKeys {
        directory,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        purpose,
        new: NewKeys::default(),
        read: BTreeMap::new(),
    };
    let interpreted = interpret(&text, &origin, &mut machine, Some(mode))?;
    Ok((interpreted, machine))
}

/// A file in which nothing is wrong.
#[derive(Debug)]
struct Interpreted {
    /// None where a pre-shared key is a credential that only the daemon is given.
    gateway: Option<Checked<Gateway>>,
    settings: Settings,
    warnings: Vec<Problem>,
}

impl Interpreted {
    fn loaded(self, origin: &str) -> Result<Loaded, Vec<Problem>> {
        let unread = || whole(origin, "has a pre-shared key that was not read".to_owned());
        Ok(Loaded {
            gateway: self.gateway.ok_or_else(unread)?,
            settings: self.settings,
            warnings: self.warnings,
            new_keys: NewKeys::default(),
            credentials: BTreeMap::new(),
        })
    }
}

/// The text of a configuration's file, and the file's mode.
fn text_and_mode(path: &Path, origin: &str) -> Result<(Zeroizing<String>, u32), Vec<Problem>> {
    File::open(path)
        .map_err(|error| format!("cannot be opened: {}", access::explained(path, &error)))
        .and_then(contents)
        .map_err(|message| whole(origin, message))
}

/// A problem of the file as a whole.
fn whole(origin: &str, message: String) -> Vec<Problem> {
    vec![Problem {
        file: origin.to_owned(),
        line: None,
        field: String::new(),
        message,
    }]
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
) -> Result<Interpreted, Vec<Problem>> {
    let report = Report::new(origin, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.syntax(error);
    }
    if !errors.is_empty() {
        return Err(report.verdict().err().unwrap_or_default());
    }
    let (gateway, settings) = read(document.get_ref(), &report, keys);
    let places = Places::of(&gateway);
    host_check::warn_of_what_goes_nowhere(&report, &places, &gateway);
    ambiguous_peers::warn_of_ambiguous_peers(&report, &places, &gateway);
    host_check::warn_of_packets_too_large(&report, &gateway, settings.tun.mtu);
    host_check::warn_of_default_routes(&report, &places, &gateway, &settings);
    let checked = rules::check(gateway);
    // Those of a customer gateway are found where it is defined.
    let broken = checked.as_ref().err().into_iter().flatten();
    for violation in broken.filter(|v| !matches!(v.subject, Subject::CustomerGateway(_))) {
        report.violation(&places, violation);
    }
    if let Some(mode) = mode {
        report.judge_inline_keys(mode);
    }
    let warnings = report.verdict()?;
    Ok(Interpreted {
        gateway: checked.ok(),
        settings,
        warnings,
    })
}

/// Turns a document into values, whatever is wrong with it.
fn read(document: &DeTable<'_>, report: &Report, keys: &mut dyn KeySource) -> (Gateway, Settings) {
    Table::root(report, document).make(|root| {
        let (gateway, network_namespace) = gateway::read(root, keys);
        let settings = daemon::read(root, network_namespace, &gateway);
        (gateway, settings)
    })
}
