//! Why a tunnel is not up: what it waits for and what may be the cause, as a sentence made
//! by a pure function from what the negotiator noted.
//!
//! A sentence says what is so, then asks what may be the cause. It never claims a cause:
//! a dropped message, an answer that left by another interface and a peer that is off
//! look the same from here. What this machine can find out about itself is said elsewhere.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use vgw_ike::progress::{Progress, ReceivedKind};

use crate::span::span;

#[cfg(test)]
mod tests;

/// What a tunnel waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The operator, who took it down.
    Operator,
    /// The peer, to begin.
    Peer,
    /// The time of our next attempt.
    Pause(Duration),
    /// The answer to our IKE_SA_INIT.
    InitResponse,
    /// The answer to our IKE_AUTH.
    AuthResponse,
    /// A CHILD SA, by whoever's doing.
    ChildSa,
}

impl WaitsFor {
    /// The name for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Peer => "peer_to_begin",
            Self::Pause(_) => "next_attempt",
            Self::InitResponse => "init_response",
            Self::AuthResponse => "auth_response",
            Self::ChildSa => "child_sa",
        }
    }
}

/// Messages of one kind in a row, without the message that has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    /// How many; at least one.
    pub count: u32,
    /// How long ago the first was.
    pub since: Duration,
    /// How long ago the last was.
    pub ago: Duration,
}

/// The last message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastHeard {
    /// What it was.
    pub what: ReceivedKind,
    /// From where; None for a message that authenticated.
    pub remote: Option<SocketAddr>,
    /// How long ago.
    pub ago: Duration,
}

/// Handshakes that the peer's address began, without IKE_AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerHandshakes {
    /// The handshakes.
    pub handshakes: Streak,
    /// IKE_SA_INIT requests that were repeated although we had answered them.
    pub repeated: u32,
    /// Who began the last.
    pub remote: SocketAddr,
}

/// Somebody whose address is not configured and who began handshakes with us: perhaps the
/// peer, at another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PossiblePeer {
    /// From where.
    pub remote: IpAddr,
    /// The handshakes, all of them refused.
    pub handshakes: Streak,
}

impl PossiblePeer {
    pub(crate) fn new(
        now: std::time::Instant,
        remote: IpAddr,
        handshakes: &vgw_ike::progress::Repeats,
    ) -> Self {
        Self {
            remote,
            handshakes: Streak::new(now, *handshakes),
        }
    }

    /// Whether it came back, and lately. A port scan does not.
    pub(crate) fn persists(&self) -> bool {
        let Streak { since, ago, .. } = self.handshakes;
        ago <= RECENT && since.saturating_sub(ago) >= COMES_BACK
    }
}

impl Streak {
    fn new(now: std::time::Instant, row: vgw_ike::progress::Repeats) -> Self {
        let ago = |at| now.saturating_duration_since(at);
        Self {
            count: row.count,
            since: ago(row.first),
            ago: ago(row.last),
        }
    }
}

/// The facts about a tunnel that is not up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyNotUp {
    /// What is awaited.
    pub what: WaitsFor,
    /// From whom; None: its address is not configured.
    pub from: Option<IpAddr>,
    /// At which address of ours, as the peer sees it.
    pub at: IpAddr,
    /// How long the negotiator has taken notes: since the peer was last configured.
    pub noted: Duration,
    /// The last message from the peer's address; if none is configured, from any address
    /// that is no other peer's.
    pub last: Option<LastHeard>,
    /// Handshakes begun from there.
    pub begun: Option<PeerHandshakes>,
    /// Our IKE_SA_INIT requests to which no answer came.
    pub init_unanswered: Option<Streak>,
    /// Our IKE_AUTH requests to which none came.
    pub auth_unanswered: Option<Streak>,
    /// Whether the last of those went to UDP port 4500, because a NAT is on the way.
    pub auth_floated: bool,
    /// Who may be the peer, while nothing comes from its configured address.
    pub possible_peer: Option<PossiblePeer>,
}

