//! One client's protocol state, without its socket: frames and events in, requests and response segments out.
//!
//! Responses leave in the order of the requests (clients match correlation ids against the oldest in flight). How
//! requests overlap:
//! * Produce requests run side by side, and past a Fetch that waits for records; so a pipelining producer is limited
//!   by the log and not by round trips.
//! * Anything else runs alone, after everything before it, as in Kafka: what an earlier request on the connection
//!   changed is visible to the next.
//!
//! The session does no I/O, and reads no clock but [`Broker::clock`], to see how long it works for a client whose share
//! of time is limited. It may draw random ids (members, topics) in handlers.

use crate::access::AccessCache;
use crate::accounts::Accounts;
use crate::catalog::{Catalog, TopicCache};
use crate::fetch_sessions::FetchSessions;
use crate::handlers;
use crate::login::{Accepted, Login};
use crate::options::Options;
use crate::passwords::Check;
use crate::pending::{Closed, Context, Head, Pending, SUB_BITS, Step};
use crate::quotas::{ClientQuotas, Clock, Work, millis};
use crate::share::session::Sessions;
use crate::telemetry::Connected;
use crate::txns::Joined;
use crate::versions;
use bowline_codec_kafka::frame::{HeadError, RequestHead};
use bowline_codec_kafka::{ApiKey, Reader};
use bowline_model::event::{Event, Revoked};
use bowline_model::meta::MetaRequest;
use bowline_model::request::Request;
use bowline_model::{Principal, SessionId, ShardId, Token};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What all sessions of a listener share.
pub struct Broker {
    pub options: Options,
    pub cluster_id: String,
    /// ≥ 1.
    pub data_shards: u16,
    pub catalog: Box<dyn Catalog>,
    pub fetch_sessions: FetchSessions,
    pub accounts: Box<dyn Accounts>,
    /// For quotas of time alone.
    pub clock: Clock,
}

/// The other end of the connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As group descriptions show it: `/` and the IP address.
    pub client_host: String,
    pub port: u16,
    pub is_loopback: bool,
    /// Where clients are told to find this node.
    pub advertised: (String, u16),
    /// The user's name that its TLS certificate gives.
    pub certified: Option<String>,
}

impl Peer {
    /// Its address, as access rules name hosts.
    pub fn ip(&self) -> &str {
        self.client_host.strip_prefix('/').unwrap_or(&self.client_host)
    }
}

/// The time, given to every entry point.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub instant: Instant,
    /// Since the Unix epoch.
    pub millis: i64,
}

/// Requests for the shards, to be moved to the `Link` and flushed.
#[derive(Default)]
pub struct Outgoing {
    pub requests: Vec<(ShardId, Request)>,
    pub meta: Vec<(Token, MetaRequest)>,
    /// A password that wants to be checked, for [`Session::checked`].
    pub check: Option<(Token, Check)>,
}

pub struct Session {
    broker: Arc<Broker>,
    peer: Peer,
    principal: Arc<Principal>,
    login: Login,
    topics: TopicCache,
    access: AccessCache,
    quotas: ClientQuotas,
    /// The client is held back: nothing is read from it before.
    muted_until: Option<Instant>,
    shares: Sessions,
    joined: Joined,
    /// What the client is, for its metrics.
    connected: Connected,
    /// Unanswered requests, oldest first.
    slots: VecDeque<Slot>,
    /// Number of the oldest slot.
    first_seq: u64,
    counts: Counts,
    unanswered_bytes: usize,
    out: Outgoing,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// The node stops: no new requests, and the end when the last Produce is answered.
    stopping: bool,
    closed: Option<Closed>,
}

/// Slots that are not done.
#[derive(Default)]
struct Counts {
    produce: usize,
    fetch: usize,
    other: usize,
    /// Of those, how many have not been started.
    queued: usize,
}

struct Slot {
    head: Head,
    /// Size of the request.
    bytes: usize,
    /// For how long the client is held back after it.
    throttle_ms: u32,
    state: State,
}

enum State {
    Queued(RequestHead, Reader),
    Running(Box<dyn Pending>),
    /// The response's segments; none if it has no response.
    Done(Vec<Bytes>),
    /// Will never be answered: the connection closes because of it.
    Refused,
}

