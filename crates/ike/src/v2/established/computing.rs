//! Key exchanges of CREATE_CHILD_SA, and what waits until they are computed.
//!
//! A request of ours is sent once its key pair is made; until then its task waits
//! ([`super::tasks`]). A request of the peer is answered, and a response acted on, once our part of
//! the key exchange is computed. It is then looked at from the start, as if it had only arrived
//! now: whatever happened meanwhile came first.
//!
//! Whatever waits keeps the input of its job. So an SA can be taken as plain data at any moment,
//! and the job is handed out again under the same id when the SA is built again.

use vgw_crypto::Group;

use super::create_child::BUSY;
use super::key_exchange::{NotAgreed, PrivateValue};
use super::tasks::{RequestInFlight, Task};
use super::{BadState, Established, Phase, Reply};
use crate::core::env::Env;
use crate::core::job::{Computed, JobId, Response, Step};
use crate::v2::handshake::nat::AddressPair;
use crate::v2::messages::{CreateChildRequest, CreateChildResponse};
use crate::v2::wire::{Header, KeyExchange};

/// A request of the peer that the window holds until it is answered.
pub(super) struct HeldRequest {
    pub(super) at: AddressPair,
    pub(super) header: Header,
    pub(super) request: CreateChildRequest,
}

/// A job computes our part of the key exchange that a request of the peer asks for.
pub(super) struct Answering {
    job: JobId,
    ours: PrivateValue,
    held: HeldRequest,
}

/// A job computes the secret that a response to the request in flight agrees on. No other request is
/// sent meanwhile.
pub(super) struct Concluding {
    job: JobId,
    response: CreateChildResponse,
}

impl CreateChildRequest {
    fn key_exchange(&self) -> Option<&KeyExchange> {
        match self {
            Self::New(offer) | Self::RekeyChild { offer, .. } => offer.ke.as_ref(),
            Self::RekeyIke(offer) => Some(&offer.ke),
        }
    }
}

impl CreateChildResponse {
    fn key_exchange(&self) -> Option<&KeyExchange> {
        match self {
            Self::Child(offer) => offer.ke.as_ref(),
            Self::Ike(offer) => Some(&offer.ke),
            Self::Refused(_) => None,
        }
    }
}

impl Established {
    /// Takes the output of a job. If nothing waits for it any more, it is dropped.
    pub(crate) fn handle_job(&mut self, env: &mut Env<'_>, job: JobId, computed: Computed) {
        match computed {
            Computed::KeyPair(key_pair) => self.tasks.prepared(job, key_pair.public()),
            Computed::Response(computed) => {
                if let Some(answering) = self.answering.take_if(|waiting| waiting.job == job) {
                    let HeldRequest { at, header, .. } = answering.held;
                    match computed {
                        Ok(computed) => {
                            self.answer_create_child(env, answering.held, Some(computed));
                        }
                        Err(error) => self.answer_held(env, at, &header, Reply::syntax(&error)),
                    }
                }
            }
            Computed::Secret(shared) => {
                if let Some(concluding) = self.concluding.take_if(|waiting| waiting.job == job)
                    && let Some(in_flight) = self.in_flight.take()
                {
                    self.finish_create_child(env, in_flight, concluding.response, Some(shared));
                }
            }
        }
        self.advance(env);
    }

    /// The jobs that this SA waits for.
    pub(crate) fn awaited(&self) -> Result<Vec<(JobId, Step)>, BadState> {
        let mut awaited = Vec::new();
        for (job, ours) in self.tasks.preparing() {
            let ours = ours.key().ok_or(BadState)?;
            awaited.push((job, Step::MakeKeyPair(ours)));
        }
        if let Some(answering) = &self.answering {
            let ours = answering.ours.key().ok_or(BadState)?;
            let theirs = answering.held.request.key_exchange().ok_or(BadState)?;
            let theirs = theirs.data.clone();
            awaited.push((answering.job, Step::Respond { ours, theirs }));
        }
        if let Some(concluding) = &self.concluding {
            let in_flight = self.in_flight.as_ref().ok_or(BadState)?;
            let step = agreement(in_flight, &concluding.response).ok_or(BadState)?;
            awaited.push((concluding.job, step));
        }
        Ok(awaited)
    }

