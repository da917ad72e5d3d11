//! A changed configuration, applied without a break. It takes a while to read a long file,
//! check it and compare it with what is in force: another thread does that while the loop goes
//! on. The loop then applies the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use vgw_admin::wire::Reply;
use vgw_gateway::domain::Gateway;
use vgw_gateway::revision::{ChangeSet, Revision};

use super::{Daemon, unix_time};
use crate::config::{self, CredentialVersion, NewKeys, Settings};
use crate::inbox::PeerAddresses;
use crate::kernel::DesiredByConfig;
use crate::key_log::KeyLog;
use crate::metrics::LastReload;

/// What a file gave: a configuration, or what is wrong with it.
pub(super) type Outcome = Result<ReadConfiguration, Vec<String>>;
/// Takes the answer to a request.
type Asker = oneshot::Sender<Arc<Reply>>;

/// What a configuration is compared with.
struct InForce {
    revision: Arc<Revision>,
    credentials: Arc<BTreeMap<String, CredentialVersion>>,
    desired: DesiredByConfig,
}

/// A configuration that was read, and what follows from it.
pub(super) struct ReadConfiguration {
    settings: Settings,
    new_keys: NewKeys,
    credentials: Arc<BTreeMap<String, CredentialVersion>>,
    changes: ChangeSet,
    desired: DesiredByConfig,
    addresses: PeerAddresses,
    /// Lines to answer with beside the changes: warnings, and credentials that are the old ones.
    remarks: Vec<String>,
}

/// The reload under way, and those who asked for one.
pub(super) struct Reloads {
    pub(super) last: LastReload,
    began: Instant,
    reading: Option<JoinHandle<Outcome>>,
    askers: Vec<Asker>,
    /// Who asked since the file was read: it may have changed, so it is read once more.
    again: Option<Vec<Asker>>,
}

impl Reloads {
    /// The configuration of the start is in force since then, seconds since 1970.
    pub(super) fn new(started: f64) -> Self {
        Self {
            last: LastReload {
                succeeded: true,
                succeeded_at: started,
                took: 0.0,
            },
            began: Instant::now(),
            reading: None,
            askers: Vec::new(),
            again: None,
        }
    }

    fn note(&mut self, succeeded: bool) {
        self.last.succeeded = succeeded;
        self.last.took = self.began.elapsed().as_secs_f64();
        if succeeded {
            self.last.succeeded_at = unix_time();
        }
    }

    /// What is being read, once it is. Dropped before it is ready, it loses nothing.
    pub(super) async fn outcome(&mut self) -> Outcome {
        let Some(reading) = &mut self.reading else {
            return pending().await;
        };
        let outcome = reading.await;
        self.reading = None;
        outcome.unwrap_or_else(|_| Err(vec!["reading the configuration failed".to_owned()]))
    }
}

fn read(path: &Path, running: &Settings, before: &InForce) -> Outcome {
    let loaded = config::load(path).map_err(|problems| -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    })?;
    let warnings = loaded.warnings.iter();
    let warnings = warnings.map(|warning| format!("warning: {warning}"));
    let kept = kept_credentials(&before.credentials, &loaded.credentials);
    let mut desired = DesiredByConfig::of(&loaded.gateway, running);
    if desired == before.desired {
        desired = before.desired.clone();
    }
    Ok(ReadConfiguration {
        remarks: warnings.chain(kept).collect(),
        settings: loaded.settings,
        new_keys: loaded.new_keys,
        credentials: Arc::new(loaded.credentials),
        desired,
        addresses: PeerAddresses::of(&loaded.gateway),
        changes: ChangeSet::between(&before.revision, loaded.gateway),
    })
}

impl Daemon {
    /// Has the configuration read again. Once it is, [`Self::on_read`] applies what
    /// changed and answers.
    pub(super) fn reload(&mut self, asker: Option<Asker>) {
        if self.reloads.reading.is_some() {
            self.reloads.again.get_or_insert_default().extend(asker);
            return;
        }
        self.notifier.reloading();
        self.reloads.began = Instant::now();
        self.reloads.askers.extend(asker);
        let (path, settings) = (self.path.clone(), self.settings.clone());
        let before = self.in_force();
        self.reloads.reading = Some(spawn_blocking(move || read(&path, &settings, &before)));
    }

    fn in_force(&self) -> InForce {
        InForce {
            revision: Arc::clone(self.driver.revision()),
            credentials: Arc::clone(&self.credentials),
            desired: self.desired.clone(),
        }
    }

    /// Applies what changed; all of it or, if anything is wrong with it, nothing.
    pub(super) fn on_read(&mut self, outcome: Outcome) {
        let reply = Arc::new(self.reply_to(outcome));
        self.reloads.note(matches!(*reply, Reply::Done { .. }));
        self.notifier.ready(&self.summary());
        for asker in self.reloads.askers.drain(..) {
            // A client that has gone away needs no answer.
            let _ = asker.send(Arc::clone(&reply));
        }
        if let Some(askers) = self.reloads.again.take() {
            self.reload(None);
            self.reloads.askers = askers;
        }
    }

    fn reply_to(&mut self, outcome: Outcome) -> Reply {
        match outcome.and_then(|read| self.try_reload(read)) {
            Ok(lines) => {
                tracing::info!("configuration reloaded: {}", lines.join("; "));
                Reply::Done { lines }
            }
            Err(lines) => {
                for line in &lines {
                    tracing::error!("configuration not reloaded, the old one stays: {line}");
                }
                Reply::Failed { lines }
            }
        }
    }