/// What the facts amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// The operator took it down.
    TakenDown,
    /// An IKE SA is up.
    NoChildSa,
    /// The peer speaks IKEv1.
    IkeV1,
    /// Our IKE_SA_INIT was answered, our IKE_AUTH is not.
    AuthUnanswered,
    /// Nothing comes from the peer's address, and somebody asks whose is not configured.
    UnknownAsks,
    /// IKE_SA_INIT comes again although we answer it.
    AnswersLost,
    /// IKE_SA_INIT came and was answered, IKE_AUTH does not come.
    NoAuth,
    /// Our IKE_SA_INIT is not answered.
    InitUnanswered,
    /// Something came, and nothing of the above.
    SomethingCame,
    /// Nothing came at all.
    NothingCame,
}

impl Finding {
    /// The name for scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TakenDown => "taken_down",
            Self::NoChildSa => "no_child_sa",
            Self::IkeV1 => "ike_v1",
            Self::AuthUnanswered => "auth_unanswered",
            Self::UnknownAsks => "unknown_asks",
            Self::AnswersLost => "answers_lost",
            Self::NoAuth => "no_auth",
            Self::InitUnanswered => "init_unanswered",
            Self::SomethingCame => "something_came",
            Self::NothingCame => "nothing_came",
        }
    }
}

/// After so many requests in a row, the answer is missing and not only late.
const ENOUGH: u32 = 3;
/// An honest peer's IKE_AUTH comes sooner.
const PROMPT: Duration = Duration::from_secs(3);
/// Who asks again after this long is no port scan.
const COMES_BACK: Duration = Duration::from_secs(5);
/// For this long after a start, that nothing came needs no explanation.
const PATIENCE: Duration = Duration::from_secs(10);
/// Facts older than this are used only if there is no newer one.
const RECENT: Duration = Duration::from_secs(120);

const BOTH_WAYS: &str = "is UDP 4500 let through, both ways?";

impl WhyNotUp {
    /// Made from what the negotiator noted. `heard` is how long ago an authenticated message
    /// came.
    pub(crate) fn new(
        now: std::time::Instant,
        what: WaitsFor,
        (at, from): (IpAddr, Option<IpAddr>),
        progress: &Progress,
        heard: Option<Duration>,
    ) -> Self {
        let ago = |at| now.saturating_duration_since(at);
        let row = |row| Streak::new(now, row);
        let came = progress.last.map(|last| LastHeard {
            what: last.what,
            remote: Some(last.remote),
            ago: ago(last.at),
        });
        let authentic = heard.map(|ago| LastHeard {
            what: ReceivedKind::Authentic,
            remote: None,
            ago,
        });
        let asks_auth = progress.auth_unanswered.is_some() && progress.init_unanswered.is_none();
        let what = match what {
            WaitsFor::InitResponse if asks_auth => WaitsFor::AuthResponse,
            what => what,
        };
        Self {
            what,
            from,
            at,
            noted: ago(progress.noted_since),
            last: came
                .into_iter()
                .chain(authentic)
                .min_by_key(|last| last.ago),
            begun: progress.begun.map(|begun| PeerHandshakes {
                handshakes: row(begun.handshakes),
                repeated: begun.repeated,
                remote: begun.remote,
            }),
            init_unanswered: progress.init_unanswered.map(row),
            auth_unanswered: progress.auth_unanswered.map(row),
            auth_floated: progress.auth_floated,
            possible_peer: None,
        }
    }

    /// Whether the peer may be at this address instead of the configured one: nothing came
    /// from the configured one since this one asks.
    pub(crate) fn may_be(&self, unknown: &PossiblePeer) -> bool {
        let waits = match self.what {
            WaitsFor::Peer | WaitsFor::Pause(_) | WaitsFor::InitResponse => true,
            WaitsFor::Operator | WaitsFor::AuthResponse | WaitsFor::ChildSa => false,
        };
        let silent = |last: LastHeard| last.ago > unknown.handshakes.since;
        waits && self.from.is_some() && self.last.is_none_or(silent)
    }

