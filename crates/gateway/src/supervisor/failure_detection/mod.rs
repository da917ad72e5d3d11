//! Fast failure detection of one tunnel: long before dead peer detection may take the tunnel
//! down, traffic moves away from it.
//!
//! Packets that leave while nothing comes back are only a sign: traffic may go one way by
//! nature, or a host be slow. So the peer is asked ([`vgw_ike::endpoint::Endpoint::probe`]), by
//! the connection's other tunnel as well. One that does not answer carries only while the other
//! cannot. What takes a tunnel down is dead peer detection alone.
//!
//! What the kernel or a router tells ([`vgw_sa::Hint`]) is a sign as well, and need not last. Anyone
//! can forge it, as often as he likes: so it makes us ask, and puts off no question about a silence.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use vgw_sa::Sign;

use super::backoff::Backoff;
use super::questions::Place;
use super::round_trip::RoundTrip;
use crate::domain::Side;

#[cfg(test)]
mod tests;

/// For so long packets must have left and none come back before the peer is asked, at least.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// The same in round trips.
const ROUND_TRIPS: u32 = 4;

/// The same while the round trip is not known, and is measured meanwhile.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Of packets that keep coming by a tunnel the data plane tells this often, at least.
const HEARD_AGAIN: Duration = Duration::from_millis(200);

/// When the peer has repeated a request so many times, so many answers are lost.
const LOST_ANSWERS: u32 = 2;

/// After a question that was answered, and to which nothing else came, the next one waits:
/// traffic goes one way.
const ANSWERED: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(10);

/// From one question to the next, in traffic both ways that pauses now and then, and by hints.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(2);

/// When the peer is asked by the other tunnel, too, unless it answers by this one before: late
/// enough to spare most of these questions, and early enough for an answer before this one is given
/// up. It is two round trips at least, and not waited for where the other tunnel's are longer.
const OTHER_LATER: Duration = Duration::from_millis(50);

/// A question that came to nothing is repeated no sooner: its IKE SA may have ended meanwhile, and
/// else the request goes on being repeated anyway.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// After it did not answer for a while, a tunnel must have been well for this long before
/// traffic returns to it by choice: a path that loses a third of its packets must not drag the
/// traffic to and fro.
const RECOVERED: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(600);

/// After repetitions that turned out to mean nothing, or to mean nothing any more, none counts
/// for so long: a path may lose packets all the time.
const DISTRUST: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(600);

/// A peer has moved to the other tunnel if it sends by that one, and by this one has not for so
/// long, but did not much longer ago. It must not have used the other one for the longer time
/// either: many a peer uses both.
const MOVED: RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(10);

/// A peer that moves to a tunnel has left the other one within so long; one that has not, uses
/// both.
const BEGINNING: Duration = Duration::from_secs(1);

/// After a peer was followed, it is followed again no sooner. Were two ends to follow each other
/// crosswise, the one would stand still while the other moves.
const fn followed(side: Side) -> RangeInclusive<Duration> {
    match side {
        Side::VirtualPrivateGateway => Duration::from_secs(1)..=Duration::from_secs(600),
        Side::CustomerGateway => Duration::from_secs(3)..=Duration::from_secs(600),
    }
}

/// Now, or as soon as the peer may be asked again after `before`.
fn spaced(now: Instant, before: Option<Instant>) -> Instant {
    before.map_or(now, |at| now.max(at + BETWEEN_QUESTIONS))
}

/// What is known of a tunnel's peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing speaks against it.
    #[default]
    Well,
    /// It is being asked, since then.
    Suspect(Instant),
    /// It was asked, and does not answer, since then.
    Unanswering(Instant),
    /// It sends by the connection's other tunnel, since then.
    Moved(Instant),
}

impl Standing {
    /// Since when traffic is to leave the tunnel, if it is.
    pub(super) const fn drives_out(self) -> Option<Instant> {
        match self {
            Self::Unanswering(since) | Self::Moved(since) => Some(since),
            Self::Well | Self::Suspect(_) => None,
        }
    }

    /// Whether traffic may come to the tunnel.
    pub(super) const fn admits(self) -> bool {
        matches!(self, Self::Well | Self::Moved(_))
    }
}