    /// Everything is checked before anything is done. What can fail of that comes first:
    /// if it does, nothing is in force that was not before.
    fn try_reload(&mut self, read: ReadConfiguration) -> Result<Vec<String>, Vec<String>> {
        self.refuse_unbound_addresses(read.changes.next().own())?;
        let key_log = self.changed_key_log(&read.settings.key_log)?;
        read.new_keys.write().map_err(|why| vec![why])?;
        Ok(self.take_over(read, key_log))
    }

    /// The key log, opened anew if its files are others.
    fn changed_key_log(&self, wanted: &config::KeyLog) -> Result<Option<KeyLog>, Vec<String>> {
        if *wanted == self.settings.key_log {
            return Ok(None);
        }
        let opened = KeyLog::open(wanted).map_err(|error| vec![error.to_string()])?;
        Ok(Some(opened))
    }

    /// Puts a checked configuration in force, and says what that changes.
    fn take_over(&mut self, read: ReadConfiguration, key_log: Option<KeyLog>) -> Vec<String> {
        let mut lines = Vec::new();
        let level = read.settings.log.level;
        if level != self.settings.log.level {
            lines.push(match self.logging.set_level(level) {
                Ok(()) => format!("log: level is {level} now"),
                Err(error) => format!("log: the level stays as it is: {error:#}"),
            });
        }
        if let Some(key_log) = key_log {
            self.driver.set_key_log(key_log);
            KeyLog::warn(&read.settings.key_log);
            lines.push("key_log: changed".to_owned());
        }
        let limits = read.settings.limits;
        if limits != self.settings.limits {
            self.driver
                .drive(|supervisor| supervisor.set_limits(limits));
            lines.push("limits: changed".to_owned());
        }
        lines.extend(settings_that_wait(&self.settings, &read.settings));
        let now = Instant::now();
        let before = self.in_force();
        self.desired = read.desired;
        // First, as a new route may be one to a new peer.
        self.driver.set_desired_by_config(self.desired.clone());
        self.driver.expect_from(read.addresses);
        let changes = self
            .driver
            .drive(|supervisor| supervisor.apply(now, read.changes));
        lines.extend(changes.iter().map(ToString::to_string));
        if lines.is_empty() {
            lines.push("nothing changed".to_owned());
        }
        lines.extend(read.remarks);
        self.credentials = read.credentials;
        // To free much takes long.
        spawn_blocking(move || drop(before));
        // The other settings take effect at the next start: the old ones are still in force.
        let settings = &mut self.settings;
        settings.log.level = level;
        settings.limits = limits;
        settings.key_log = read.settings.key_log;
        lines
    }

    /// Sockets are bound at the start, when there was the privilege for it.
    fn refuse_unbound_addresses(&self, wanted: &Gateway) -> Result<(), Vec<String>> {
        let bound: BTreeSet<IpAddr> = self.bound.iter().copied().collect();
        let unbound: Vec<String> = wanted
            .outside_addresses
            .iter()
            .map(|ours| ours.address)
            .filter(|address| !bound.contains(address))
            .map(|address| {
                format!("outside address {address} is new: restart the daemon to bind it")
            })
            .collect();
        if unbound.is_empty() {
            Ok(())
        } else {
            Err(unbound)
        }
    }
}

/// Changed settings that a running daemon cannot take, and why.
fn settings_that_wait(old: &Settings, new: &Settings) -> Vec<String> {
    const MADE_AT_THE_START: &str = "it is made with a privilege that is given up after the start";
    const ONE_DEVICE: &str =
        "the TUN device is in the old one, and another takes a privilege that was given up";
    const NO_SOCKETS: &str = "a daemon that runs may open no socket that others connect to";
    let settings = [
        ("tun", old.tun == new.tun, MADE_AT_THE_START),
        (
            "data_plane",
            old.data_plane == new.data_plane,
            "its threads and queues are made once",
        ),
        (
            "netns",
            old.network_namespace == new.network_namespace,
            ONE_DEVICE,
        ),
        (
            "log.format",
            old.log.format == new.log.format,
            "the log is opened once",
        ),
        ("metrics", old.metrics == new.metrics, NO_SOCKETS),
        ("control", old.control == new.control, NO_SOCKETS),
        (
            "state",
            old.state_directory == new.state_directory,
            "peers have tokens by the key that is kept there",
        ),
    ];
    let changed = settings.into_iter().filter(|(_, same, _)| !same);
    changed
        .map(|(name, _, why)| format!("{name}: changed, takes effect at the next start: {why}"))
        .collect()
}

/// Says which credentials are still those that were read before, so that whoever changed one
/// does not take the old key for the new.
fn kept_credentials(
    before: &BTreeMap<String, CredentialVersion>,
    now: &BTreeMap<String, CredentialVersion>,
) -> Option<String> {
    let kept = now
        .iter()
        .filter(|(name, version)| before.get(*name) == Some(version));
    let names: Vec<&str> = kept.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "credentials as systemd handed them over last: {}; it hands over changed ones at a \
             restart, and at a reload only with RefreshOnReload=credentials (systemd 260)",
            names.join(", ")
        )
    })
}
