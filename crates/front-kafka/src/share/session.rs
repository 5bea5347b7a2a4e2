//! Share sessions: what a member fetches from, kept between its requests so that each names only what changes
//! (KIP-932).
//!
//! A session is opened by a ShareFetch with epoch 0, closed by a request with epoch −1, and each request between names
//! the next epoch. The node keeps them by group and member. What the member holds comes back when the connection ends
//! that opened its session, and only there it fetches; it may acknowledge over another, as clients do that keep a
//! connection for fetches alone. To the shards a session is one consumer of that connection.

use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::share_config::ShareConfig;
use bowline_model::{ConsumerId, PartitionId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sessions that one connection may have opened; clients have one.
pub const CONNECTION_SESSIONS_MAX: usize = 64;
/// Sessions of the node (Kafka's `group.share.max.share.sessions`).
pub const NODE_SESSIONS_MAX: usize = 2_000;
/// Partitions of one session.
pub const PARTITIONS_MAX: usize = 10_000;

const OPENS: i32 = 0;
const CLOSES: i32 = -1;

/// A partition as the client names it.
pub type Place = (Uuid, i32);

/// To the shards: a connection's session, and the number of a consumer in it.
pub type Holder = (SessionId, ConsumerId);

/// The sessions of the node, by group and member.
pub type NodeSessions = Arc<Mutex<BTreeMap<(String, String), ShareSession>>>;

/// The sessions of the node, as one connection sees them.
#[derive(Debug)]
pub struct Sessions {
    own: SessionId,
    all: NodeSessions,
}

#[derive(Debug)]
pub struct ShareSession {
    pub holder: Holder,
    epoch: i32,
    pub places: BTreeSet<Place>,
    /// What the shards were told last; `None`: they have to be told (again).
    pub joined: Option<Joined>,
    /// Which shard is asked first.
    pub turn: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Ascending.
    pub partitions: Vec<PartitionId>,
    pub config: ShareConfig,
}

/// What a request does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Opens,
    GoesOn,
    /// When the request has been served.
    Closes,
}

/// A request's way into its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    pub phase: Phase,
    pub holder: Holder,
    /// Whose session was ended by this one's beginning: the shards have to be told.
    pub replaced: Option<Holder>,
}

impl Sessions {
    pub fn new(own: SessionId, all: NodeSessions) -> Sessions {
        Sessions { own, all }
    }

    /// The session of a fetch with this epoch, which counts as the next. It has to be of this connection; one that is
    /// opened anew becomes it.
    pub fn enter_to_fetch(&self, group: &str, member: &str, epoch: i32) -> Result<Entered, ErrorCode> {
        let key = (group.to_owned(), member.to_owned());
        let mut all = self.all();
        let elsewhere = all.get(&key).map(|session| session.holder).filter(|(owner, _)| *owner != self.own);
        let replaced = match (elsewhere, epoch) {
            (None, _) | (Some(_), CLOSES) => None,
            (Some(_), OPENS) => all.remove(&key).map(|session| session.holder),
            (Some(_), _) => return Err(ErrorCode::ShareSessionNotFound),
        };
        if epoch == OPENS && !all.contains_key(&key) {
            let session = self.opened(&all)?;
            all.insert(key.clone(), session);
        }
        let session = all.get_mut(&key).ok_or(ErrorCode::ShareSessionNotFound)?;
        let phase = session.advance(epoch)?;
        Ok(Entered { phase, holder: session.holder, replaced })
    }

    /// The session of acknowledgements with this epoch, which counts as the next.
    pub fn enter(&self, group: &str, member: &str, epoch: i32) -> Result<Entered, ErrorCode> {
        // It is opened by fetching.
        if epoch == OPENS {
            return Err(ErrorCode::InvalidShareSessionEpoch);
        }
        self.with(group, member, |session| {
            let phase = session.advance(epoch)?;
            Ok(Entered { phase, holder: session.holder, replaced: None })
        })
        .unwrap_or(Err(ErrorCode::ShareSessionNotFound))
    }

    /// The shards have to be told to end its consumer.
    pub fn close(&self, group: &str, member: &str) -> Option<Holder> {
        self.all().remove(&(group.to_owned(), member.to_owned())).map(|session| session.holder)
    }

    pub fn with<T>(&self, group: &str, member: &str, act: impl FnOnce(&mut ShareSession) -> T) -> Option<T> {
        self.all().get_mut(&(group.to_owned(), member.to_owned())).map(act)
    }

    /// Something that a consumer of this connection took part in is gone: it has to be found out what.
    pub fn cancelled(&self, consumer: ConsumerId) {
        let holder = (self.own, consumer);
        if let Some(session) = self.all().values_mut().find(|session| session.holder == holder) {
            session.joined = None;
        }
    }

