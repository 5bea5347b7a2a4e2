//! Fetch sessions (KIP-227): what a consumer reads, remembered by the node, so that its requests name only what has
//! changed and answers only what has news.
//!
//! ```text
//! request ── enter ──► the whole of what is asked ── (the shards) ──► response ── leave ──► what is news of it
//! ```
//! A session belongs to the node and not to a connection: clients come back to it on another one. Epochs count its
//! requests, so that a request or an answer that was lost is noticed; then the client opens a session anew.
//! Requests without a session ([`Mode::Plain`]) take no lock here.
//!
//! Bounded in number and in memory; a session makes room for another by Kafka's rules ([`Cache::make_room`]). Who gets
//! none is answered with session id 0 and asks in full the next time.

use bowline_codec_kafka::messages::FetchRequest;
use bowline_codec_kafka::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use bowline_codec_kafka::messages::fetch_response::{FetchResponse, PartitionData};
use bowline_codec_kafka::{ErrorCode, Uuid};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet, HashTable};
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The session id of requests and answers outside of any session.
const NO_SESSION: i32 = 0;
/// Asks for a session (and ends the one that is named).
const OPENING_EPOCH: i32 = 0;
/// Wants none (and ends the one that is named).
const CLOSING_EPOCH: i32 = -1;

#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Kafka's `max.incremental.fetch.session.cache.slots`.
    pub sessions_max: usize,
    /// What all sessions may remember together.
    pub bytes_max: usize,
    /// A session that was not used for so long may go for any other; one that has existed for so long may go for
    /// one with more partitions.
    pub evict_after: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { sessions_max: 1000, bytes_max: 64 << 20, evict_after: Duration::from_secs(120) }
    }
}

/// The sessions of one listener.
#[derive(Default)]
pub struct FetchSessions {
    bounds: Bounds,
    cache: Mutex<Cache>,
}

/// How a request is to be answered; from [`FetchSessions::enter`] to [`FetchSessions::leave`].
#[derive(Debug, PartialEq)]
pub enum Mode {
    /// In full, and it is forgotten then.
    Plain,
    /// In full, and this is remembered as a new session.
    Opening(Vec<FetchTopic>),
    /// What is news to the session, which is at this epoch now.
    Continuing { id: i32, epoch: i32 },
}

