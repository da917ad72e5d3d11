//! Message IDs, retransmission and cached answers, with a window of one (RFC 7296 sections 2.1 to
//! 2.3). Independent of what the messages mean.

use std::time::{Duration, Instant};

use vgw_crypto::{Prf, Secret};

use super::datagrams::Datagrams;
use super::probe::Probe;
use crate::peer::config::Limits;

/// The message ID of IKE_SA_INIT in both directions (RFC 7296 section 2.2). Later IDs count the
/// exchanges since.
pub(crate) const INIT_ID: u32 = 0;

/// The message IDs of one IKE SA in both directions, from its first message on.
#[derive(Debug, Default)]
pub(crate) struct Window {
    next_request: u32,
    outstanding: Option<Outstanding>,
    expected: u32,
    // The fingerprint of the expected request, while its answer is being computed.
    held: Option<Secret>,
    // The request with the last possible message ID was answered: no request is expected any more.
    exhausted: bool,
    answered: Option<Answered>,
}

/// Our request that waits for its answer.
#[derive(Debug)]
struct Outstanding {
    message: Datagrams,
    first_sent: Instant,
    resend_at: Instant,
    pause: Duration,
    repeated: bool,
    probe: Option<Probe>,
}

/// The peer's last request and our answer.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    id: u32,
    // We keep a hash, not the message: an unauthenticated sender can make messages long, and the
    // hash is kept along with the refusal.
    request: Secret,
    response: Datagrams,
    // How often the request came again.
    repeated: u32,
}

impl Answered {
    /// The answer, if this is the same request again, byte by byte. RFC 7296 section 2.1 requires
    /// repetitions to be identical, so none costs us a decryption. A request in several datagrams
    /// is recognized by the first, so that each repetition gets one answer (RFC 7383 section
    /// 2.6.1).
    pub(crate) fn again(&self, request: &[u8]) -> Option<&Datagrams> {
        let same = self.request.expose() == fingerprint(request).expose();
        same.then_some(&self.response)
    }
}

/// RFC 7296 section 2.1: a repeated request may be recognized by its hash.
fn fingerprint(request: &[u8]) -> Secret {
    Prf::HmacSha256.compute(&[], &[request])
}

/// How a request relates to the window, by its message ID.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// The expected request.
    Fresh,
    /// The last request again; send this answer.
    Again(&'a Datagrams),
    /// The expected request again, while its answer is being computed.
    BeingAnswered,
    /// Any other request.
    OutOfWindow,
}

impl Window {
    /// The ID of our next request.
    pub(crate) fn next_request(&self) -> u32 {
        self.next_request
    }