/// Why a peer is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// Packets have left and none came back.
    Silence,
    /// It repeats its requests, so what we send it may be lost, whatever comes from it.
    Repetition,
    /// Something outside says that what we send may be lost, whatever comes from the peer.
    Hint,
}

/// The detection for one tunnel, for as long as its IKE SA lasts.
#[derive(Debug, Default)]
pub(super) struct FailureDetection {
    standing: Standing,
    /// When to ask, unless something comes back before.
    ask_at: Option<Instant>,
    /// The same, unless packets go on coming by the other tunnel.
    ask_if_other_ends: Option<Instant>,
    /// The place of its question among those of all tunnels.
    place: Option<Place>,
    asked_at: Option<Instant>,
    /// When to ask by the other tunnel as well.
    ask_other_at: Option<Instant>,
    /// The same, from when it was asked by this one.
    ask_other_after: Option<Duration>,
    /// Why it is asked, or is to be; None if only the other tunnel is in doubt.
    alarm: Option<Alarm>,
    /// What was said outside.
    sign: Option<Sign>,
    /// When it was asked because of that.
    hinted_at: Option<Instant>,
    heard: Option<Instant>,
    /// When the peer began to send by this tunnel, after it had not used it for long.
    began: Option<Instant>,
    round_trip: RoundTrip,
    /// The pause after a question that was answered.
    answered: Backoff,
    /// The pause after it did not answer, or had moved.
    recovered: Backoff,
    /// The pause after it was followed.
    followed: Backoff,
    /// The pause after an alarm by repetitions.
    distrust: Backoff,
}

impl FailureDetection {
    pub(super) const fn standing(&self) -> Standing {
        self.standing
    }

    /// Packets came by the other tunnel: they may be answers to what left by this one, for which
    /// nothing comes here. Once they end, that may be for what is lost here.
    pub(super) fn note_heard_by_other(&mut self, now: Instant) -> bool {
        let answers = self.alarm == Some(Alarm::Silence) && self.standing == Standing::Well;
        if answers {
            let ends = now + HEARD_AGAIN + self.patience();
            let again = self.asked_at.map(|at| at + BETWEEN_QUESTIONS);
            self.ask_if_other_ends = Some(again.map_or(ends, |again| again.max(ends)));
        }
        answers
    }

    /// For how long packets must have left and none come back.
    fn patience(&self) -> Duration {
        let round_trip = self.round_trip.usual();
        round_trip.map_or(UNKNOWN_PATIENCE, |one| PATIENCE.max(ROUND_TRIPS * one))
    }

