//! Configurations, one after the other, and what leads from one to the next.
//!
//! Comparing two of them takes longer the more connections there are, and mostly finds
//! little. So the thread that reads a configuration compares it, while the supervisor goes
//! on, and [`Supervisor::apply`] only does the difference.
//!
//! [`Supervisor::apply`]: crate::supervisor::Supervisor::apply

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::changed_options::gateway_fields;
use crate::domain::{Connection, Gateway};
use crate::rules::Checked;

/// A configuration that keeps every rule, as it is put in force. It never changes; the next
/// one shares with it the connections that stay as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    own: Gateway,
    connections: Vec<Arc<Connection>>,
}

impl From<Checked<Gateway>> for Revision {
    fn from(gateway: Checked<Gateway>) -> Self {
        let mut gateway = gateway.into_inner();
        let connections = std::mem::take(&mut gateway.connections);
        Self {
            own: gateway,
            connections: connections.into_iter().map(Arc::new).collect(),
        }
    }
}

impl Revision {
    /// What is the gateway's own: the gateway without its connections.
    #[must_use]
    pub const fn own(&self) -> &Gateway {
        &self.own
    }

    /// VPN connections, in the order of the file.
    #[must_use]
    pub fn connections(&self) -> &[Arc<Connection>] {
        &self.connections
    }

    /// The same gateway without a connection.
    #[must_use]
    pub fn without_connections(&self) -> Self {
        Self {
            own: self.own.clone(),
            connections: Vec::new(),
        }
    }
}

/// The difference between two revisions: connections that are new or changed, and those that
/// are removed.
#[derive(Debug)]
pub struct ChangeSet {
    base: Arc<Revision>,
    pub(crate) next: Arc<Revision>,
    /// The gateway's own fields that differ.
    pub(crate) fields: Vec<&'static str>,
    pub(crate) removed: Vec<Arc<Connection>>,
    pub(crate) upserts: Vec<Arc<Connection>>,
}

impl ChangeSet {
    /// Compares a revision with the one that is in force.
    #[must_use]
    pub fn between(base: &Arc<Revision>, next: impl Into<Revision>) -> Self {
        let mut next = next.into();
        let fields = gateway_fields(&base.own, &next.own);
        let all = concerns_connections(&base.own, &next.own);
        let mut before: BTreeMap<&str, &Arc<Connection>> = BTreeMap::new();
        before.extend(base.connections.iter().map(|c| (c.id.as_str(), c)));
        let mut upserts = Vec::new();
        for connection in &mut next.connections {
            let known = before.remove(connection.id.as_str());
            let same = known.filter(|known| *known == connection);
            if let Some(same) = same {
                *connection = Arc::clone(same);
            }
            if all || same.is_none() {
                upserts.push(Arc::clone(connection));
            }
        }
        let gone = base.connections.iter();
        let gone = gone.filter(|connection| before.contains_key(connection.id.as_str()));
        Self {
            removed: gone.cloned().collect(),
            base: Arc::clone(base),
            next: Arc::new(next),
            fields,
            upserts,
        }
    }

    /// The difference between the revision in force, given here, and the same next one. They
    /// are compared again if another revision was in force at the first comparison.
    #[must_use]
    pub fn since(self, base: &Arc<Revision>) -> Self {
        if Arc::ptr_eq(&self.base, base) {
            return self;
        }
        Self::between(base, Revision::clone(&self.next))
    }

    /// The revision that it leads to.
    #[must_use]
    pub const fn next(&self) -> &Arc<Revision> {
        &self.next
    }

    /// New and changed connections, in the order of the file. Where a change of the
    /// gateway itself concerns them, these are all that there are.
    #[must_use]
    pub fn upserts(&self) -> &[Arc<Connection>] {
        &self.upserts
    }

    /// Connections that are removed, as they were.
    #[must_use]
    pub fn removed(&self) -> &[Arc<Connection>] {
        &self.removed
    }
}

/// Whether the gateway's own options that differ change its connections' ends or the
/// treatment of their packets.
fn concerns_connections(old: &Gateway, new: &Gateway) -> bool {
    old.side != new.side
        || old.outside_addresses != new.outside_addresses
        || old.outside_mtu != new.outside_mtu
}