    /// Whether a request may be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding.is_none()
    }

    /// Notes that the request with the next ID was sent.
    pub(crate) fn sent(&mut self, now: Instant, limits: &Limits, message: Datagrams) {
        self.outstanding = Some(Outstanding {
            message,
            first_sent: now,
            resend_at: now + limits.retransmit_first,
            pause: limits.retransmit_first,
            repeated: false,
            probe: None,
        });
    }

    /// Makes a [`Probe`] of the request under way, whose answer may take so long. Returns the
    /// request if it is to be repeated for that now.
    pub(crate) fn probe(&mut self, now: Instant, longest: Option<Duration>) -> Option<Datagrams> {
        let outstanding = self.outstanding.as_mut()?;
        if outstanding.probe.as_ref().is_some_and(Probe::goes_on) {
            return None;
        }
        let mut probe = Probe::new(longest);
        outstanding.resend_at = now + probe.send()?;
        outstanding.probe = Some(probe);
        let again = outstanding.first_sent < now;
        outstanding.repeated |= again;
        again.then(|| outstanding.message.clone())
    }

    /// Whether the request under way was made a probe.
    pub(crate) fn is_probe(&self) -> bool {
        self.outstanding.as_ref().is_some_and(|o| o.probe.is_some())
    }

    /// Whether a probe has failed. Says so once.
    pub(crate) fn take_probe_failure(&mut self) -> bool {
        let probe = self.outstanding.as_mut().and_then(|o| o.probe.as_mut());
        probe.is_some_and(Probe::take_failure)
    }

    /// When the request under way was first sent.
    pub(crate) fn asked_at(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|o| o.first_sent)
    }

    /// When to retransmit the request under way.
    pub(crate) fn resend_at(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|o| o.resend_at)
    }

    /// The request, if it is time to retransmit it. The pause doubles, but not that of a probe.
    pub(crate) fn resend(&mut self, now: Instant, limits: &Limits) -> Option<Datagrams> {
        let outstanding = self.outstanding.as_mut().filter(|o| o.resend_at <= now)?;
        outstanding.repeated = true;
        let probe_pause = outstanding.probe.as_mut().and_then(Probe::send);
        let pause = probe_pause.unwrap_or_else(|| {
            outstanding.pause = (outstanding.pause * 2).min(limits.retransmit_max);
            outstanding.pause
        });
        outstanding.resend_at = now + pause;
        Some(outstanding.message.clone())
    }

    /// Retransmits the request as soon as the shortest pause since the last transmission has
    /// passed.
    pub(crate) fn hasten(&mut self, now: Instant, limits: &Limits) {
        if let Some(outstanding) = &mut self.outstanding {
            let sent = outstanding.resend_at.checked_sub(outstanding.pause);
            let soonest = sent.map_or(now, |at| (at + limits.retransmit_first).max(now));
            outstanding.resend_at = outstanding.resend_at.min(soonest);
        }
    }

    /// Whether we await a response with this ID.
    pub(crate) fn awaits(&self, id: u32) -> bool {
        self.outstanding.is_some() && id == self.next_request
    }

    /// Notes that the awaited response came and is authentic. Returns the time of the round trip,
    /// unless the response may be to a repetition of the request (RFC 6298 section 3).
    pub(crate) fn acknowledge(&mut self, now: Instant) -> Option<Duration> {
        let answered = self.outstanding.take()?;
        self.next_request = self.next_request.saturating_add(1);
        let once = !answered.repeated;
        once.then(|| now.saturating_duration_since(answered.first_sent))
    }

    /// How the peer's request relates to the window.
    pub(crate) fn classify(&self, id: u32, request: &[u8]) -> Incoming<'_> {
        if id == self.expected && !self.exhausted {
            return match &self.held {
                None => Incoming::Fresh,
                Some(held) if held.expose() == fingerprint(request).expose() => {
                    Incoming::BeingAnswered
                }
                Some(_) => Incoming::OutOfWindow,
            };
        }
        self.answered
            .as_ref()
            .filter(|answered| answered.id == id)
            .and_then(|answered| answered.again(request))
            .map_or(Incoming::OutOfWindow, Incoming::Again)
    }

    /// Notes that the last request came again. Returns how often it has.
    pub(crate) fn note_repetition(&mut self) -> u32 {
        let Some(answered) = &mut self.answered else {
            return 0;
        };
        answered.repeated = answered.repeated.saturating_add(1);
        answered.repeated
    }

    /// Notes the answer to the expected request.
    pub(crate) fn answered(&mut self, request: &[u8], response: Datagrams) {
        self.hold(request);
        self.answer_held(response);
    }

    /// Notes that the expected request came and its answer is being computed.
    pub(crate) fn hold(&mut self, request: &[u8]) {
        self.held = Some(fingerprint(request));
    }

    /// Notes the answer to the held request.
    pub(crate) fn answer_held(&mut self, response: Datagrams) {
        let Some(request) = self.held.take() else {
            return;
        };
        self.answered = Some(Answered {
            id: self.expected,
            request,
            response,
            repeated: 0,
        });
        // RFC 7296 section 2.2: message IDs do not wrap.
        match self.expected.checked_add(1) {
            Some(next) => self.expected = next,
            None => self.exhausted = true,
        }
    }

    /// The datagrams of the last answer.
    pub(crate) fn last_response(&self) -> &[Vec<u8>] {
        let answered = self.answered.as_ref();
        answered.map_or(&[], |answered| &answered.response.0)
    }

    /// The last answer, which a closed SA still repeats.
    pub(crate) fn into_answered(self) -> Option<Answered> {
        self.answered
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Datagrams, INIT_ID, Incoming, Window};
    use crate::peer::config::Limits;

    #[allow(
        clippy::disallowed_methods,
        reason = "an arbitrary start of virtual time"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn of_two(first: &[u8], second: &[u8]) -> Datagrams {
        Datagrams(vec![first.to_vec(), second.to_vec()])
    }

    #[test]
    fn the_last_message_id_is_answered_once() {
        let mut window = Window {
            expected: u32::MAX,
            ..Window::default()
        };
        let answer = Datagrams::from(b"answer".to_vec());
        assert_eq!(window.classify(u32::MAX, b"request"), Incoming::Fresh);
        window.answered(b"request", answer.clone());
        let again = window.classify(u32::MAX, b"request");
        assert_eq!(again, Incoming::Again(&answer));
        let other = window.classify(u32::MAX, b"other");
        assert_eq!(other, Incoming::OutOfWindow);
        assert_eq!(window.classify(0, b"request"), Incoming::OutOfWindow);
    }

    #[test]
    fn message_ids_count_the_exchanges_of_a_handshake_however_many_there_are() {
        let now = epoch();
        let [mut ours, mut theirs] = [Window::default(), Window::default()];
        for id in INIT_ID..4 {
            let request = vec![0; 28];
            assert_eq!(ours.next_request(), id);
            ours.sent(now, &Limits::default(), request.clone().into());
            assert_eq!(theirs.classify(id, &request), Incoming::Fresh);
            theirs.answered(&request, request.clone().into());
            assert!(ours.awaits(id) && !ours.awaits(id + 1));
            ours.acknowledge(now);
        }
        assert_eq!(theirs.next_request(), 0, "nobody asked the other way");
    }

    #[test]
    fn a_request_whose_answer_is_being_computed_is_neither_fresh_nor_answered() {
        let mut window = Window::default();
        window.hold(b"request");
        assert_eq!(window.classify(0, b"request"), Incoming::BeingAnswered);
        assert_eq!(window.classify(0, b"other"), Incoming::OutOfWindow);
        assert_eq!(window.classify(1, b"next"), Incoming::OutOfWindow);
        let answer = Datagrams::from(b"answer".to_vec());
        window.answer_held(answer.clone());
        assert_eq!(window.classify(0, b"request"), Incoming::Again(&answer));
        assert_eq!(window.classify(1, b"next"), Incoming::Fresh);
    }

    #[test]
    fn a_request_of_several_datagrams_is_repeated_as_all_of_them() {
        let now = epoch();
        let limits = Limits::default();
        let request = of_two(b"first", b"second");
        let mut window = Window::default();
        window.sent(now, &limits, request.clone());
        assert_eq!(window.resend(now, &limits), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(window.resend(later, &limits), Some(request));
    }

    #[test]
    fn an_answer_to_a_request_of_several_datagrams_is_repeated_once_for_its_first() {
        let mut window = Window::default();
        let answer = of_two(b"answer", b"more");
        window.answered(b"first", answer.clone());
        assert_eq!(window.classify(0, b"first"), Incoming::Again(&answer));
        assert_eq!(window.classify(0, b"second"), Incoming::OutOfWindow);
    }
}
