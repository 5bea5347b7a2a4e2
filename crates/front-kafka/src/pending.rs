//! What a handler works with, and what it may answer: at once, later, never, or by closing the connection.

use crate::access::AccessCache;
use crate::catalog::{Topic, TopicCache};
use crate::login::{Accepted, Login};
use crate::passwords::Check;
use crate::quotas::{ClientQuotas, Work, millis};
use crate::session::{Broker, Now, Outgoing, Peer};
use crate::share;
use crate::telemetry::Connected;
use crate::txns::Joined;
use bowline_codec_kafka::frame::encode_response;
use bowline_codec_kafka::{ApiKey, DecodeError, EncodeError, ErrorCode, Response, Uuid};
use bowline_model::event::Event;
use bowline_model::group;
use bowline_model::meta::MetaRequest;
use bowline_model::request::Request;
use bowline_model::txn;
use bowline_model::{PartitionId, Principal, ShardId, Token};
use bytes::Bytes;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Low bits of a [`Token`] that tell apart the questions of one request; the rest is the request's number.
pub const SUB_BITS: u32 = 24;

/// What comes of a request for now.
pub enum Step {
    /// Nothing new.
    Stay,
    /// Events will bring it on.
    Wait(Box<dyn Pending>),
    /// The response frame.
    Reply(Vec<Bytes>),
    /// Done, and the client expects no response (Produce with acks=0).
    Silent,
    /// The response frame, after which the client is somebody.
    LoggedIn(Vec<Bytes>, Accepted),
    /// The response frame, and the end of the connection.
    Last(Vec<Bytes>, Closed),
    Close(Closed),
}

impl Step {
    /// The connection ends with this reply.
    pub fn and_close(self, reason: Closed) -> Step {
        match self {
            Step::Reply(segments) => Step::Last(segments, reason),
            other => other,
        }
    }
}

/// A request that waits for events.
pub trait Pending: Send {
    /// `sub` says which question (see [`Context::token`]) is answered.
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step;

    /// When [`Pending::expired`] is to be called. Asked again after every step.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn expired(&mut self, _cx: &mut Context<'_>) -> Step {
        Step::Stay
    }

    /// The password that was to be checked is right or not.
    fn checked(&mut self, _is_right: bool, cx: &mut Context<'_>) -> Step {
        cx.mismatch()
    }
}

/// Why a connection is closed by us. Kafka closes without a reply in these cases as well.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    #[error("not the Kafka protocol: {0}")]
    NotKafka(&'static str),
    #[error("request of {size} bytes, allowed are 0 to {max}")]
    TooLarge { size: i32, max: usize },
    #[error("API key {key} version {version} is not served")]
    NotServed { key: i16, version: i16 },
    #[error("malformed request header: {0}")]
    Header(DecodeError),
    #[error("malformed {api} v{version} request: {error}")]
    Malformed { api: ApiKey, version: i16, error: DecodeError },
    /// The client asked for no response, so this is the only way to tell.
    #[error("a batch produced with acks=0 was refused")]
    UnacknowledgedFailure,
    #[error("cannot encode the {api} v{version} response: {error}")]
    Response { api: ApiKey, version: i16, error: EncodeError },
    #[error("a shard answered {api} with something else")]
    Mismatch { api: ApiKey },
    #[error("{api} before a login")]
    NotLoggedIn { api: ApiKey },
    #[error("{api} after the end of the login")]
    LoginOver { api: ApiKey },
    #[error("the login was refused")]
    LoginRefused,
    #[error("a step of a login that does not follow from the one before")]
    LoginOutOfTurn,
    #[error("the user was removed")]
    UserRemoved,
    #[error("the producer has spoken on a newer connection")]
    Outdated,
    #[error("the node is stopping")]
    Stopping,
}

/// What of a request is still needed after its start.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
}

/// The surroundings of one step of one request.
pub struct Context<'a> {
    pub broker: &'a Broker,
    pub peer: &'a Peer,
    pub head: Head,
    pub now: Now,
    pub(crate) principal: &'a Arc<Principal>,
    pub(crate) login: &'a mut Login,
    pub(crate) topics: &'a mut TopicCache,
    pub(crate) access: &'a mut AccessCache,
    pub(crate) quotas: &'a ClientQuotas,
    /// If the client's share of the session's time is limited.
    pub(crate) work: Option<Work<'a>>,
    /// For how long the client is held back after this request, ms.
    pub(crate) throttle_ms: Cell<u32>,
    pub(crate) shares: &'a mut share::session::Sessions,
    pub(crate) joined: &'a mut Joined,
    pub(crate) connected: &'a mut Connected,
    pub(crate) out: &'a mut Outgoing,
    /// Number of the request on this connection.
    pub(crate) seq: u64,
}