impl FetchSessions {
    pub fn new(bounds: Bounds) -> FetchSessions {
        FetchSessions { bounds, cache: Mutex::default() }
    }

    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Turns a request into all that it asks for. `by_id`: topics are named by their ids.
    ///
    /// # Errors
    /// 70: there is no such session (any more). 71: it is at another epoch. 106: it names topics the other way.
    pub fn enter(
        &self,
        request: &mut FetchRequest,
        by_id: bool,
        now: Instant,
    ) -> Result<(Mode, Vec<FetchTopic>), ErrorCode> {
        let topics = std::mem::take(&mut request.topics);
        let id = request.session_id;
        if matches!(request.session_epoch, OPENING_EPOCH | CLOSING_EPOCH) {
            if id != NO_SESSION {
                self.cache.lock().remove(id);
            }
            return Ok(match request.session_epoch {
                OPENING_EPOCH => (Mode::Opening(topics.clone()), topics),
                _ => (Mode::Plain, topics),
            });
        }
        let mut cache = self.cache.lock();
        let session = cache.sessions.get_mut(&id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        let before = session.bytes;
        session.take_over(topics);
        session.forget(&request.forgotten_topics_data);
        session.epoch = next(session.epoch);
        session.used = now;
        let (mode, all) = (Mode::Continuing { id, epoch: session.epoch }, session.in_full());
        cache.bytes = cache.bytes - before + cache.sessions[&id].bytes;
        if all.is_empty() {
            // Nothing is left of it: answered, and then closed, as in Kafka.
            cache.remove(id);
            return Ok((Mode::Plain, all));
        }
        if cache.bytes > self.bounds.bytes_max {
            cache.remove(id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok((mode, all))
    }

    /// Makes of the full answer (in the order of what [`FetchSessions::enter`] returned) the one for the client.
    /// `new_id` gives ids to try for a new session.
    pub fn leave(
        &self,
        mode: Mode,
        by_id: bool,
        response: &mut FetchResponse,
        now: Instant,
        mut new_id: impl FnMut() -> i32,
    ) {
        match mode {
            Mode::Plain => {}
            Mode::Opening(asked) => {
                let session = Session::new(asked, response, by_id, now);
                let mut cache = self.cache.lock();
                if !cache.make_room(&session, &self.bounds, now) {
                    return;
                }
                let id = std::iter::repeat_with(&mut new_id)
                    .find(|id| *id > NO_SESSION && !cache.sessions.contains_key(id));
                if let Some(id) = id {
                    cache.bytes += session.bytes;
                    cache.sessions.insert(id, session);
                    response.session_id = id;
                }
            }
            Mode::Continuing { id, epoch } => {
                response.session_id = id;
                let mut cache = self.cache.lock();
                // It made room for another meanwhile: this answer stands, the next request will find out.
                let Some(session) = cache.sessions.get_mut(&id) else { return };
                if session.epoch != epoch {
                    // Another request of the session overtook this one.
                    response.error_code = ErrorCode::InvalidFetchSessionEpoch.code();
                    response.session_id = NO_SESSION;
                    response.responses.clear();
                    return;
                }
                session.keep_news(response);
            }
        }
    }
}

#[derive(Default)]
struct Cache {
    sessions: HashMap<i32, Session, RandomState>,
    /// Of all sessions.
    bytes: usize,
}

impl Cache {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.sessions.remove(&id) {
            self.bytes -= session.bytes;
        }
    }

    /// Whether there is room for `new`, made if need be: by the session that was idle the longest, if it is stale, or
    /// by the smallest of those that have existed for a while, if it is smaller than the new one.
    fn make_room(&mut self, new: &Session, bounds: &Bounds, now: Instant) -> bool {
        if new.bytes > bounds.bytes_max {
            return false;
        }
        while self.sessions.len() >= bounds.sessions_max || self.bytes + new.bytes > bounds.bytes_max {
            let since = |then: Instant| now.saturating_duration_since(then);
            let stale = self.sessions.iter().min_by_key(|(_, session)| session.used);
            let stale = stale.filter(|(_, session)| since(session.used) > bounds.evict_after);
            let smaller = || {
                let aged = self.sessions.iter().filter(|(_, s)| since(s.created) > bounds.evict_after);
                let smallest = aged.min_by_key(|(_, session)| session.partitions.len());
                smallest.filter(|(_, session)| session.partitions.len() < new.partitions.len())
            };
            let Some((id, _)) = stale.or_else(smaller) else { return false };
            self.remove(*id);
        }
        true
    }
}

struct Session {
    /// Of the request that is expected next.
    epoch: i32,
    by_id: bool,
    /// In the order in which they are read: who had records last comes last, so that nobody starves behind a busy one.
    partitions: Vec<Remembered>,
    /// What it takes in memory, about.
    bytes: usize,
    created: Instant,
    used: Instant,
}

/// A partition of a session: how it is asked for, and what the client knows of it.
struct Remembered {
    topic: Named,
    asked: FetchPartition,
    high_watermark: i64,
    log_start: i64,
}

#[derive(Clone)]
enum Named {
    Name(Arc<str>),
    Id(Uuid),
}

/// What tells partitions apart.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Name(&'a str, i32),
    Id([u8; 16], i32),
}

impl Named {
    fn key(&self, partition: i32) -> Key<'_> {
        match self {
            Named::Name(name) => Key::Name(name, partition),
            Named::Id(id) => Key::Id(id.0, partition),
        }
    }

    fn is(&self, topic: &FetchTopic) -> bool {
        match self {
            Named::Name(name) => **name == *topic.topic,
            Named::Id(id) => *id == topic.topic_id,
        }
    }
}

impl Remembered {
    fn key(&self) -> Key<'_> {
        self.topic.key(self.asked.partition)
    }

    fn bytes(&self) -> usize {
        // A name is shared by the partitions of one request; counted in full, it can only be too much.
        size_of::<Remembered>()
            + match &self.topic {
                Named::Name(name) => name.len(),
                Named::Id(_) => 0,
            }
    }

    /// Whether the client must be told, and notes that it was.
    fn is_news(&mut self, data: &PartitionData) -> bool {
        let known = (self.high_watermark, self.log_start);
        (self.high_watermark, self.log_start) = (data.high_watermark, data.log_start_offset);
        if data.error_code != ErrorCode::None.code() {
            // Whatever comes after an error is news.
            self.high_watermark = -1;
            return true;
        }
        has_records(data) || known != (data.high_watermark, data.log_start_offset)
    }
}