    /// What the facts amount to.
    #[must_use]
    pub fn finding(&self) -> Finding {
        match self.what {
            WaitsFor::Operator => return Finding::TakenDown,
            WaitsFor::ChildSa => return Finding::NoChildSa,
            WaitsFor::Peer
            | WaitsFor::Pause(_)
            | WaitsFor::InitResponse
            | WaitsFor::AuthResponse => {}
        }
        if self.possible_peer.is_some() {
            return Finding::UnknownAsks;
        }
        if self
            .last
            .is_some_and(|last| last.what == ReceivedKind::IkeV1)
        {
            return Finding::IkeV1;
        }
        let reaches = self.init_unanswered.is_none_or(|row| row.count < ENOUGH);
        let auth = self.auth_unanswered.filter(|_| reaches);
        let begun = self.begun.map(|begun| {
            // A request that is repeated once may mean a single lost answer.
            let again = begun.repeated > begun.handshakes.count;
            let finding = if again {
                Finding::AnswersLost
            } else {
                Finding::NoAuth
            };
            (begun.handshakes.ago, finding)
        });
        let told = [
            auth.map(|row| (row.ago, Finding::AuthUnanswered)),
            begun,
            self.init_unanswered
                .map(|row| (row.ago, Finding::InitUnanswered)),
        ];
        let told = || told.iter().flatten().copied();
        let recent = told().find(|(ago, _)| *ago <= RECENT);
        let found = recent.or_else(|| told().min_by_key(|(ago, _)| *ago));
        match (found, self.last) {
            (Some((_, finding)), _) => finding,
            (None, Some(_)) => Finding::SomethingCame,
            (None, None) => Finding::NothingCame,
        }
    }

