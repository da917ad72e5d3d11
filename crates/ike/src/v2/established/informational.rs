//! INFORMATIONAL exchanges: deletes and liveness checks (RFC 7296 section 1.4).

use super::child::ChildPhase;
use super::create_child::AFTER_DELETE;
use super::reply::AfterReply;
use super::tasks::RequestInFlight;
use super::{Established, Reply};
use crate::core::env::Env;
use crate::core::event::{Diagnostic, DownReason, PeerErrors};
use crate::v2::handshake::auth_failure::refused_by_initiator;
use crate::v2::messages::Informational;
use crate::v2::wire::{Delete, Notify, NotifyType, Payload, ProtocolId};

impl Informational {
    /// Whether it deletes CHILD SAs.
    pub(super) fn names_children(&self) -> bool {
        self.deletes
            .iter()
            .any(|delete| matches!(delete, Delete::Child { .. }))
    }
}

/// The request that deletes the IKE SA.
pub(super) fn delete_ike() -> (RequestInFlight, Vec<Payload>) {
    (
        RequestInFlight::DeleteIke,
        vec![Payload::Delete(Delete::Ike)],
    )
}

/// Like [`delete_ike`], to a responder that we do not accept.
pub(super) fn unauthenticated() -> (RequestInFlight, Vec<Payload>) {
    let why = Notify::new(NotifyType::AUTHENTICATION_FAILED, Vec::new());
    let payloads = vec![Payload::Notify(why), Payload::Delete(Delete::Ike)];
    (RequestInFlight::DeleteIke, payloads)
}

/// The request that deletes the CHILD SA with this inbound SPI.
pub(super) fn delete_child(spi_in: u32) -> (RequestInFlight, Vec<Payload>) {
    (
        RequestInFlight::DeleteChild(spi_in),
        vec![Payload::Delete(esp([spi_in].to_vec()))],
    )
}

/// The empty request that checks liveness.
pub(super) fn liveness() -> (RequestInFlight, Vec<Payload>) {
    (RequestInFlight::Liveness, Vec::new())
}

fn esp(spis: Vec<u32>) -> Delete {
    Delete::Child {
        protocol: ProtocolId::ESP,
        spis,
    }
}

impl Established {
    pub(super) fn answer_informational(
        &mut self,
        env: &mut Env<'_>,
        request: Informational,
    ) -> Reply {
        self.keep_token(&request.notifies);
        if let Some(errors) = PeerErrors::among(&request.notifies.0) {
            self.diagnose(env, Diagnostic::PeerErrors(errors));
        }
        // RFC 7296 section 2.21.2: an initiator that does not accept our AUTH may say so without a
        // Delete payload; the IKE SA ends too.
        let authentication = request.notifies.has(NotifyType::AUTHENTICATION_FAILED);
        if authentication || request.deletes.contains(&Delete::Ike) {
            return self.deleted_by_peer(env, authentication);
        }
        let ours: Vec<u32> = request
            .deletes
            .iter()
            .flat_map(|delete| match delete {
                Delete::Child { protocol, spis } if *protocol == ProtocolId::ESP => spis.as_slice(),
                Delete::Child { .. } | Delete::Ike => &[],
            })
            .filter_map(|&spi_out| self.child_deleted_by_peer(env, spi_out))
            .collect();
        if ours.is_empty() {
            return Reply::new(Vec::new());
        }
        Reply::new(vec![Payload::Delete(esp(ours))])
    }

    /// RFC 7296 section 2.25.2: answered as usual, whatever request of ours is waiting.
    fn deleted_by_peer(&mut self, env: &mut Env<'_>, authentication: bool) -> Reply {
        if let Some(RequestInFlight::RekeyIke {
            collision: Some(collision),
            ..
        }) = &self.in_flight
        {
            // The peer deletes the old SA, so its own new one survives.
            let new = collision.peers_sa;
            self.undecided_gone(new);
            self.be_replaced(env, new);
        }
        let reason = if authentication {
            DownReason::AuthenticationFailed(refused_by_initiator(
                &self.config,
                self.peers_id_r.as_deref(),
            ))
        } else {
            DownReason::PeerDeleted
        };
        Reply {
            payloads: Vec::new(),
            then: AfterReply::End(reason),
        }
    }

    /// The peer deletes the CHILD SA that it receives with `spi_out`. Returns our inbound SPI of
    /// it, to be named in the answer.
    fn child_deleted_by_peer(&mut self, env: &mut Env<'_>, spi_out: u32) -> Option<u32> {
        let child = self.child_by_peer_spi(spi_out)?;
        let spi_in = child.spi_in;
        match child.phase {
            ChildPhase::Live if self.is_colliding(spi_in) => {
                self.colliding_child_gone(env, spi_in);
                Some(spi_in)
            }
            ChildPhase::Live => {
                self.remove_child(env, spi_in, DownReason::PeerDeleted);
                self.restore_child(env, AFTER_DELETE);
                Some(spi_in)
            }
            ChildPhase::Replaced { .. } | ChildPhase::Redundant { .. } => {
                self.linger(env, spi_in);
                Some(spi_in)
            }
            // RFC 7296 section 1.4.1: when deletes cross, neither answer names the SA. A lingering
            // CHILD SA is not found above.
            ChildPhase::Deleting | ChildPhase::Lingering { .. } => None,
        }
    }

    pub(super) fn finish_informational(
        &mut self,
        env: &mut Env<'_>,
        in_flight: RequestInFlight,
        response: &Informational,
    ) {
        if response.notifies.has(NotifyType::INVALID_SYNTAX) {
            let reason = DownReason::Refused("the peer answered INVALID_SYNTAX".to_owned());
            return self.close(env, reason, false);
        }
        match in_flight {
            RequestInFlight::DeleteIke => self.close(env, DownReason::Requested, false),
            RequestInFlight::DeleteChild(spi_in) => self.linger(env, spi_in),
            RequestInFlight::Liveness | RequestInFlight::Abandoned => {}
            // These are requests of another exchange, which the caller has checked.
            RequestInFlight::CreateChild(_)
            | RequestInFlight::RekeyChild { .. }
            | RequestInFlight::RekeyIke { .. }
            | RequestInFlight::AbandonedCreate => {}
        }
    }
}
