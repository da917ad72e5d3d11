//! Why IKE messages are dropped or refused: every reason has a name and is counted.
//!
//! A reason that is logged nowhere else also has a sentence, which the supervisor logs as often as
//! its limits allow. The other reasons are expected now and then, or the refusal itself is logged.

macro_rules! drop_reasons {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal $(, $sentence:literal)?; )+) => {
        /// Why a message was dropped or refused, or a half-open IKE SA given up.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum DropReason { $( $(#[$meta])* $variant, )+ }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The name in status and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What an operator should know about this reason, in one sentence. None if it is
            /// expected now and then, or if a refusal is reported anyway.
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
    /// Not an IKE message, or a truncated one.
    Malformed = "malformed",
        "it is no IKEv2 message, or a damaged one";
    /// A message of IKE version 1 (RFC 2409). It is not answered, because its sender would not
    /// understand an IKEv2 answer.
    IkeV1 = "ike_v1",
        "the peer speaks IKEv1: this gateway speaks IKEv2 only; set the peer to IKEv2";
    /// A message of a major version other than 1 and 2.
    OtherVersion = "other_version",
        "its major version is not that of IKEv2";
    /// An IKE fragment (RFC 7383). We never announce that we support fragments.
    Fragment = "fragment",
        "the peer sends IKE fragments (RFC 7383), which this gateway has not announced; switch \
         IKE fragmentation off at the peer";
    /// An IKE_SA_INIT longer than we accept.
    TooLong = "too_long",
        "its IKE_SA_INIT is longer than 4,096 octets; have the peer offer fewer algorithms";
    /// A request for an IKE SA that we do not have.
    UnknownSa = "unknown_sa",
        "it names an IKE SA that this gateway does not have, or has no more";
    /// A message that the IKE SA does not expect in its present state.
    OutOfPlace = "out_of_place",
        "it is a request that has no place at this point of the exchange";
    /// A response to no request of ours, or to one that was answered already.
    NotAwaited = "not_awaited";
    /// A response to our first requests from another address than we sent them to.
    Elsewhere = "elsewhere",
        "it answers from another address than was asked";
    /// The SPIs or the Initiator flag are not those that the peer must send (RFC 7296 section 3.1).
    WrongSpis = "wrong_spis",
        "its SPIs or its Initiator flag are not those of this IKE SA's peer";
    /// The message ID is not the next one (RFC 7296 section 2.3).
    WrongId = "wrong_id",
        "its message ID is neither the next one nor the last one";
    /// A message in clear that must be encrypted.
    NotEncrypted = "not_encrypted",
        "it is not encrypted, as it has to be in its IKE SA";
    /// The message says in clear that the peer has lost the IKE SA, but without the token that
    /// would prove it (RFC 6290). We then check the peer's liveness.
    LossUnproved = "loss_unproved",
        "it says that the peer has lost the IKE SA, and does not prove it; the peer is being asked";
    /// A request that we can judge only after a collision of rekeys; the peer will repeat it.
    Undecided = "undecided";
    /// A repeated request whose answer is still being computed; that answer will serve both.
    BeingAnswered = "being_answered";
    /// An IKE_SA_INIT request whose payloads the RFC does not allow; answered.
    BadRequest = "bad_request",
        "its IKE_SA_INIT is not as RFC 7296 has it";
    /// An IKE_SA_INIT response that the RFC does not allow, or whose public value is invalid.
    BadResponse = "bad_response",
        "its answer to our IKE_SA_INIT is not as RFC 7296 has it, or its public value is of no use";
    /// An IKE_SA_INIT that differs from the one that the same sender began with the same SPI.
    ChangedRequest = "changed_request",
        "it is another IKE_SA_INIT with the SPI of one that is under way";
    /// A cookie was asked for (RFC 7296 section 2.6).
    CookieAsked = "cookie_asked";
    /// The cookie is not ours, too old, or made for another sender; we asked for a new one.
    CookieWrong = "cookie_wrong",
        "the cookie that it returns is too old, or none of this gateway's";
    /// The cookie was used too often.
    CookieSpent = "cookie_spent",
        "the cookie that it returns was used too often";
    /// The sender, or all strangers together, used up their share of our time.
    OverBudget = "over_budget",
        "too many handshakes lately, of this address or of all strangers; later ones are looked at";
    /// A message of a peer that we do not answer: its tunnel was taken down by hand.
    TakenDown = "taken_down";
    /// No peer is configured for the addresses; answered.
    NoPeer = "no_peer";
    /// No proposal is acceptable, or there is a NAT and we do not accept any; answered.
    NoProposal = "no_proposal";
    /// Another key exchange group was asked for.
    OtherGroup = "other_group";
    /// The public value is not one of its group; answered.
    BadPublicValue = "bad_public_value";
    /// There is no place for another half-open IKE SA.
    HalfOpenFull = "half_open_full",
        "too many handshakes are under way";
    /// There were no random numbers to continue with.
    NoRandomNumbers = "no_random_numbers";
    /// A half-open IKE SA gave its place to another.
    HalfOpenEvicted = "half_open_evicted",
        "its handshake gave its place to another: too many are under way";
    /// A half-open IKE SA whose peer did not authenticate in time.
    HalfOpenExpired = "half_open_expired",
        "IKE_SA_INIT was answered, and no IKE_AUTH came: UDP 4500 is closed on the way, or the \
         peer wants something that this gateway does not announce (childless initiation, \
         certificates); its log says";
    /// A message that the keys of its IKE SA do not open.
    NotAuthentic = "not_authentic",
        "it does not open with the keys of its IKE SA: damaged or forged on the way";
    /// IKE_AUTH refused; answered.
    AuthFailed = "auth_failed";
    /// An IKE_AUTH without a CHILD SA (RFC 6023), which we do not announce. We answer it with
    /// INVALID_SYNTAX.
    Childless = "childless";
    /// An IKE_AUTH that was not processed, because too many failed before it.
    AuthHeld = "auth_held",
        "too many IKE_AUTH failed before; it is looked at when a minute has passed";
}

/// How often each reason occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCounts([u64; COUNT]);

const COUNT: usize = DropReason::ALL.len();

impl Default for DropCounts {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl DropCounts {
    /// How often this reason occurred.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        let mut counted = DropReason::ALL.iter().zip(self.0);
        counted
            .find(|(of, _)| **of == reason)
            .map_or(0, |(_, count)| count)
    }

    /// How often any reason occurred.
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

    /// Every reason's name and count.
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
