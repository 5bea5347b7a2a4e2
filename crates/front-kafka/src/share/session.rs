//! Share sessions: what a member fetches from, kept between its requests so that each names only what changes (KIP-932).
//!
//! A session is opened by a ShareFetch with epoch 0, closed by a request with epoch −1, and each request between names the
//! next epoch. It belongs to the connection that opened it: clients fetch and acknowledge over the same one, and what
//! a member holds comes back when the connection ends. To the shards a session is one consumer.

use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::share_config::ShareConfig;
use bowline_model::{ConsumerId, PartitionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sessions of one connection; clients have one.
pub const CONNECTION_SESSIONS_MAX: usize = 64;
/// Sessions of the node (Kafka's `group.share.max.share.sessions`).
pub const NODE_SESSIONS_MAX: usize = 2_000;
/// Partitions of one session.
pub const PARTITIONS_MAX: usize = 10_000;

const OPENS: i32 = 0;
const CLOSES: i32 = -1;

/// A partition as the client names it.
pub type Place = (Uuid, i32);

/// The sessions of one connection.
#[derive(Debug)]
pub struct Sessions {
    by_member: BTreeMap<(String, String), ShareSession>,
    /// Sessions of the whole node.
    all: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub struct ShareSession {
    /// Also its channel's number, by which the shards end it.
    pub consumer: ConsumerId,
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

impl Sessions {
    pub fn new(all: Arc<AtomicUsize>) -> Sessions {
        Sessions { by_member: BTreeMap::new(), all }
    }

    /// The session of a request with this epoch, which counts as the next.
    pub fn enter(
        &mut self,
        group: &str,
        member: &str,
        epoch: i32,
    ) -> Result<(Phase, &mut ShareSession), ErrorCode> {
        let key = (group.to_owned(), member.to_owned());
        if epoch == OPENS && !self.by_member.contains_key(&key) {
            self.open(key.clone())?;
        }
        let session = self.by_member.get_mut(&key).ok_or(ErrorCode::ShareSessionNotFound)?;
        match epoch {
            OPENS => {
                session.epoch = 1;
                session.places.clear();
                Ok((Phase::Opens, session))
            }
            CLOSES => Ok((Phase::Closes, session)),
            epoch if epoch == session.epoch => {
                session.epoch = session.epoch.checked_add(1).unwrap_or(1);
                Ok((Phase::GoesOn, session))
            }
            _ => Err(ErrorCode::InvalidShareSessionEpoch),
        }
    }

    /// The shards have to be told to end its channel.
    pub fn close(&mut self, group: &str, member: &str) -> Option<ShareSession> {
        let closed = self.by_member.remove(&(group.to_owned(), member.to_owned()));
        self.all.fetch_sub(usize::from(closed.is_some()), Ordering::Relaxed);
        closed
    }

    pub fn get_mut(&mut self, group: &str, member: &str) -> Option<&mut ShareSession> {
        self.by_member.get_mut(&(group.to_owned(), member.to_owned()))
    }

    /// Something that the consumer took part in is gone: it has to be found out what.
    pub fn cancelled(&mut self, consumer: ConsumerId) {
        if let Some(session) = self.by_member.values_mut().find(|session| session.consumer == consumer) {
            session.joined = None;
        }
    }

    fn open(&mut self, key: (String, String)) -> Result<(), ErrorCode> {
        let taken: BTreeSet<u32> = self.by_member.values().map(|session| session.consumer.0).collect();
        let free = (1..=CONNECTION_SESSIONS_MAX as u32).find(|number| !taken.contains(number));
        let consumer = ConsumerId(free.ok_or(ErrorCode::ShareSessionLimitReached)?);
        if self.all.fetch_add(1, Ordering::Relaxed) >= NODE_SESSIONS_MAX {
            self.all.fetch_sub(1, Ordering::Relaxed);
            return Err(ErrorCode::ShareSessionLimitReached);
        }
        let session = ShareSession { consumer, epoch: 1, places: BTreeSet::new(), joined: None, turn: 0 };
        self.by_member.insert(key, session);
        Ok(())
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.all.fetch_sub(self.by_member.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_one_another() {
        let all = Arc::new(AtomicUsize::new(0));
        let mut sessions = Sessions::new(all.clone());
        let enter = |sessions: &mut Sessions, epoch| sessions.enter("g", "m", epoch).map(|(phase, _)| phase);
        assert_eq!(enter(&mut sessions, 1), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(enter(&mut sessions, -1), Err(ErrorCode::ShareSessionNotFound));
        assert_eq!(enter(&mut sessions, 0), Ok(Phase::Opens));
        assert_eq!(enter(&mut sessions, 1), Ok(Phase::GoesOn));
        assert_eq!(enter(&mut sessions, 1), Err(ErrorCode::InvalidShareSessionEpoch));
        assert_eq!(enter(&mut sessions, 2), Ok(Phase::GoesOn));
        sessions.get_mut("g", "m").unwrap().epoch = i32::MAX;
        assert_eq!(enter(&mut sessions, i32::MAX), Ok(Phase::GoesOn));
        assert_eq!(enter(&mut sessions, 1), Ok(Phase::GoesOn));
        assert_eq!(enter(&mut sessions, 0), Ok(Phase::Opens), "opening again begins anew");
        assert_eq!(enter(&mut sessions, 1), Ok(Phase::GoesOn));
        assert_eq!(enter(&mut sessions, -1), Ok(Phase::Closes));
        assert_eq!(all.load(Ordering::Relaxed), 1);
        assert!(sessions.close("g", "m").is_some());
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn sessions_are_counted() {
        let all = Arc::new(AtomicUsize::new(NODE_SESSIONS_MAX - 1));
        let mut sessions = Sessions::new(all.clone());
        assert!(sessions.enter("g", "1", 0).is_ok());
        assert_eq!(sessions.enter("g", "2", 0).map(|_| ()), Err(ErrorCode::ShareSessionLimitReached));
        drop(sessions);
        assert_eq!(all.load(Ordering::Relaxed), NODE_SESSIONS_MAX - 1);
        all.store(0, Ordering::Relaxed);
        let mut sessions = Sessions::new(all);
        for member in 0..CONNECTION_SESSIONS_MAX {
            sessions.enter("g", &member.to_string(), 0).unwrap();
        }
        assert_eq!(sessions.enter("g", "x", 0).map(|_| ()), Err(ErrorCode::ShareSessionLimitReached));
    }
}
