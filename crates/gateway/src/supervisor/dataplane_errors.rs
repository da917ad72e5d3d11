//! Commands that the data plane refused.

use std::time::Instant;

use vgw_sa::TunnelId;

use super::Supervisor;
use crate::command::RefusedCommand;

impl Supervisor {
    /// The data plane refused a command, for this reason. The IKE SA concerned is deleted
    /// and the tunnel comes up with a new one: half installed, it would look up at both
    /// ends and lose packets.
    pub fn handle_refused_command(&mut self, now: Instant, refused: RefusedCommand, why: &str) {
        let id = match refused {
            RefusedCommand::Install(spi_in) => {
                self.outbox.forget(spi_in);
                self.spis.get(&spi_in).copied()
            }
            RefusedCommand::Use(spi_in) => self.spis.get(&spi_in).copied(),
            RefusedCommand::Path(id) => Some(id),
        };
        if let Some(id) = id {
            self.end_refused(now, id, refused, why);
        }
        self.settle(now);
    }

    fn end_refused(&mut self, now: Instant, id: TunnelId, refused: RefusedCommand, why: &str) {
        let recovers = self.revision.own().initiate_to_recover;
        let Some(tunnel) = self.touch(id) else {
            return;
        };
        let sa = match refused {
            RefusedCommand::Install(spi_in) => tunnel.sas.not_installed(spi_in),
            RefusedCommand::Use(spi_in) => tunnel.sas.child_mut(spi_in).map(|child| child.sa),
            RefusedCommand::Path(_) => tunnel.sas.keeper(),
        };
        tunnel.changes_refused += 1;
        let why = format!("the data plane refused a change: {why}");
        tunnel.warn(now, None, || why.clone());
        tunnel.note_error(now, why);
        if let Some(sa) = sa {
            if recovers {
                tunnel.initiate_until_up();
            }
            self.endpoint.delete(now, sa);
        }
    }
}