impl Session {
    fn new(asked: Vec<FetchTopic>, response: &FetchResponse, by_id: bool, now: Instant) -> Session {
        let mut session = Session {
            epoch: next(OPENING_EPOCH),
            by_id,
            partitions: Vec::new(),
            bytes: size_of::<Session>(),
            created: now,
            used: now,
        };
        session.take_over(asked);
        let mut at = 0;
        for data in response.responses.iter().flat_map(|topic| &topic.partitions) {
            // One that was named twice is there once: what is behind it is told once more, which does no harm.
            let Some(known) = session.partitions.get_mut(at) else { break };
            if known.asked.partition == data.partition_index {
                known.is_news(data);
                at += 1;
            }
        }
        session
    }

    /// Adds partitions, or changes how they are asked for.
    fn take_over(&mut self, topics: Vec<FetchTopic>) {
        if topics.is_empty() {
            return;
        }
        let state = RandomState::default();
        let Session { partitions, bytes, by_id, .. } = self;
        let mut index: HashTable<usize> = HashTable::with_capacity(partitions.len());
        for (at, known) in partitions.iter().enumerate() {
            index.insert_unique(state.hash_one(known.key()), at, |at| state.hash_one(partitions[*at].key()));
        }
        for topic in topics {
            let named = match by_id {
                true => Named::Id(topic.topic_id),
                false => Named::Name(topic.topic.as_str().into()),
            };
            for asked in topic.partitions {
                let key = named.key(asked.partition);
                let hash = state.hash_one(&key);
                if let Some(at) = index.find(hash, |at| partitions[*at].key() == key) {
                    partitions[*at].asked = asked;
                    continue;
                }
                let new = Remembered { topic: named.clone(), asked, high_watermark: -1, log_start: -1 };
                *bytes += new.bytes();
                partitions.push(new);
                index.insert_unique(hash, partitions.len() - 1, |at| state.hash_one(partitions[*at].key()));
            }
        }
    }

    fn forget(&mut self, forgotten: &[ForgottenTopic]) {
        if forgotten.is_empty() {
            return;
        }
        let mut gone: HashSet<Key<'_>, RandomState> = HashSet::default();
        for topic in forgotten {
            for &partition in &topic.partitions {
                gone.insert(match self.by_id {
                    true => Key::Id(topic.topic_id.0, partition),
                    false => Key::Name(&topic.topic, partition),
                });
            }
        }
        let mut freed = 0;
        self.partitions.retain(|known| {
            let gone = gone.contains(&known.key());
            if gone {
                freed += known.bytes();
            }
            !gone
        });
        self.bytes -= freed;
    }

    /// The request for everything.
    fn in_full(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for known in &self.partitions {
            match topics.last_mut() {
                Some(topic) if known.topic.is(topic) => {
                    topic.partitions.push(known.asked.clone());
                }
                _ => {
                    let (topic, topic_id) = match &known.topic {
                        Named::Name(name) => (name.to_string(), Uuid::ZERO),
                        Named::Id(id) => (String::new(), *id),
                    };
                    topics.push(FetchTopic { topic, topic_id, partitions: vec![known.asked.clone()] });
                }
            }
        }
        topics
    }

    /// Leaves in the response what the client does not know yet.
    fn keep_news(&mut self, response: &mut FetchResponse) {
        let mut known = self.partitions.iter_mut();
        let mut with_records = Vec::new();
        let mut at = 0;
        for topic in &mut response.responses {
            topic.partitions.retain(|data| {
                let Some(known) = known.next() else { return true };
                if has_records(data) {
                    with_records.push(at);
                }
                at += 1;
                known.is_news(data)
            });
        }
        response.responses.retain(|topic| !topic.partitions.is_empty());
        if !with_records.is_empty() && with_records.len() < self.partitions.len() {
            self.move_to_end(&with_records);
        }
    }

    /// Moves the partitions at these places (ascending) behind the others.
    fn move_to_end(&mut self, places: &[usize]) {
        let mut places = places.iter().copied().peekable();
        let all = std::mem::take(&mut self.partitions);
        let mut served = Vec::with_capacity(places.len());
        self.partitions.reserve(all.len());
        for (at, known) in all.into_iter().enumerate() {
            match places.next_if_eq(&at) {
                Some(_) => served.push(known),
                None => self.partitions.push(known),
            }
        }
        self.partitions.append(&mut served);
    }
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.segments.is_empty())
}

/// Epochs go round from the largest to 1: 0 opens a session.
fn next(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