impl Session {
    /// `id`: what the shards know it by.
    pub fn new(broker: Arc<Broker>, peer: Peer, id: SessionId) -> Session {
        let principal = peer.certified.as_ref().map_or_else(Principal::anonymous, Principal::user);
        let anonymous = broker.options.authentication.anonymous;
        let is_demanded = peer.certified.is_none() && !anonymous.lets_in(peer.is_loopback);
        let shares = Sessions::new(id, broker.options.share.sessions.clone());
        Session {
            shares,
            principal: Arc::new(principal),
            login: Login { is_demanded, ..Login::default() },
            connected: Connected::new(broker.options.telemetry.clone()),
            broker,
            peer,
            topics: TopicCache::default(),
            access: AccessCache::default(),
            quotas: ClientQuotas::default(),
            muted_until: None,
            joined: Joined::default(),
            slots: VecDeque::new(),
            first_seq: 0,
            counts: Counts::default(),
            unanswered_bytes: 0,
            out: Outgoing::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            stopping: false,
            closed: None,
        }
    }

    /// Takes one request frame (without its size). After [`Session::closed`] it does nothing.
    pub fn frame(&mut self, frame: Bytes, now: Now) {
        if self.closed.is_some() || self.stopping {
            return;
        }
        if self.login.bare_tokens {
            return self.bare_token(frame, now);
        }
        let bytes = frame.len();
        let mut reader = Reader::with_memory_limit(frame, memory_limit(bytes));
        let head = match RequestHead::decode(&mut reader) {
            Ok(head) => head,
            Err(HeadError::UnknownApi { key, version }) => {
                return self.close(Closed::NotServed { key, version });
            }
            Err(HeadError::Decode(error)) => return self.close(Closed::Header(error)),
        };
        let short = Head { api: head.api, version: head.version, correlation_id: head.correlation_id };
        // ApiVersions answers for itself, whatever the version (KIP-511).
        let is_served = self.broker.options.serves(head.api) && versions::is_served(head.api, head.version);
        if head.api != ApiKey::ApiVersions && !is_served {
            return self.close(Closed::NotServed { key: head.api as i16, version: head.version });
        }
        if self.login.is_wanted(now.instant) && !is_for_login(head.api) {
            return self.close(match self.login.is_demanded {
                true => Closed::NotLoggedIn { api: head.api },
                false => Closed::LoginOver { api: head.api },
            });
        }
        let may_start = self.counts.may_start(head.api);
        *self.counts.of(head.api) += 1;
        self.counts.queued += 1;
        self.unanswered_bytes += bytes;
        self.slots.push_back(Slot { head: short, bytes, throttle_ms: 0, state: State::Queued(head, reader) });
        if may_start {
            self.start(self.slots.len() - 1, now);
            self.advance(now);
        }
    }

    /// A token of a login that began with a handshake of version 0. Clients send it when they have the answer before.
    fn bare_token(&mut self, token: Bytes, now: Now) {
        if !self.slots.is_empty() {
            return self.close(Closed::LoginOutOfTurn);
        }
        let head = Head { api: ApiKey::SaslAuthenticate, version: 0, correlation_id: 0 };
        *self.counts.of(head.api) += 1;
        self.unanswered_bytes += token.len();
        self.slots.push_back(Slot { head, bytes: token.len(), throttle_ms: 0, state: State::Refused });
        self.run(0, now, |cx| handlers::sasl_authenticate::token(&token, cx));
        self.advance(now);
    }

    /// The password of [`Outgoing::check`] is right or not.
    pub fn checked(&mut self, token: Token, is_right: bool, now: Now) {
        let Some(index) = (token.0 >> SUB_BITS).checked_sub(self.first_seq) else { return };
        self.step(index as usize, now, |pending, cx| pending.checked(is_right, cx));
        self.advance(now);
    }

    /// Nothing but a login is served yet.
    pub fn must_log_in(&self) -> bool {
        self.login.is_demanded
    }

    /// Takes an answer from a shard.
    pub fn event(&mut self, event: Event, now: Now) {
        if matches!(event, Event::Shutdown) {
            return self.stop(now);
        }
        if let Event::Revoked(Revoked::User(name)) = &event
            && *self.principal == Principal::user(&**name)
        {
            return self.close(Closed::UserRemoved);
        }
        if let Event::Cancelled { token: None, consumer } = event {
            return self.shares.cancelled(consumer);
        }
        let Some(token) = token_of(&event) else { return };
        // Answers to requests that did not wait for them (a Fetch that ran out of time) are dropped.
        let Some(index) = (token.0 >> SUB_BITS).checked_sub(self.first_seq) else { return };
        let sub = (token.0 & ((1 << SUB_BITS) - 1)) as u32;
        self.step(index as usize, now, |pending, cx| pending.event(sub, event, cx));
        self.advance(now);
    }