    fn opened(&self, all: &BTreeMap<(String, String), ShareSession>) -> Result<ShareSession, ErrorCode> {
        let own = all.values().filter(|session| session.holder.0 == self.own);
        let taken: BTreeSet<u32> = own.map(|session| session.holder.1.0).collect();
        let free = (1..=CONNECTION_SESSIONS_MAX as u32).find(|number| !taken.contains(number));
        let consumer = ConsumerId(free.ok_or(ErrorCode::ShareSessionLimitReached)?);
        if all.len() >= NODE_SESSIONS_MAX {
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        let holder = (self.own, consumer);
        Ok(ShareSession { holder, epoch: 1, places: BTreeSet::new(), joined: None, turn: 0 })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(String, String), ShareSession>> {
        // Nothing is left half done by a panic elsewhere.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        let own = self.own;
        self.all().retain(|_, session| session.holder.0 != own);
    }
}

impl ShareSession {
    fn advance(&mut self, epoch: i32) -> Result<Phase, ErrorCode> {
        match epoch {
            OPENS => {
                self.epoch = 1;
                self.places.clear();
                Ok(Phase::Opens)
            }
            CLOSES => Ok(Phase::Closes),
            epoch if epoch == self.epoch => {
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                Ok(Phase::GoesOn)
            }
            _ => Err(ErrorCode::InvalidShareSessionEpoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(connection: u64, all: &NodeSessions) -> Sessions {
        Sessions::new(SessionId(connection), all.clone())
    }

    #[test]
    fn epochs_follow_one_another() {
        let all = NodeSessions::default();
        let sessions = of(5, &all);
        let enter = |epoch| sessions.enter_to_fetch("g", "m", epoch).map(|entered| entered.phase);
        assert_eq!(enter(1), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(enter(-1), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(enter(0), Ok(Phase::Opens));
        assert_eq!(enter(1), Ok(Phase::GoesOn));
        assert_eq!(enter(1), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(enter(2), Ok(Phase::GoesOn));
        sessions.with("g", "m", |session| session.epoch = i32::MAX).unwrap();
        assert_eq!(enter(i32::MAX), Ok(Phase::GoesOn));
        assert_eq!(enter(1), Ok(Phase::GoesOn));
        assert_eq!(enter(0), Ok(Phase::Opens), "opening again begins anew");
        assert_eq!(enter(1), Ok(Phase::GoesOn));
        assert_eq!(enter(-1), Ok(Phase::Closes));
        assert_eq!(sessions.close("g", "m"), Some((SessionId(5), ConsumerId(1))));
        assert!(all.lock().unwrap().is_empty());
    }

    #[test]
    fn acknowledgements_come_over_any_connection_and_fetches_over_one() {
        let all = NodeSessions::default();
        let (one, other) = (of(5, &all), of(6, &all));
        let holder = (SessionId(5), ConsumerId(1));
        assert_eq!(other.enter("g", "m", 1), Err(ErrorCode::ShareSessionNotFound));
        one.enter_to_fetch("g", "m", 0).unwrap();
        assert_eq!(other.enter("g", "m", 0), Err(ErrorCode::InvalidShareSessionEpoch));
        let entered = |phase, replaced| Ok(Entered { phase, holder, replaced });
        assert_eq!(other.enter("g", "m", 1), entered(Phase::GoesOn, None));
        assert_eq!(one.enter_to_fetch("g", "m", 2), entered(Phase::GoesOn, None));
        assert_eq!(other.enter_to_fetch("g", "m", 3), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(other.enter("g", "m", -1), entered(Phase::Closes, None));
        // A client that has connected anew begins anew, and what it held is nobody's.
        let theirs = (SessionId(6), ConsumerId(1));
        let taken = Entered { phase: Phase::Opens, holder: theirs, replaced: Some(holder) };
        assert_eq!(other.enter_to_fetch("g", "m", 0), Ok(taken));
        drop(one);
        assert_eq!(other.enter_to_fetch("g", "m", 1).map(|entered| entered.holder), Ok(theirs));
        drop(other);
        assert!(all.lock().unwrap().is_empty(), "they go with their connection");
    }

    #[test]
    fn sessions_are_counted() {
        let all = NodeSessions::default();
        let full = Err(ErrorCode::ShareSessionLimitReached);
        let mut connections = Vec::new();
        for connection in 0..(NODE_SESSIONS_MAX / CONNECTION_SESSIONS_MAX) as u64 {
            let sessions = of(connection, &all);
            for member in 0..CONNECTION_SESSIONS_MAX {
                sessions.enter_to_fetch("g", &format!("{connection} {member}"), 0).unwrap();
            }
            assert_eq!(sessions.enter_to_fetch("g", "x", 0), full, "of one connection");
            connections.push(sessions);
        }
        let left = NODE_SESSIONS_MAX % CONNECTION_SESSIONS_MAX;
        let last = of(u64::MAX, &all);
        for member in 0..left {
            last.enter_to_fetch("g", &member.to_string(), 0).unwrap();
        }
        assert_eq!(last.enter_to_fetch("g", "x", 0), full, "of the node");
        connections.pop();
        assert!(last.enter_to_fetch("g", "x", 0).is_ok());
    }
}