    /// Has the key pair made that the request of a task needs. The task goes on when it is there.
    pub(super) fn prepare(
        &mut self,
        env: &mut Env<'_>,
        task: Task,
        group: Group,
        group_changes: u8,
    ) {
        let Some(ours) = env.private_key(group) else {
            return self.plan_again(env, task, BUSY);
        };
        let value = PrivateValue::of(&ours);
        let job = env.compute(self.id, Step::MakeKeyPair(ours));
        let job = (job, value, group_changes);
        self.tasks.prepare(task, env.now, job);
    }

    /// The group of the key pair that the request of a task needs. None if it needs none, or is not
    /// to be sent now.
    pub(super) fn group_for(&self, task: Task) -> Option<Group> {
        let for_child = self.config.esp.groups.first();
        let group = match task {
            Task::CreateChild => for_child.filter(|_| !self.has_live_child()),
            Task::RekeyChild(old) => for_child.filter(|_| self.may_rekey_child(old)),
            Task::RekeyIke if self.phase == Phase::Up => {
                let groups = &self.config.ike.groups;
                // The group that the peer accepted before needs no second try.
                let accepted = groups.iter().find(|&&group| group == self.suite.group);
                accepted.or(groups.first())
            }
            Task::RekeyIke
            | Task::DeleteUnauthenticated
            | Task::DeleteIke
            | Task::DeleteChild(_)
            | Task::GiveToken
            | Task::InvalidSpi(_)
            | Task::Liveness => None,
        };
        group.copied()
    }

    /// Answers a request, with our part of its key exchange if that is computed.
    pub(super) fn answer_create_child(
        &mut self,
        env: &mut Env<'_>,
        held: HeldRequest,
        computed: Option<Response>,
    ) {
        let agreed = match &held.request {
            CreateChildRequest::New(offer) => self.answer_new_child(env, offer, computed),
            CreateChildRequest::RekeyChild { spi, offer } => {
                self.answer_rekey_child(env, *spi, offer, computed)
            }
            CreateChildRequest::RekeyIke(offer) => self.answer_rekey_ike(env, offer, computed),
        };
        match agreed {
            Ok(reply) | Err(NotAgreed::Refused(reply)) => {
                self.answer_held(env, held.at, &held.header, reply);
            }
            Err(NotAgreed::NotComputed { ours, theirs }) => {
                let value = PrivateValue::of(&ours);
                let ours = *ours;
                let job = env.compute(self.id, Step::Respond { ours, theirs });
                self.answering = Some(Box::new(Answering {
                    job,
                    ours: value,
                    held,
                }));
            }
        }
    }

    /// Acts on the response to the request in flight, now or once the secret is computed that it
    /// agrees on.
    pub(super) fn conclude_create_child(
        &mut self,
        env: &mut Env<'_>,
        in_flight: RequestInFlight,
        response: CreateChildResponse,
    ) {
        let Some(step) = agreement(&in_flight, &response) else {
            return self.finish_create_child(env, in_flight, response, None);
        };
        let job = env.compute(self.id, step);
        self.in_flight = Some(in_flight);
        self.concluding = Some(Box::new(Concluding { job, response }));
    }
}

/// The computation of the shared secret. None if the two public values are not of the same group.
fn agreement(in_flight: &RequestInFlight, response: &CreateChildResponse) -> Option<Step> {
    let ours = in_flight.key()?;
    let theirs = response.key_exchange()?;
    if theirs.group != ours.group().iana() {
        return None;
    }
    Some(Step::Agree {
        ours: ours.private.key()?,
        theirs: theirs.data.clone(),
    })
}
