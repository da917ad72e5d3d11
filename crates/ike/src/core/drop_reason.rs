//! Why IKE messages are dropped or refused: every reason has a name and is counted.
//!
//! A reason that is logged nowhere else also has a sentence, which the supervisor writes
//! and shows as often as its limits allow. The others are expected now and then, or their
//! refusal is logged.

macro_rules! drop_reasons {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal $(, $sentence:literal)?; )+) => {
        /// Why a message was dropped or refused, or a half-open IKE SA given up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason { $( $(#[$meta])* $variant, )+ }

        impl DropReason {
            /// Every one, in the order of the counters.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name in status and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What an operator should know of it, in one sentence; None where it is
            /// expected now and then, or said by a refusal.
            #[must_use]
            pub const fn sentence(self) -> Option<&'static str> {
                let sentence: &str = match self {
                    $( Self::$variant => concat!($($sentence)?), )+
                };
                if sentence.is_empty() { None } else { Some(sentence) }
            }
        }
    };
}

drop_reasons! {
    /// Not an IKE message, or one that is cut off.
    Malformed = "malformed",
        "it is no IKEv2 message, or a damaged one";
    /// Of IKE version 1 (RFC 2409). It is not answered: there is nothing that its sender
    /// would understand.
    IkeV1 = "ike_v1",
        "the peer speaks IKEv1: this gateway speaks IKEv2 only; set the peer to IKEv2";
    /// Of another major version than 1 and 2.
    OtherVersion = "other_version",
        "its major version is not that of IKEv2";
    /// An IKE fragment (RFC 7383): we never say that we take them.
    Fragment = "fragment",
        "the peer sends IKE fragments (RFC 7383), which this gateway has not announced; switch \
         IKE fragmentation off at the peer";
    /// An IKE_SA_INIT longer than those that we read.
    TooLong = "too_long",
        "its IKE_SA_INIT is longer than 4,096 octets; have the peer offer fewer algorithms";
    /// A request of no IKE SA that we have.
    UnknownSa = "unknown_sa",
        "it names an IKE SA that this gateway does not have, or has no more";
    /// Not what can be awaited at this point.
    OutOfPlace = "out_of_place",
        "it is a request that has no place at this point of the exchange";
    /// A response to nothing that was asked, or asked again and answered since.
    NotAwaited = "not_awaited";
    /// A response to our first messages from another address than we asked.
    Elsewhere = "elsewhere",
        "it answers from another address than was asked";
    /// SPIs or Initiator flag are not those of the peer's messages (RFC 7296 section 3.1).
    WrongSpis = "wrong_spis",
        "its SPIs or its Initiator flag are not those of this IKE SA's peer";
    /// Not the message ID that is next (RFC 7296 section 2.3).
    WrongId = "wrong_id",
        "its message ID is neither the next one nor the last one";
    /// In clear where it must be encrypted.
    NotEncrypted = "not_encrypted",
        "it is not encrypted, as it has to be in its IKE SA";
    /// It says in clear that the peer has lost the IKE SA, without the token that would
    /// prove it (RFC 6290). The peer is asked.
    LossUnproved = "loss_unproved",
        "it says that the peer has lost the IKE SA, and does not prove it; the peer is being asked";
    /// A request that can be judged only when a collision of rekeys is over; the peer asks
    /// again.
    Undecided = "undecided";
    /// A request again whose answer is being computed; that answers this one too.
    BeingAnswered = "being_answered";
    /// An IKE_SA_INIT whose payloads the RFC does not allow; answered.
    BadRequest = "bad_request",
        "its IKE_SA_INIT is not as RFC 7296 has it";
    /// The same of the answer to ours, or its public value is of no use.
    BadResponse = "bad_response",
        "its answer to our IKE_SA_INIT is not as RFC 7296 has it, or its public value is of no use";
    /// An IKE_SA_INIT that differs from the one of the same sender and SPI under way.
    ChangedRequest = "changed_request",
        "it is another IKE_SA_INIT with the SPI of one that is under way";
    /// A cookie was asked for (RFC 7296 section 2.6).
    CookieAsked = "cookie_asked";
    /// The cookie is none of ours, too old, or another's; a new one was asked for.
    CookieWrong = "cookie_wrong",
        "the cookie that it returns is too old, or none of this gateway's";
    /// The cookie was used too often.
    CookieSpent = "cookie_spent",
        "the cookie that it returns was used too often";
    /// The sender, or all strangers together, cost too much lately.
    OverBudget = "over_budget",
        "too many handshakes lately, of this address or of all strangers; later ones are looked at";
    /// Of a peer that is to get no answer: its tunnel was taken down by hand.
    TakenDown = "taken_down";
    /// No peer is configured for the addresses; answered.
    NoPeer = "no_peer";
    /// No proposal is acceptable, or the NAT on the way is not; answered.
    NoProposal = "no_proposal";
    /// Another key exchange group was asked for.
    OtherGroup = "other_group";
    /// The public value is not one of its group; answered.
    BadPublicValue = "bad_public_value";
    /// No place for another half-open IKE SA.
    HalfOpenFull = "half_open_full",
        "too many handshakes are under way";
    /// There were no random numbers to go on with.
    NoRandomNumbers = "no_random_numbers";
    /// A half-open IKE SA gave its place to another.
    HalfOpenEvicted = "half_open_evicted",
        "its handshake gave its place to another: too many are under way";
    /// A half-open IKE SA whose peer did not authenticate in time.
    HalfOpenExpired = "half_open_expired",
        "IKE_SA_INIT was answered, and no IKE_AUTH came: UDP 4500 is closed on the way, or the \
         peer wants something that this gateway does not announce (childless initiation, \
         certificates); its log says";
    /// A message that does not open with its IKE SA's keys.
    NotAuthentic = "not_authentic",
        "it does not open with the keys of its IKE SA: damaged or forged on the way";
    /// IKE_AUTH refused; answered.
    AuthFailed = "auth_failed";
    /// An IKE_AUTH without a CHILD SA (RFC 6023), which we do not announce; answered by
    /// INVALID_SYNTAX.
    Childless = "childless";
    /// An IKE_AUTH not looked at yet, because too many failed before it.
    AuthHeld = "auth_held",
        "too many IKE_AUTH failed before; it is looked at when a minute has passed";
}

/// How often each happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCounts([u64; COUNT]);

const COUNT: usize = DropReason::ALL.len();

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl DropCounts {
    /// How often this one happened.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        let mut counted = DropReason::ALL.iter().zip(self.0);
        counted
            .find(|(of, _)| **of == reason)
            .map_or(0, |(_, count)| count)
    }

    /// How often any of them did.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What was counted after `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut after = *self;
        for (count, before) in after.0.iter_mut().zip(before.0) {
            *count = count.saturating_sub(before);
        }
        after
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = DropReason::ALL.iter().map(|reason| reason.name());
        names.zip(self.0)
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        let mut counters = DropReason::ALL.iter().zip(&mut self.0);
        if let Some((_, counter)) = counters.find(|(of, _)| **of == reason) {
            *counter += 1;
        }
    }
}