    /// When something is to be asked.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let measure_at = self.round_trip.measure_at();
        let due = [
            self.ask_at,
            self.ask_if_other_ends,
            self.ask_other_at,
            measure_at,
        ];
        due.into_iter().flatten().min()
    }

    pub(super) const fn round_trip(&mut self) -> &mut RoundTrip {
        &mut self.round_trip
    }

    /// Until when traffic does not return to it by choice.
    pub(super) const fn recovers_until(&self) -> Option<Instant> {
        self.recovered.until()
    }

    /// Packets have left since `since`, and none came back.
    pub(super) fn note_silence(&mut self, now: Instant, since: Instant) {
        self.alarm.get_or_insert(Alarm::Silence);
        if self.standing != Standing::Well {
            self.ask_by(self.asked_at.map_or(now, |at| at + ASK_AGAIN));
            return;
        }
        self.round_trip.need(now);
        let again = self.asked_at.map(|at| at + BETWEEN_QUESTIONS);
        let earliest = self.answered.until().max(again).unwrap_or(since);
        self.ask_by(earliest.max(since + self.patience()));
    }

    /// The peer repeated a request of its own so many times. Returns whether it must be taken
    /// for one that does not answer: it has not answered us either so far.
    pub(super) fn note_repetition(&mut self, now: Instant, times: u32) -> bool {
        if !self.distrust.is_over(now) {
            return false;
        }
        if self.standing == Standing::Well {
            self.alarm = Some(Alarm::Repetition);
            self.ask_at = Some(now);
        }
        let asked = |since| self.asked_at.is_some_and(|at| at >= since);
        let suspect = matches!(self.standing, Standing::Suspect(since) if asked(since));
        let lost = times >= LOST_ANSWERS && suspect;
        if lost {
            // Else who has us ask for another reason, by a forged hint, would have every one count.
            self.alarm = Some(Alarm::Repetition);
        }
        lost
    }

    /// Something outside says that packets may not arrive.
    pub(super) fn note_hint(&mut self, now: Instant, sign: &Sign) {
        self.alarm.get_or_insert(Alarm::Hint);
        self.sign.get_or_insert_with(|| sign.clone());
        if self.standing == Standing::Well {
            self.ask_by(spaced(now, self.hinted_at));
        }
    }

    /// What was said outside is true no more: a peer that did not answer may do so now.
    pub(super) fn note_repair(&mut self, now: Instant) {
        if let Standing::Unanswering(_) = self.standing {
            self.ask_by(spaced(now, self.asked_at));
        }
    }

    /// Has the peer asked at this time at the latest.
    fn ask_by(&mut self, at: Instant) {
        self.ask_at = Some(self.ask_at.map_or(at, |before| before.min(at)));
    }

    /// Packets came. Returns whether that changes what is known.
    pub(super) fn note_heard(&mut self, now: Instant) -> bool {
        let before = self.heard.replace(now);
        if before.is_none_or(|at| now > at + *MOVED.end()) {
            self.began = Some(now);
        }
        self.answered = Backoff::default();
        let planned = self.ask_at.is_some() || self.place.is_some();
        if (self.standing == Standing::Well && !planned) || !self.is_refuted_by_packets() {
            return false;
        }
        self.ask_at = None;
        self.be_well(now);
        true
    }

    /// Whether packets that come show that the peer hears us. An ICMP error anyone can forge, so
    /// they do then, though they need not. A tunnel that is asked whether traffic can move there
    /// must show that what we send arrives.
    fn is_refuted_by_packets(&self) -> bool {
        match (self.alarm, self.standing) {
            (Some(Alarm::Silence), _) => true,
            (Some(Alarm::Hint), _) => matches!(self.sign, Some(Sign::Icmp { .. })),
            (Some(Alarm::Repetition), _) => false,
            (None, standing) => matches!(standing, Standing::Well | Standing::Moved(_)),
        }
    }

    /// Whether the peer has begun to send by it just now.
    pub(super) fn has_just_begun(&self, now: Instant) -> bool {
        self.began.is_some_and(|at| now <= at + BEGINNING)
    }

    /// The peer begins to send by the other tunnel, which does not carry. Returns whether it has
    /// moved there just now and is to be followed. Whether it is still there by this one is asked.
    pub(super) fn note_moved(&mut self, now: Instant, side: Side) -> bool {
        let quiet = self.heard.map(|at| now.saturating_duration_since(at));
        let moves = self.standing.drives_out().is_none()
            && quiet.is_some_and(|quiet| MOVED.contains(&quiet))
            && self.followed.is_over(now);
        if moves {
            self.standing = Standing::Moved(now);
            self.ask_at = Some(now);
            self.followed.begin(now, &followed(side));
            self.recovered.begin(now, &RECOVERED);
        }
        moves
    }

    /// Whether it is time to ask the peer.
    pub(super) fn take_question(&mut self, now: Instant) -> bool {
        let is_due = |at: &mut Instant| *at <= now;
        let due = self.ask_at.take_if(is_due).is_some();
        due | self.ask_if_other_ends.take_if(is_due).is_some()
    }

    /// Whether a question waits for its turn.
    pub(super) const fn awaits_turn(&self) -> bool {
        self.place.is_some()
    }

    /// The peer is to be asked when its turn comes. It is in doubt from now on, but for a mere
    /// hint: traffic does not come to a tunnel only because there was no time to ask.
    pub(super) fn await_turn(&mut self, place: Place) {
        self.place = Some(place);
        if self.standing == Standing::Well && !self.is_hinted() {
            self.standing = Standing::Suspect(place.since);
        }
    }

    /// Whether the turn of this place is its question's; then the peer is asked now.
    pub(super) fn take_turn(&mut self, now: Instant, place: Place) -> bool {
        let its = self.place.take_if(|own| *own == place).is_some();
        if its {
            self.asked_at = Some(now);
            if self.standing == Standing::Well {
                self.standing = Standing::Suspect(now);
            }
            if self.is_hinted() {
                self.hinted_at = Some(now);
            }
            let after = self.ask_other_after.take();
            self.ask_other_at = after.map(|after| now + after).or(self.ask_other_at);
        }
        its
    }

    /// The peer is also to be asked by the other tunnel, whose round trip this is.
    pub(super) fn ask_other(&mut self, now: Instant, other: Option<Duration>) {
        let usual = self.round_trip.usual().unwrap_or_default();
        let later = OTHER_LATER.max(2 * usual);
        let hurries = self.alarm == Some(Alarm::Repetition)
            || self.standing.drives_out().is_some()
            || other.is_none_or(|other| other > later);
        if hurries {
            self.ask_other_at = Some(now);
        } else {
            self.ask_other_after = Some(later);
        }
    }

    /// Whether it is time to ask the peer by the other tunnel.
    pub(super) fn take_other_question(&mut self, now: Instant) -> bool {
        self.ask_other_at.take_if(|at| *at <= now).is_some()
    }

    /// The peer answered a question over IKE.
    pub(super) fn note_answer(&mut self, now: Instant, round_trip: Option<Duration>) {
        self.round_trip.note_answer(round_trip);
        if self.is_hinted() {
            self.asked_at = None;
        } else if self.alarm.is_some() && matches!(self.standing, Standing::Suspect(_)) {
            self.answered.begin(now, &ANSWERED);
        }
        self.be_well(now);
    }

    /// The peer did not answer in time. Returns whether that is news, and counts: packets may have
    /// come meanwhile.
    pub(super) fn note_no_answer(&mut self, now: Instant) -> bool {
        self.ask_other_at = self.ask_other_at.map(|at| at.min(now));
        let news = match self.standing {
            Standing::Suspect(_) | Standing::Moved(_) => true,
            Standing::Well | Standing::Unanswering(_) => false,
        };
        if news {
            self.standing = Standing::Unanswering(now);
        }
        news
    }

    fn be_well(&mut self, now: Instant) {
        if let Standing::Unanswering(_) = self.standing {
            self.recovered.begin(now, &RECOVERED);
        }
        if self.alarm == Some(Alarm::Repetition) {
            self.distrust.begin(now, &DISTRUST);
        }
        self.standing = Standing::Well;
        self.alarm = None;
        self.sign = None;
        self.ask_if_other_ends = None;
        self.ask_other_at = None;
        self.ask_other_after = None;
        if self.place.take().is_some() {
            // It counts as asked: what kept the question waiting is not to be made worse.
            self.asked_at = Some(now);
        }
    }

    /// The IKE SA was rekeyed: the answer to a question may have been lost with the old one.
    pub(super) fn note_rekey(&mut self, now: Instant) {
        if self.standing != Standing::Well {
            self.ask_at = Some(now);
        }
    }

    /// Whether the peer is in doubt for what this tunnel shows, and what is known so far.
    pub(super) fn doubt(&self) -> Option<Standing> {
        let standing = self.standing;
        let own = self.alarm.is_some() || matches!(standing, Standing::Unanswering(_));
        Some(standing).filter(|_| own)
    }

    /// Whether it is in doubt for nothing but what was said outside.
    pub(super) fn is_hinted(&self) -> bool {
        self.alarm == Some(Alarm::Hint)
    }

    /// What was said outside, while the peer is in doubt.
    pub(super) const fn sign(&self) -> Option<&Sign> {
        self.sign.as_ref()
    }

    /// The tunnel has a new IKE SA: what was known of the old one is void.
    pub(super) fn begin_anew(&mut self) {
        *self = Self {
            recovered: self.recovered,
            followed: self.followed,
            distrust: self.distrust,
            hinted_at: self.hinted_at,
            ..Self::default()
        };
    }
}
