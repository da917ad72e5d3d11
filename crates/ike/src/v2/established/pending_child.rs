//! A CHILD SA while it is negotiated, on either side (RFC 7296 sections 1.3.1, 2.9 and 2.17).

use vgw_crypto::{EspSuite, Group};
use vgw_sa::TrafficSelector;

use super::child::NewChild;
use super::key_exchange::PreparedKey;
use crate::core::env::Env;
use crate::peer::config::PeerConfig;
use crate::peer::selector::{self};
use crate::v2::channel::keys::ChildKeys;
use crate::v2::messages::{ChildOffer, Notifies};
use crate::v2::proposal;
use crate::v2::wire::{Notify, NotifyType, Proposal};

/// A CHILD SA that we asked for.
pub(crate) struct PendingChild {
    /// Its inbound SPI at our end.
    pub spi_in: u32,
    /// Ni.
    pub nonce: Vec<u8>,
    /// Our part of the key exchange; None without PFS.
    pub key: Option<PreparedKey>,
    offered: Vec<Proposal>,
    local_selectors: Vec<TrafficSelector>,
    remote_selectors: Vec<TrafficSelector>,
}

/// A CHILD SA that we refuse: the notification for the peer, and the reason for our log.
pub(crate) struct RefusedChild {
    pub notify: Notify,
    pub why: String,
}

impl RefusedChild {
    pub(super) fn new(kind: NotifyType, why: impl ToString) -> Self {
        Self {
            notify: Notify::new(kind, Vec::new()),
            why: why.to_string(),
        }
    }
}

/// What a responder agreed to, before there are keys.
pub(crate) struct Terms {
    pub suite: EspSuite,
    pub group: Option<Group>,
    pub spi_out: u32,
    pub answer: Proposal,
    pub local_selectors: Vec<TrafficSelector>,
    pub remote_selectors: Vec<TrafficSelector>,
}

/// As responder, selects from the peer's offer what our configuration allows.
pub(crate) fn agree_terms(
    config: &PeerConfig,
    sa: &[Proposal],
    (ts_i, ts_r): (&[TrafficSelector], &[TrafficSelector]),
    with_groups: bool,
) -> Result<Terms, RefusedChild> {
    let choice = proposal::select_esp(&config.esp, sa, with_groups).map_err(|mismatch| {
        let hint = if mismatch.is_about_groups() {
            "; the two ends differ about PFS, which only rekeys use"
        } else {
            ""
        };
        RefusedChild::new(NotifyType::NO_PROPOSAL_CHOSEN, format!("{mismatch}{hint}"))
    })?;
    let unacceptable = |side: &str, e: selector::Unacceptable| {
        let why = format!("{side}: {e}; {}", config.network_advice);
        RefusedChild::new(NotifyType::TS_UNACCEPTABLE, why)
    };
    let remote_selectors = selector::narrow(ts_i, &config.remote_selectors)
        .map_err(|e| unacceptable("traffic selectors of the peer's side", e))?;
    let local_selectors = selector::narrow(ts_r, &config.local_selectors)
        .map_err(|e| unacceptable("traffic selectors of our side", e))?;
    Ok(Terms {
        suite: choice.suite,
        group: choice.group,
        spi_out: choice.spi,
        answer: choice.answer,
        local_selectors,
        remote_selectors,
    })
}

impl Terms {
    /// The proposal of the answer, with our SPI.
    pub(crate) fn answer_with(&self, spi_in: u32) -> Vec<Proposal> {
        vec![Proposal {
            spi: spi_in.to_be_bytes().to_vec(),
            ..self.answer.clone()
        }]
    }

    /// The CHILD SA at the responder.
    pub(crate) fn into_child(
        self,
        spi_in: u32,
        keys: ChildKeys,
        replaces: Option<u32>,
    ) -> NewChild {
        NewChild {
            spi_in,
            spi_out: self.spi_out,
            suite: self.suite,
            keys_in: keys.from_initiator,
            keys_out: keys.from_responder,
            local_selectors: self.local_selectors,
            remote_selectors: self.remote_selectors,
            replaces,
        }
    }
}

/// The CHILD SA that a response describes: SAr2, TSi and TSr.
pub(crate) struct Answer<'a> {
    pub sa: &'a [Proposal],
    pub ts_i: &'a [TrafficSelector],
    pub ts_r: &'a [TrafficSelector],
}

impl PendingChild {
    /// A CHILD SA to ask for, with PFS if there is a key pair. Without `selectors`, the configured
    /// ones are proposed. None if no SPI is left or there are no random numbers.
    pub(crate) fn new(
        env: &mut Env<'_>,
        config: &PeerConfig,
        selectors: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
        key: Option<PreparedKey>,
    ) -> Option<Self> {
        let (local_selectors, remote_selectors) = selectors.unwrap_or_else(|| {
            let all = |nets: &[ipnet::IpNet]| nets.iter().copied().map(Into::into).collect();
            (all(&config.local_selectors), all(&config.remote_selectors))
        });
        let nonce = env.nonce()?;
        let spi_in = env.allocate_spi()?;
        Some(Self {
            spi_in,
            nonce,
            offered: proposal::offer_esp(&config.esp, spi_in, key.is_some()),
            key,
            local_selectors,
            remote_selectors,
        })
    }

    /// SAi2, TSi and TSr.
    pub(crate) fn terms(&self) -> (Vec<Proposal>, Vec<TrafficSelector>, Vec<TrafficSelector>) {
        (
            self.offered.clone(),
            self.local_selectors.clone(),
            self.remote_selectors.clone(),
        )
    }

    pub(super) fn offer(&self) -> ChildOffer {
        let (sa, ts_i, ts_r) = self.terms();
        ChildOffer {
            sa,
            nonce: self.nonce.clone(),
            ke: self.key.as_ref().map(PreparedKey::payload),
            ts_i,
            ts_r,
            notifies: Notifies::default(),
        }
    }

    /// As initiator, checks that the answer selects from what we offered.
    pub(crate) fn accept(&self, answer: &Answer<'_>) -> Result<proposal::EspChoice, String> {
        let choice = proposal::accept_esp(&self.offered, answer.sa).map_err(|e| e.to_string())?;
        selector::check_narrowed(&self.local_selectors, answer.ts_i)
            .map_err(|e| format!("traffic selectors of our side: {e}"))?;
        selector::check_narrowed(&self.remote_selectors, answer.ts_r)
            .map_err(|e| format!("traffic selectors of the peer's side: {e}"))?;
        Ok(choice)
    }

    /// The CHILD SA at the initiator.
    pub(crate) fn into_child(
        self,
        choice: &proposal::EspChoice,
        answer: &Answer<'_>,
        keys: ChildKeys,
        replaces: Option<u32>,
    ) -> NewChild {
        NewChild {
            spi_in: self.spi_in,
            spi_out: choice.spi,
            suite: choice.suite,
            keys_in: keys.from_responder,
            keys_out: keys.from_initiator,
            local_selectors: answer.ts_i.to_vec(),
            remote_selectors: answer.ts_r.to_vec(),
            replaces,
        }
    }
}
