//! The key exchange of CREATE_CHILD_SA (RFC 7296 section 1.3) on either side. Private values are kept
//! as plain data.

use vgw_crypto::{Group, KeyExchangeError, PrivateKey, Secret, check_public};

use super::reply::Reply;
use crate::core::env::Env;
use crate::core::job::Response;
use crate::v2::wire::{KeyExchange, Notify, NotifyType};

/// INVALID_KE_PAYLOAD may send us from group to group this often.
const MAX_GROUP_CHANGES: u8 = 3;

/// A private value, from which a job gets its private key.
#[derive(Debug)]
pub(crate) struct PrivateValue {
    group: Group,
    value: Secret,
}

impl PrivateValue {
    pub(super) fn of(key: &PrivateKey) -> Self {
        Self {
            group: key.group(),
            value: key.value(),
        }
    }

    /// The private key. None if the value is not one of the group.
    pub(super) fn key(&self) -> Option<PrivateKey> {
        PrivateKey::restore(self.group, &self.value)
    }
}

/// A key pair made for a request of ours.
#[derive(Debug)]
pub(crate) struct PreparedKey {
    pub(super) private: PrivateValue,
    pub(super) public: Vec<u8>,
    /// How often the peer demanded another group for this request.
    pub(super) group_changes: u8,
}

impl PreparedKey {
    pub(super) fn group(&self) -> Group {
        self.private.group
    }

    /// The KE payload.
    pub(super) fn payload(&self) -> KeyExchange {
        KeyExchange {
            group: self.group().iana(),
            data: self.public.clone(),
        }
    }

    /// The group that a refusal demands by INVALID_KE_PAYLOAD (RFC 7296 section 1.3). None if it is
    /// not one of `ours`, or one too many.
    pub(super) fn other_group(&self, refusal: &Notify, ours: &[Group]) -> Option<Group> {
        demanded_group(refusal).filter(|group| {
            refusal.kind == NotifyType::INVALID_KE_PAYLOAD
                && self.group_changes < MAX_GROUP_CHANGES
                && ours.contains(group)
        })
    }
}

/// The secret shared with the responder of our request, or why there is none.
pub(super) type Shared = Result<Secret, KeyExchangeError>;

/// The secret shared with a responder that selected this group and sent `theirs`. `ours` is the group
/// of our public value.
pub(super) fn agree_on(
    ours: Option<Group>,
    selected: Group,
    theirs: Option<&KeyExchange>,
    shared: Option<Shared>,
) -> Result<Secret, String> {
    match shared {
        Some(shared) if ours == Some(selected) => shared.map_err(|error| error.to_string()),
        _ => Err(format!(
            "the peer selected group {selected} and sent a public value of {}, \
             expected that of group {}",
            theirs.map_or("none".to_owned(), |ke| format!("group {}", ke.group)),
            ours.map_or("none".to_owned(), |ours| ours.to_string()),
        )),
    }
}

/// Why a request of the peer is not agreed to.
pub(super) enum NotAgreed {
    Refused(Reply),
    /// The key exchange has to be computed first.
    NotComputed {
        ours: Box<PrivateKey>,
        theirs: Vec<u8>,
    },
}

impl From<Reply> for NotAgreed {
    fn from(reply: Reply) -> Self {
        Self::Refused(reply)
    }
}

/// Our part of the key exchange with the initiator that sent `theirs`.
pub(super) fn respond_key_exchange(
    env: &mut Env<'_>,
    group: Group,
    theirs: &KeyExchange,
    computed: Option<Response>,
) -> Result<(KeyExchange, Secret), NotAgreed> {
    if let Some(Response { public, shared }) = computed {
        let ke = KeyExchange {
            group: group.iana(),
            data: public,
        };
        return Ok((ke, shared));
    }
    // Before anything is computed that a useless value would waste.
    check_public(group, &theirs.data).map_err(|error| Reply::syntax(&error))?;
    let Some(ours) = env.private_key(group) else {
        return Err(Reply::error(NotifyType::TEMPORARY_FAILURE).into());
    };
    Err(NotAgreed::NotComputed {
        ours: Box::new(ours),
        theirs: theirs.data.clone(),
    })
}

/// The group that INVALID_KE_PAYLOAD demands (RFC 7296 section 1.2), if we know it.
pub(crate) fn demanded_group(notify: &Notify) -> Option<Group> {
    Group::from_iana(demanded(notify)?)
}

/// The number of the group that INVALID_KE_PAYLOAD demands, whether we know that group or not.
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