    /// What is so and what to ask, in one line. None: the operator knows.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let (so, questions) = match self.finding() {
            Finding::TakenDown => return None,
            Finding::NoChildSa => (format!("the IKE SA with {} is up", self.peer()), Vec::new()),
            Finding::IkeV1 => self.ike_v1(),
            Finding::AuthUnanswered => self.auth_unanswered(),
            Finding::UnknownAsks => self.unknown_asks(),
            Finding::AnswersLost => self.answers_lost(),
            Finding::NoAuth => self.no_auth(),
            Finding::InitUnanswered => self.init_unanswered(),
            Finding::SomethingCame => (self.last_came(), self.does_it_begin()),
            Finding::NothingCame if self.noted < PATIENCE => (self.last_came(), Vec::new()),
            Finding::NothingCame => {
                let mut questions = self.does_it_begin();
                questions.push(format!("is UDP 500 let through to {}?", self.at));
                (self.last_came(), questions)
            }
        };
        let mut sentence = so;
        if let Some(whose_turn) = self.whose_turn() {
            let _ = write!(sentence, "; {whose_turn}");
        }
        if !questions.is_empty() {
            let _ = write!(sentence, ": {}", questions.join(" "));
        }
        Some(sentence)
    }

    /// Whom we hear, by address if it is known.
    fn peer(&self) -> String {
        self.from
            .map_or_else(|| "the peer".to_owned(), |from| from.to_string())
    }

    /// Whether the last that came is of a handshake that the peer began, not long ago.
    fn began_lately(&self) -> bool {
        self.last.is_some_and(|last| {
            matches!(
                last.what,
                ReceivedKind::InitRequest | ReceivedKind::AuthRequest
            ) && last.ago <= RECENT
        })
    }

    /// Who has to begin, where that is not us and it is not what the peer does.
    fn whose_turn(&self) -> Option<&'static str> {
        let comes = match self.finding() {
            Finding::UnknownAsks
            | Finding::AnswersLost
            | Finding::NoAuth
            | Finding::IkeV1
            | Finding::NoChildSa => true,
            Finding::SomethingCame => self.began_lately(),
            _ => false,
        };
        match (self.from, self.what) {
            _ if comes => None,
            (None, _) => Some("the peer must begin, its ip_address is not configured"),
            (Some(_), WaitsFor::Peer) => Some("we wait for it to begin (startup_action = \"add\")"),
            (Some(_), _) => None,
        }
    }

    fn does_it_begin(&self) -> Vec<String> {
        let question = self.whose_turn().map(|_| "does it begin, or wait as well?");
        question.into_iter().map(str::to_owned).collect()
    }

    /// What came last, and when; or for how long nothing came.
    fn last_came(&self) -> String {
        let noted = span(self.noted);
        match (self.last, self.from) {
            (None, Some(from)) => format!("nothing came from {from} in {noted}"),
            (None, None) => format!("nothing came from an address that is no peer's in {noted}"),
            (Some(last), _) => {
                let remote = last.remote.map(|remote| remote.ip()).or(self.from);
                let from = remote.map_or_else(|| "the peer".to_owned(), |ip| ip.to_string());
                format!(
                    "last came {} from {from}, {} ago",
                    last.what,
                    span(last.ago)
                )
            }
        }
    }

    fn ike_v1(&self) -> (String, Vec<String>) {
        let advice = "set the peer to IKEv2".to_owned();
        (
            format!("{}; it gets no answer", self.last_came()),
            vec![advice],
        )
    }

    fn auth_unanswered(&self) -> (String, Vec<String>) {
        let Some(row) = self.auth_unanswered else {
            return (self.last_came(), Vec::new());
        };
        let peer = self.peer();
        if row.count < ENOUGH {
            let so = format!("{peer} answered IKE_SA_INIT, and not IKE_AUTH yet");
            return (so, Vec::new());
        }
        let so = format!(
            "{peer} answered IKE_SA_INIT, and none of {} IKE_AUTH since {}, the last {} ago",
            row.count,
            span(row.since),
            span(row.ago)
        );
        let question = if self.auth_floated {
            BOTH_WAYS
        } else {
            "what does the log there say?"
        };
        (so, vec![question.to_owned()])
    }

    fn unknown_asks(&self) -> (String, Vec<String>) {
        let Some(unknown) = self.possible_peer else {
            return (self.last_came(), Vec::new());
        };
        let Streak { count, since, ago } = unknown.handshakes;
        let so = format!(
            "{}, but {}, which is not configured, asked {count} times since {}, the last {} ago",
            self.last_came(),
            unknown.remote,
            span(since),
            span(ago)
        );
        (so, vec!["is that its address instead?".to_owned()])
    }

    fn answers_lost(&self) -> (String, Vec<String>) {
        let Some(begun) = self.begun else {
            return (self.last_came(), Vec::new());
        };
        let so = format!(
            "{} sends IKE_SA_INIT again and again although we answer it ({} times since {}, \
             the last {} ago)",
            begun.remote.ip(),
            begun.repeated.saturating_add(begun.handshakes.count),
            span(begun.handshakes.since),
            span(begun.handshakes.ago)
        );
        let questions = [
            "do our answers leave by the right interface?",
            "is UDP 500 let through to it?",
        ];
        (so, questions.map(str::to_owned).to_vec())
    }

    fn no_auth(&self) -> (String, Vec<String>) {
        let Some(PeerHandshakes {
            handshakes, remote, ..
        }) = self.begun
        else {
            return (self.last_came(), Vec::new());
        };
        let remote = remote.ip();
        let (since, ago) = (span(handshakes.since), span(handshakes.ago));
        let so = match handshakes.count {
            1 if handshakes.ago < PROMPT => {
                let so = format!("answered the IKE_SA_INIT of {remote} {ago} ago, no IKE_AUTH yet");
                return (so, Vec::new());
            }
            1 => format!("1 handshake begun by {remote} {ago} ago, and no IKE_AUTH came"),
            count => {
                let (by, last) = match self.from {
                    Some(_) => (remote.to_string(), String::new()),
                    None => ("strangers".to_owned(), format!(" by {remote}")),
                };
                format!(
                    "{count} handshakes begun by {by} since {since}, the last {ago} ago{last}, \
                     and no IKE_AUTH came"
                )
            }
        };
        (so, vec![BOTH_WAYS.to_owned()])
    }

    fn init_unanswered(&self) -> (String, Vec<String>) {
        let Some(row) = self.init_unanswered else {
            return (self.last_came(), Vec::new());
        };
        let (peer, last) = (self.peer(), self.last_came());
        if row.count < ENOUGH {
            return (
                format!("no answer yet to IKE_SA_INIT to {peer}; {last}"),
                Vec::new(),
            );
        }
        let so = format!(
            "no answer to {} IKE_SA_INIT to {peer} since {}, the last {} ago; {last}",
            row.count,
            span(row.since),
            span(row.ago)
        );
        let mut questions = self.does_it_begin();
        if self.last.is_none() {
            questions.push("is that its address?".to_owned());
        }
        questions.push("is it on?".to_owned());
        questions.push("is UDP 500 let through, both ways?".to_owned());
        (so, questions)
    }
}
