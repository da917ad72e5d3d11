//! A changed configuration, applied without a break.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use super::Daemon;
use crate::admin::wire::Reply;
use crate::config::{self, Edition, Loaded, Settings};
use crate::key_log::KeyLog;

impl Daemon {
    /// Reads the configuration again and applies what changed; all of it or,
    /// if anything is wrong with it, nothing.
    pub(super) fn reload(&mut self) -> Reply {
        self.notifier.reloading();
        let outcome = self.try_reload();
        self.notifier.ready(&self.summary());
        match outcome {
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
    fn try_reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        let loaded = config::load(&self.path).map_err(|problems| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        })?;
        self.refuse_unbound_addresses(&loaded)?;
        let key_log = self.changed_key_log(&loaded.settings.key_log)?;
        loaded.new_keys.write().map_err(|why| vec![why])?;
        Ok(self.take_over(loaded, key_log))
    }

    /// The key log, opened anew if its files are others.
    fn changed_key_log(&self, wanted: &config::KeyLog) -> Result<Option<KeyLog>, Vec<String>> {
        if *wanted == self.loaded.settings.key_log {
            return Ok(None);
        }
        let opened = KeyLog::open(wanted).map_err(|error| vec![error.to_string()])?;
        Ok(Some(opened))
    }

    /// Puts a checked configuration in force, and says what that changes.
    fn take_over(&mut self, loaded: Loaded, key_log: Option<KeyLog>) -> Vec<String> {
        let mut lines = Vec::new();
        let level = loaded.settings.log.level;
        if level != self.loaded.settings.log.level {
            lines.push(match self.logging.set_level(level) {
                Ok(()) => format!("log: level is {level} now"),
                Err(error) => format!("log: the level stays as it is: {error:#}"),
            });
        }
        if let Some(key_log) = key_log {
            self.shell.set_key_log(key_log);
            KeyLog::warn(&loaded.settings.key_log);
            lines.push("key_log: changed".to_owned());
        }
        let limits = loaded.settings.limits;
        if limits != self.loaded.settings.limits {
            self.shell.drive(|supervisor| supervisor.set_limits(limits));
            lines.push("limits: changed".to_owned());
        }
        lines.extend(settings_that_wait(&self.loaded.settings, &loaded.settings));
        let now = Instant::now();
        let gateway = loaded.gateway.clone();
        // First, as a new route may be one to a new peer.
        self.shell.set_surroundings(&gateway, &self.loaded.settings);
        let changes = self
            .shell
            .drive(|supervisor| supervisor.apply(now, gateway));
        lines.extend(changes.iter().map(ToString::to_string));
        if lines.is_empty() {
            lines.push("nothing changed".to_owned());
        }
        let warnings = loaded.warnings.iter();
        lines.extend(warnings.map(|warning| format!("warning: {warning}")));
        lines.extend(kept_credentials(
            &self.loaded.credentials,
            &loaded.credentials,
        ));
        // What waits for the next start is still what runs.
        self.shell.expect_from(&loaded.gateway);
        self.loaded.gateway = loaded.gateway;
        self.loaded.credentials = loaded.credentials;
        let settings = &mut self.loaded.settings;
        settings.log.level = level;
        settings.limits = limits;
        settings.key_log = loaded.settings.key_log;
        lines
    }

    /// Sockets are bound at the start, when there was the privilege for it.
    fn refuse_unbound_addresses(&self, loaded: &Loaded) -> Result<(), Vec<String>> {
        let bound: BTreeSet<IpAddr> = self.bound.iter().copied().collect();
        let unbound: Vec<String> = loaded
            .gateway
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

/// Says which credentials are still those that were read before: whoever changed one
/// shall not take the old key for the new.
fn kept_credentials(
    before: &BTreeMap<String, Edition>,
    now: &BTreeMap<String, Edition>,
) -> Option<String> {
    let kept = now
        .iter()
        .filter(|(name, edition)| before.get(*name) == Some(edition));
    let names: Vec<&str> = kept.map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "credentials as systemd handed them over last: {}; it hands over changed ones at a \
             restart, and at a reload only with RefreshOnReload=credentials (systemd 260)",
            names.join(", ")
        )
    })
}
