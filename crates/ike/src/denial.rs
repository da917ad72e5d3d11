//! What becomes of messages of peers that have not authenticated, where no IKE SA
//! comes of them; every one is counted.

macro_rules! denials {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal, )+) => {
        /// Why a message of somebody not authenticated came to nothing, or a
        /// half-open IKE SA to its end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Denial { $( $(#[$meta])* $variant, )+ }

        impl Denial {
            /// Every one, in the order of the counters.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name in status and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }
        }
    };
}

denials! {
    /// Not an IKEv2 message.
    Malformed = "malformed",
    /// An IKEv1 message.
    IkeV1 = "ike_v1",
    /// Of no IKE SA that we have.
    UnknownSa = "unknown_sa",
    /// Not what can be awaited at this point of a handshake.
    OutOfPlace = "out_of_place",
    /// An IKE_SA_INIT whose payloads the RFC does not allow; answered.
    BadRequest = "bad_request",
    /// A cookie was asked for (RFC 7296 section 2.6).
    CookieAsked = "cookie_asked",
    /// The cookie is none of ours, too old, or another's; a new one was asked for.
    CookieWrong = "cookie_wrong",
    /// The cookie was used too often.
    CookieSpent = "cookie_spent",
    /// The sender, or all strangers together, cost too much lately.
    OverBudget = "over_budget",
    /// Of a peer that is to get no answer: its tunnel was taken down by hand.
    TakenDown = "taken_down",
    /// No peer is configured for the addresses; answered.
    NoPeer = "no_peer",
    /// No proposal is acceptable, or the NAT on the way is not; answered.
    NoProposal = "no_proposal",
    /// Another key exchange group was asked for.
    OtherGroup = "other_group",
    /// The public value is not one of its group; answered.
    BadPublicValue = "bad_public_value",
    /// No place for another half-open IKE SA.
    HalfOpenFull = "half_open_full",
    /// There were no random numbers to go on with.
    NoRandomNumbers = "no_random_numbers",
    /// A half-open IKE SA gave its place to another.
    HalfOpenEvicted = "half_open_evicted",
    /// A half-open IKE SA whose peer did not authenticate in time.
    HalfOpenExpired = "half_open_expired",
    /// An IKE_AUTH that does not open with the handshake's keys.
    NotAuthentic = "not_authentic",
    /// IKE_AUTH refused; answered.
    AuthFailed = "auth_failed",
    /// An IKE_AUTH not looked at yet, because too many failed before it.
    AuthHeld = "auth_held",
}

/// How often each happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Denials([u64; Denial::ALL.len()]);

impl Denials {
    /// How often this one happened.
    #[must_use]
    pub fn get(&self, denial: Denial) -> u64 {
        let mut counted = Denial::ALL.iter().zip(self.0);
        counted
            .find(|(of, _)| **of == denial)
            .map_or(0, |(_, count)| count)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Denial::ALL.iter().map(|denial| denial.name());
        names.zip(self.0)
    }

    pub(crate) fn count(&mut self, denial: Denial) {
        let mut counters = Denial::ALL.iter().zip(&mut self.0);
        if let Some((_, counter)) = counters.find(|(of, _)| **of == denial) {
            *counter += 1;
        }
    }
}
