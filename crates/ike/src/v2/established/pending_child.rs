//! What a CHILD SA is made of while it is negotiated, for either side
//! (RFC 7296 sections 1.3.1, 2.9 and 2.17).

use vgw_crypto::{EspSuite, Group, KeyPair, Secret};
use vgw_sa::TrafficSelector;

use super::child::NewChild;
use crate::core::env::Env;
use crate::peer::config::PeerConfig;
use crate::peer::selector::{self};
use crate::v2::channel::keys::ChildKeys;
use crate::v2::messages::{ChildOffer, Notifies};
use crate::v2::proposal;
use crate::v2::wire::{KeyExchange, Notify, NotifyType, Proposal};

/// INVALID_KE_PAYLOAD may send us from group to group this often.
pub(super) const MAX_GROUP_CHANGES: u8 = 3;

/// A CHILD SA that we asked for. `K` is the key pair, or its private value as plain data.
pub(crate) struct PendingChild<K = KeyPair> {
    /// Our inbound SPI of it.
    pub spi_in: u32,
    /// Ni.
    pub nonce: Vec<u8>,
    /// With PFS.
    pub key_pair: Option<K>,
    offered: Vec<Proposal>,
    local_selectors: Vec<TrafficSelector>,
    remote_selectors: Vec<TrafficSelector>,
    group_changes: u8,
}

/// Why a CHILD SA does not come to be: the notification, and the reason in words.
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

/// What a responder agrees to, before keys.
pub(crate) struct Terms {
    pub suite: EspSuite,
    pub group: Option<Group>,
    pub spi_out: u32,
    pub answer: Proposal,
    pub local_selectors: Vec<TrafficSelector>,
    pub remote_selectors: Vec<TrafficSelector>,
}

/// Selects, as responder, by our configuration from what the peer offers.
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
    /// The proposal to answer with, with our SPI in it.
    pub(crate) fn answer_with(&self, spi_in: u32) -> Vec<Proposal> {
        vec![Proposal {
            spi: spi_in.to_be_bytes().to_vec(),
            ..self.answer.clone()
        }]
    }

    /// The CHILD SA, seen from the responder of its exchange.
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

/// What a response says of a CHILD SA that we asked for.
pub(crate) struct Answer<'a> {
    pub sa: &'a [Proposal],
    pub ts_i: &'a [TrafficSelector],
    pub ts_r: &'a [TrafficSelector],
}

impl PendingChild {
    /// What to ask for. None when no SPI is left, or no random number is had.
    pub(crate) fn new(
        env: &mut Env<'_>,
        config: &PeerConfig,
        selectors: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
        with_groups: bool,
    ) -> Option<Self> {
        let group = config.esp.groups.first().filter(|_| with_groups);
        let key_pair = match group {
            Some(&group) => Some(env.key_pair(group)?),
            None => None,
        };
        let (local_selectors, remote_selectors) = selectors.unwrap_or_else(|| {
            let all = |nets: &[ipnet::IpNet]| nets.iter().copied().map(Into::into).collect();
            (all(&config.local_selectors), all(&config.remote_selectors))
        });
        let nonce = env.nonce()?;
        let spi_in = env.allocate_spi()?;
        Some(Self {
            spi_in,
            nonce,
            key_pair,
            offered: proposal::offer_esp(&config.esp, spi_in, with_groups),
            local_selectors,
            remote_selectors,
            group_changes: 0,
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
            ke: self.key_pair.as_ref().map(public),
            ts_i,
            ts_r,
            notifies: Notifies::default(),
        }
    }

    /// Checks, as initiator, that the answer is one of what we offered.
    pub(crate) fn accept(&self, answer: &Answer<'_>) -> Result<proposal::EspChoice, String> {
        let choice = proposal::accept_esp(&self.offered, answer.sa).map_err(|e| e.to_string())?;
        selector::check_narrowed(&self.local_selectors, answer.ts_i)
            .map_err(|e| format!("traffic selectors of our side: {e}"))?;
        selector::check_narrowed(&self.remote_selectors, answer.ts_r)
            .map_err(|e| format!("traffic selectors of the peer's side: {e}"))?;
        Ok(choice)
    }

    /// The CHILD SA, seen from the initiator of its exchange.
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

    /// Takes another group, as the peer demands by INVALID_KE_PAYLOAD
    /// (RFC 7296 section 1.3). False when the demand is not one of our groups,
    /// or one too many.
    pub(super) fn take_group(
        &mut self,
        env: &mut Env<'_>,
        config: &PeerConfig,
        demanded: Option<Group>,
    ) -> bool {
        let allowed = demanded.filter(|group| {
            self.group_changes < MAX_GROUP_CHANGES && config.esp.groups.contains(group)
        });
        let Some(key_pair) = allowed.and_then(|group| env.key_pair(group)) else {
            return false;
        };
        self.key_pair = Some(key_pair);
        self.group_changes += 1;
        true
    }
}

impl<K> PendingChild<K> {
    /// The same with another form of the key pair.
    pub(super) fn map_key<L>(self, map: impl FnOnce(K) -> Option<L>) -> Option<PendingChild<L>> {
        Some(PendingChild {
            spi_in: self.spi_in,
            nonce: self.nonce,
            key_pair: match self.key_pair {
                Some(key_pair) => Some(map(key_pair)?),
                None => None,
            },
            offered: self.offered,
            local_selectors: self.local_selectors,
            remote_selectors: self.remote_selectors,
            group_changes: self.group_changes,
        })
    }
}

/// The KE payload of a key pair.
pub(crate) fn public(pair: &KeyPair) -> KeyExchange {
    KeyExchange {
        group: pair.group().iana(),
        data: pair.public().to_vec(),
    }
}

/// The group that an INVALID_KE_PAYLOAD demands (RFC 7296 section 1.2).
pub(crate) fn demanded_group(notify: &Notify) -> Option<Group> {
    Group::from_iana(demanded(notify)?)
}

/// Its number, whether we have that group or not.
pub(crate) fn demanded(notify: &Notify) -> Option<u16> {
    let octets: [u8; 2] = notify.data.as_slice().try_into().ok()?;
    Some(u16::from_be_bytes(octets))
}

/// INVALID_KE_PAYLOAD that demands a group.
pub(crate) fn demand_group(group: Group) -> Notify {
    Notify::new(
        NotifyType::INVALID_KE_PAYLOAD,
        group.iana().to_be_bytes().to_vec(),
    )
}

/// The secret shared with the responder that selected `group`.
pub(super) fn agree_on(
    ours: Option<KeyPair>,
    group: Option<Group>,
    theirs: Option<&KeyExchange>,
) -> Result<Option<Secret>, String> {
    match (group, ours, theirs) {
        (None, _, _) => Ok(None),
        (Some(group), Some(pair), Some(theirs))
            if pair.group() == group && theirs.group == group.iana() =>
        {
            pair.agree(&theirs.data)
                .map(Some)
                .map_err(|e| e.to_string())
        }
        (Some(group), pair, theirs) => Err(format!(
            "the peer selected group {group} and sent a public value of {}, expected that of group {}",
            theirs.map_or("none".to_owned(), |ke| format!("group {}", ke.group)),
            pair.map_or("none".to_owned(), |pair| pair.group().to_string()),
        )),
    }
}
