//! A changed configuration, applied without a break.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use super::Daemon;
use crate::admin::wire::Reply;
use crate::config::{self, Loaded, Settings};

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

    fn try_reload(&mut self) -> Result<Vec<String>, Vec<String>> {
        let loaded = config::load(&self.path).map_err(|problems| -> Vec<String> {
            problems.iter().map(ToString::to_string).collect()
        })?;
        self.refuse_unbound_addresses(&loaded)?;
        let mut lines: Vec<String> = loaded
            .warnings
            .iter()
            .map(|warning| format!("warning: {warning}"))
            .collect();
        if loaded.settings.log.level != self.loaded.settings.log.level {
            self.logging
                .set_level(loaded.settings.log.level)
                .map_err(|error| vec![format!("{error:#}")])?;
            lines.push(format!("log: level is {} now", loaded.settings.log.level));
        }
        lines.extend(
            settings_that_wait(&self.loaded.settings, &loaded.settings)
                .into_iter()
                .map(|name| format!("{name}: changed, takes effect at the next start")),
        );
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
        // What waits for the next start is still what runs.
        let level = loaded.settings.log.level;
        self.shell.expect_from(&loaded.gateway);
        self.loaded.gateway = loaded.gateway;
        self.loaded.settings.log.level = level;
        Ok(lines)
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

/// Names of changed settings that a running daemon cannot take.
fn settings_that_wait(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let same = [
        ("tun", old.tun == new.tun),
        ("data_plane", old.data_plane == new.data_plane),
        ("netns", old.network_namespace == new.network_namespace),
        ("log.format", old.log.format == new.log.format),
        ("metrics", old.metrics == new.metrics),
        ("control", old.control == new.control),
        ("key_log", old.key_log == new.key_log),
        ("limits", old.limits == new.limits),
        ("state", old.state_directory == new.state_directory),
    ];
    same.into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
}