    /// The node stops. What was produced is still answered, so that no client has to guess.
    pub fn stop(&mut self, now: Now) {
        self.stopping = true;
        self.advance(now);
    }

    /// Nothing is to be read from the client before this: it has used more than it may.
    pub fn muted_until(&self) -> Option<Instant> {
        self.muted_until
    }

    /// Lets the request that waits for time go on, if its time has come.
    pub fn expire(&mut self, now: Now) {
        self.muted_until = self.muted_until.filter(|until| *until > now.instant);
        for index in 0..self.slots.len() {
            if let State::Running(pending) = &self.slots[index].state
                && pending.deadline().is_some_and(|deadline| deadline <= now.instant)
            {
                self.step(index, now, |pending, cx| pending.expired(cx));
            }
        }
        self.advance(now);
    }

    /// When [`Session::expire`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        if self.counts.fetch + self.counts.other == 0 {
            // Produce does not wait for time; a producer's many slots need not be looked at.
            return self.muted_until;
        }
        let running = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running(pending) => pending.deadline(),
            _ => None,
        });
        running.chain(self.muted_until).min()
    }

    /// What is to be sent to the shards.
    pub fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    /// Moves response segments, in the order of the requests, to the end of `out`; gives their bytes.
    pub fn take_ready(&mut self, out: &mut VecDeque<Bytes>) -> usize {
        out.append(&mut self.ready);
        std::mem::take(&mut self.ready_bytes)
    }

    pub fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes
    }

    pub fn unanswered_requests(&self) -> usize {
        self.slots.len()
    }

    /// Set once the connection has to be closed, after what is ready has been written.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    pub fn take_closed(&mut self) -> Option<Closed> {
        self.closed.take()
    }

    /// The connection finds something that is no frame.
    pub fn refuse(&mut self, reason: Closed) {
        self.close(reason);
    }

    fn close(&mut self, reason: Closed) {
        self.closed.get_or_insert(reason);
    }

    /// Starts the queued request at `index`.
    fn start(&mut self, index: usize, now: Now) {
        let slot = &mut self.slots[index];
        let State::Queued(head, mut reader) = std::mem::replace(&mut slot.state, State::Refused) else {
            unreachable!("only queued requests are started");
        };
        self.counts.queued -= 1;
        let (options, catalog) = (&self.broker.options, &*self.broker.catalog);
        let client_id = head.client_id().unwrap_or_default();
        self.quotas.refresh(&options.meters, catalog, &self.principal, client_id, now.instant);
        if head.api == ApiKey::Produce
            && let Some(meter) = self.quotas.produce()
        {
            let wait = meter.charge(slot.bytes as f64, now.instant);
            self.hold_back(index, millis(wait), now);
        }
        self.run(index, now, |cx| handlers::start(&head, &mut reader, cx));
    }

    /// Does a step of the request at `index` that has no state yet.
    fn run(&mut self, index: usize, now: Now, act: impl FnOnce(&mut Context<'_>) -> Step) {
        let work = Work::begin(&self.quotas, &self.broker.clock);
        let mut cx = Context {
            broker: &self.broker,
            peer: &self.peer,
            principal: &self.principal,
            login: &mut self.login,
            head: self.slots[index].head,
            now,
            topics: &mut self.topics,
            access: &mut self.access,
            quotas: &self.quotas,
            work,
            throttle_ms: Cell::new(self.slots[index].throttle_ms),
            shares: &mut self.shares,
            joined: &mut self.joined,
            connected: &mut self.connected,
            out: &mut self.out,
            seq: self.first_seq + index as u64,
        };
        let step = act(&mut cx);
        let throttle_ms = cx.held_back(&step);
        self.hold_back(index, throttle_ms, now);
        self.apply(index, step);
    }

    fn step(&mut self, index: usize, now: Now, act: impl FnOnce(&mut dyn Pending, &mut Context<'_>) -> Step) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let State::Running(pending) = &mut slot.state else { return };
        let throttle_ms = slot.throttle_ms;
        let work = Work::begin(&self.quotas, &self.broker.clock);
        let mut cx = Context {
            broker: &self.broker,
            peer: &self.peer,
            principal: &self.principal,
            login: &mut self.login,
            head: slot.head,
            now,
            topics: &mut self.topics,
            access: &mut self.access,
            quotas: &self.quotas,
            work,
            throttle_ms: Cell::new(throttle_ms),
            shares: &mut self.shares,
            joined: &mut self.joined,
            connected: &mut self.connected,
            out: &mut self.out,
            seq: self.first_seq + index as u64,
        };
        let step = act(&mut **pending, &mut cx);
        let throttle_ms = cx.held_back(&step);
        self.hold_back(index, throttle_ms, now);
        self.apply(index, step);
    }

    /// A step found that the client has used more than it may.
    fn hold_back(&mut self, index: usize, throttle_ms: u32, now: Now) {
        if throttle_ms <= self.slots[index].throttle_ms {
            return;
        }
        self.slots[index].throttle_ms = throttle_ms;
        let until = now.instant + Duration::from_millis(throttle_ms.into());
        self.muted_until = self.muted_until.max(Some(until));
    }

    fn apply(&mut self, index: usize, step: Step) {
        let slot = &mut self.slots[index];
        match step {
            Step::Stay => {}
            Step::Wait(pending) => slot.state = State::Running(pending),
            Step::Reply(segments) => {
                slot.state = State::Done(segments);
                *self.counts.of(slot.head.api) -= 1;
            }
            Step::Silent => {
                slot.state = State::Done(Vec::new());
                *self.counts.of(slot.head.api) -= 1;
            }
            Step::LoggedIn(segments, Accepted { principal, ends }) => {
                self.principal = principal;
                self.login.accept(ends);
                slot.state = State::Done(segments);
                *self.counts.of(slot.head.api) -= 1;
            }
            Step::Last(segments, reason) => {
                slot.state = State::Done(segments);
                *self.counts.of(slot.head.api) -= 1;
                self.close(reason);
            }
            Step::Close(reason) => {
                slot.state = State::Refused;
                self.close(reason);
            }
        }
    }

    /// Hands over finished responses from the front and starts what may run now.
    fn advance(&mut self, now: Now) {
        loop {
            while let Some(Slot { state: State::Done(segments), bytes, .. }) = self.slots.front_mut() {
                self.ready_bytes += segments.iter().map(Bytes::len).sum::<usize>();
                self.ready.extend(segments.drain(..));
                self.unanswered_bytes -= *bytes;
                self.first_seq += 1;
                self.slots.pop_front();
            }
            if self.stopping && self.counts.produce == 0 {
                return self.close(Closed::Stopping);
            }
            let Some(index) = self.startable() else { return };
            self.start(index, now);
        }
    }

    /// The first queued request that may run beside everything unfinished before it.
    fn startable(&self) -> Option<usize> {
        if self.counts.queued == 0 || self.closed.is_some() || self.stopping {
            return None;
        }
        let mut before = Counts::default();
        for (index, slot) in self.slots.iter().enumerate() {
            match &slot.state {
                State::Done(_) => continue,
                State::Queued(..) if before.may_start(slot.head.api) => return Some(index),
                State::Queued(..) | State::Running(_) | State::Refused => *before.of(slot.head.api) += 1,
            }
        }
        None
    }
}

impl Counts {
    /// Whether a request may run beside these unfinished ones, all of which came before it.
    fn may_start(&self, api: ApiKey) -> bool {
        match api {
            ApiKey::Produce => self.other == 0,
            _ => self.other + self.fetch + self.produce == 0,
        }
    }

    fn of(&mut self, api: ApiKey) -> &mut usize {
        match api {
            ApiKey::Produce => &mut self.produce,
            ApiKey::Fetch => &mut self.fetch,
            _ => &mut self.other,
        }
    }
}

/// What is served to those who have not logged in, and whose login is over.
fn is_for_login(api: ApiKey) -> bool {
    matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
}

/// What the arrays of a request may occupy in memory: generous for any real request, and in proportion to what the
/// peer has actually sent.
fn memory_limit(frame_bytes: usize) -> usize {
    (1 << 20) + frame_bytes.saturating_mul(32).min(64 << 20)
}

fn token_of(event: &Event) -> Option<Token> {
    match event {
        Event::Done { token }
        | Event::Failed { token, .. }
        | Event::Appended { token, .. }
        | Event::Fetched { token, .. }
        | Event::Moved { token }
        | Event::Offsets { token, .. }
        | Event::Trimmed { token, .. }
        | Event::PartitionInfo { token, .. }
        | Event::Group { token, .. }
        | Event::Share { token, .. }
        | Event::Txn { token, .. }
        | Event::Producers { token, .. }
        | Event::Outdated { token }
        | Event::Meta { token, .. } => Some(*token),
        // Queue traffic and alarms: nothing that a Kafka session asked for.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