impl<'a> Context<'a> {
    /// Who asks: `User:ANONYMOUS` unless it has logged in or shown a certificate.
    pub fn principal(&self) -> &'a Arc<Principal> {
        self.principal
    }

    /// The token that brings an answer back to this request as question `sub`.
    pub fn token(&self, sub: u32) -> Token {
        debug_assert!(sub < 1 << SUB_BITS);
        Token(self.seq << SUB_BITS | u64::from(sub))
    }

    pub fn topic(&mut self, name: &str) -> Option<Arc<Topic>> {
        self.topics.topic(&*self.broker.catalog, name)
    }

    pub fn topic_by_id(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics.topic_by_id(&*self.broker.catalog, id)
    }

    pub fn shard_of(&self, partition: PartitionId) -> ShardId {
        ShardId::of(partition.0, self.broker.data_shards)
    }

    pub fn send(&mut self, shard: ShardId, request: Request) {
        self.out.requests.push((shard, request));
    }

    /// Asks the coordinator of `name`.
    pub fn ask_group(&mut self, sub: u32, name: &str, request: group::Request) {
        let shard = ShardId::of_group(name, self.broker.data_shards);
        let token = self.token(sub);
        self.send(shard, Request::Group { token, request });
    }

    /// Asks the coordinator of transactional id `id`.
    pub fn ask_txn(&mut self, sub: u32, id: &str, request: txn::Request) {
        let shard = ShardId::of_group(id, self.broker.data_shards);
        let token = self.token(sub);
        self.send(shard, Request::Txn { token, request });
    }

    pub fn ask_meta(&mut self, sub: u32, request: MetaRequest) {
        self.out.meta.push((self.token(sub), request));
    }

    /// Has a password checked; [`Pending::checked`] gets the result.
    pub fn check_password(&mut self, check: Check) {
        self.out.check = Some((self.token(0), check));
    }

    pub fn reply<R: Response>(&self, body: &R) -> Step {
        match self.encode(body) {
            Ok(segments) => Step::Reply(segments),
            Err(error) => {
                let Head { api, version, .. } = self.head;
                Step::Close(Closed::Response { api, version, error })
            }
        }
    }

    /// The one place where answers learn that the client is held back.
    fn encode<R: Response>(&self, body: &R) -> Result<Vec<Bytes>, EncodeError> {
        let Head { api, version, correlation_id, .. } = self.head;
        let segments = encode_response(version, correlation_id, body)?;
        if matches!(api, ApiKey::Fetch | ApiKey::ShareFetch)
            && let Some(meter) = self.quotas.fetch()
        {
            let bytes: usize = segments.iter().map(Bytes::len).sum();
            self.throttle(meter.charge(bytes as f64, self.now.instant));
        }
        if let Some(work) = &self.work {
            self.throttle(work.charge());
        }
        match self.throttle_ms.get() {
            0 => Ok(segments),
            ms => {
                let mut throttled = body.clone();
                throttled.set_throttle_time_ms(ms as i32);
                encode_response(version, correlation_id, &throttled)
            }
        }
    }

    /// Holds the client back, after the answer.
    pub fn throttle(&self, wait: Duration) {
        self.throttle_ms.set(self.throttle_ms.get().max(millis(wait)));
    }

    /// At the end of a step: for how long the client is held back after the request, ms.
    pub(crate) fn held_back(&self, step: &Step) -> u32 {
        if let Some(work) = &self.work {
            let wait = work.charge();
            // Nobody is told; what has been answered was told what it owed then.
            if matches!(step, Step::Silent) {
                self.throttle(wait);
            }
        }
        self.throttle_ms.get()
    }

    /// How many bytes the client may fetch now: `max`, or less under a quota. Nothing, and it is held back, while what
    /// it fetched before is not paid for.
    pub fn fetch_budget(&self, max: u32) -> u32 {
        let Some(meter) = self.quotas.fetch() else { return max };
        let debt = meter.debt(self.now.instant);
        self.throttle(debt);
        match debt.is_zero() {
            true => max.min(meter.capacity() as u32),
            false => 0,
        }
    }

    /// Counts partitions that are made or deleted.
    ///
    /// # Errors
    /// THROTTLING_QUOTA_EXCEEDED for versions that know it (`strict`); the others go on and are held back.
    pub fn charge_mutations(&self, partitions: usize, strict: bool) -> Result<(), ErrorCode> {
        let Some(meter) = self.quotas.mutations() else { return Ok(()) };
        let debt = meter.debt(self.now.instant);
        if strict && !debt.is_zero() {
            self.throttle(debt);
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        let debt = meter.charge(partitions as f64, self.now.instant);
        if !strict {
            self.throttle(debt);
        }
        Ok(())
    }

    /// Waits for the answers to questions `0..count`, then calls `finish` with them in that order. Calls it at once
    /// if there is none to wait for.
    pub fn gather<F>(&mut self, count: usize, finish: F) -> Step
    where
        F: FnOnce(Vec<Event>, &mut Context<'_>) -> Step + Send + 'static,
    {
        if count == 0 {
            return finish(Vec::new(), self);
        }
        let answers = std::iter::repeat_with(|| None).take(count).collect();
        Step::Wait(Box::new(Gather { answers, missing: count, finish: Some(Box::new(finish)) }))
    }

    /// An answer that does not fit the question: a bug between us and a shard, contained to this connection.
    pub fn mismatch(&self) -> Step {
        Step::Close(Closed::Mismatch { api: self.head.api })
    }
}

type Finish = Box<dyn FnOnce(Vec<Event>, &mut Context<'_>) -> Step + Send>;

/// See [`Context::gather`].
struct Gather {
    answers: Vec<Option<Event>>,
    missing: usize,
    finish: Option<Finish>,
}

impl Pending for Gather {
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step {
        match self.answers.get_mut(sub as usize) {
            Some(answer @ None) => *answer = Some(event),
            _ => return cx.mismatch(),
        }
        self.missing -= 1;
        if self.missing > 0 {
            return Step::Stay;
        }
        let answers = std::mem::take(&mut self.answers).into_iter().flatten().collect();
        match self.finish.take() {
            Some(finish) => finish(answers, cx),
            None => cx.mismatch(),
        }
    }
}
