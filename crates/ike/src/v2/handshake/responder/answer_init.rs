//! IKE_SA_INIT as responder: selects from the offer.

use vgw_crypto::{Group, IkeSuite, check_public};

use crate::core::drop_reason::DropReason;
use crate::peer::config::Encapsulation;
use crate::peer::peers::{AlikePeers, Peers};
use crate::v2::channel::keys::SpiPair;
use crate::v2::channel::window::INIT_ID;
use crate::v2::established::demand_group;
use crate::v2::handshake::nat::{AddressPair, NatDetection};
use crate::v2::messages::IkeOffer;
use crate::v2::proposal::{permits, select_for_several};
use crate::v2::refusal::{NoProposal, RefusalReason};
use crate::v2::wire::{ExchangeType, Header, Notify, NotifyType, Proposal};

/// Why an IKE_SA_INIT is refused or dropped.
pub(crate) enum InitRefusal {
    /// The request is dropped without an answer.
    Dropped(DropReason),
    /// The request is refused with an answer.
    Answered {
        reason: DropReason,
        /// The answer; it is in clear, so it holds no more than the RFC's number.
        notify: Notify,
        /// For our log. None if the refusal is part of a usual handshake.
        why: Option<RefusalReason>,
    },
}

impl InitRefusal {
    pub(super) fn answered(reason: DropReason, kind: NotifyType, why: RefusalReason) -> Self {
        Self::Answered {
            reason,
            notify: Notify::new(kind, Vec::new()),
            why: Some(why),
        }
    }
}

/// The result of comparing an offer with what our peers accept.
pub(crate) struct OfferSelection {
    /// How many of our lists it was compared with.
    pub lists: usize,
    pub result: Result<SelectedOffer, InitRefusal>,
}

/// An offer from which we selected.
pub(crate) struct SelectedOffer {
    pub(super) offer: IkeOffer,
    pub(super) suite: IkeSuite,
    pub(super) answer: Proposal,
    pub(super) pretend: bool,
}

/// An offer that passed every check that needs no key exchange.
pub(crate) struct CheckedOffer {
    pub(super) accepted: SelectedOffer,
    pub(super) at: AddressPair,
    pub(super) spi_i: u64,
    pub(super) nat_detection: NatDetection,
}

/// Selects the suite that most of the possible peers accept. Only IKE_AUTH shows which of them it
/// is.
pub(crate) fn select(peers: &Peers, at: AddressPair, offer: IkeOffer) -> OfferSelection {
    let (local, remote) = (at.local.ip(), at.remote.ip());
    let counted = peers.counted(local, remote);
    let lists: Vec<_> = counted.iter().map(|(alike, n)| (&alike.ike, *n)).collect();
    if let Some(choice) = select_for_several(&offer.sa, &lists) {
        let accepted = SelectedOffer {
            suite: choice.suite,
            answer: choice.answer,
            pretend: should_pretend(&counted, choice.suite),
            offer,
        };
        return OfferSelection {
            lists: lists.len(),
            result: Ok(accepted),
        };
    }
    // A peer that was taken down by hand is possible, and a refusal would make it give up.
    if peers.silenced_at(local, remote).is_some() {
        return OfferSelection {
            lists: lists.len(),
            result: Err(InitRefusal::Dropped(DropReason::TakenDown)),
        };
    }
    let refused = match peers.expected(local, remote).next() {
        Some(first) => {
            let why = NoProposal {
                offered: offer.sa,
                accepted: first.ike.clone(),
                candidate: first.name.clone(),
                others: peers.candidates(local, remote).saturating_sub(1),
            };
            let why = RefusalReason::NoProposal(Box::new(why));
            InitRefusal::answered(DropReason::NoProposal, NotifyType::NO_PROPOSAL_CHOSEN, why)
        }
        None => {
            let why = RefusalReason::NoPeer(local);
            InitRefusal::answered(DropReason::NoPeer, NotifyType::NO_PROPOSAL_CHOSEN, why)
        }
    };
    OfferSelection {
        lists: lists.len(),
        result: Err(refused),
    }
}

/// Whether to pretend that there is a NAT before us, so that ESP is encapsulated in UDP. We must
/// decide before we know the peer. So we count, for either encapsulation, the possible peers that
/// accept the suite.
fn should_pretend(counted: &[(&AlikePeers, u64)], suite: IkeSuite) -> bool {
    let wishing = |wish: &dyn Fn(Encapsulation) -> bool| {
        counted
            .iter()
            .filter(|(alike, _)| wish(alike.encapsulation) && permits(&alike.ike, suite))
            .fold(0, |all: u64, (_, n)| all.saturating_add(*n))
    };
    let udp = wishing(&Encapsulation::pretends);
    udp > 0 && udp >= wishing(&|wanted| wanted == Encapsulation::Native)
}

impl SelectedOffer {
    /// Makes every check that needs no key exchange.
    pub(crate) fn check(self, at: AddressPair, spi_i: u64) -> Result<CheckedOffer, InitRefusal> {
        let group = self.suite.group;
        let (remote, suite) = (at.remote, self.suite);
        tracing::debug!(%remote, %suite, "{remote}: selected {suite}");
        if self.offer.ke.group != group.iana() {
            return Err(InitRefusal::Answered {
                reason: DropReason::OtherGroup,
                notify: demand_group(group),
                why: None,
            });
        }
        let request_spis = SpiPair {
            initiator: spi_i,
            responder: 0,
        };
        let nat_detection = NatDetection::from(&self.offer.notifies, request_spis, at);
        if let Err(error) = check_public(group, &self.offer.ke.data) {
            let why = error.to_string().into();
            let kind = NotifyType::INVALID_SYNTAX;
            return Err(InitRefusal::answered(DropReason::BadPublicValue, kind, why));
        }
        Ok(CheckedOffer {
            accepted: self,
            at,
            spi_i,
            nat_detection,
        })
    }
}

impl CheckedOffer {
    /// The group of the key exchange to come.
    pub(crate) fn group(&self) -> Group {
        self.accepted.suite.group
    }
}

/// The header of an answer to IKE_SA_INIT.
pub(crate) fn init_response_header(spi_i: u64, spi_r: u64) -> Header {
    Header {
        spi_i,
        spi_r,
        exchange: ExchangeType::IKE_SA_INIT,
        initiator: false,
        response: true,
        message_id: INIT_ID,
    }
}
