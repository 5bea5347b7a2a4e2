//! KIP-848 consumer groups: one request a member, and the broker decides who reads what.
//!
//! A member's heartbeat says what it subscribes to and which partitions it still owns; the answer says which it shall
//! own. A partition moves only after the heartbeat of its old owner has stopped listing it.

use crate::TopicId;
use crate::group::Error;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Partitions by topic, by their numbers in it; no topic without any.
pub type Partitions = BTreeMap<TopicId, BTreeSet<u32>>;

/// Epoch of a heartbeat with which a member leaves.
pub const LEAVES: i32 = -1;
/// Epoch of a heartbeat with which a static member leaves for a short while: its place is kept.
pub const LEAVES_FOR_A_WHILE: i32 = -2;

/// `None` and −1: as told before.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    pub group: String,
    pub member_id: String,
    /// 0: joins (again); otherwise the epoch it was given last, or one of the two with which it leaves.
    pub epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub topics: Option<Vec<String>>,
    /// Topics by a regular expression that matches their whole names; empty: none.
    pub regex: Option<String>,
    /// `uniform` or `range`.
    pub assignor: Option<String>,
    pub owned: Option<Partitions>,
    pub client_id: String,
    pub client_host: String,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beat {
    pub member_id: String,
    pub epoch: i32,
    /// The next one is expected in this time, ms.
    pub heartbeat_interval_ms: u32,
    /// What the member shall own; `None`: as told before.
    pub assignment: Option<Partitions>,
}

/// Why a request was refused; the text is for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub error: Error,
    pub message: String,
}

/// What is kept of a member: it survives restarts, so that nobody has to join again because of one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: u32,
    /// Sorted.
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    /// What it may read, by what it was told last.
    pub assigned: Partitions,
    /// What it has to give back first.
    pub revoking: Partitions,
    /// What the group's current assignment has for it.
    pub target: Partitions,
    /// It speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum MemberState {
    /// It has what its epoch has for it.
    #[default]
    Stable,
    /// It has been told to give partitions back and has not yet.
    Revoking,
    /// Some of what it shall own is still another's.
    Waiting,
}

/// What else is kept of a member that speaks the classic protocol.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClassicMember {
    pub session_timeout_ms: u32,
    /// Name and metadata, most preferred first.
    pub protocols: Vec<(String, Vec<u8>)>,
}

/// Body of a ConsumerGroup record: what of a group is new.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    pub group: String,
    /// The group is none of this kind any more (it went classic); all else is empty.
    pub gone: bool,
    pub epoch: i32,
    pub assignment_epoch: i32,
    /// Stands for the topics that were subscribed to, and their partitions, at this epoch.
    pub subscribed: u64,
    /// Members as they are now; `None`: it has left.
    pub members: Vec<(String, Option<Member>)>,
}

#[derive(Clone, Debug)]
pub struct Description {
    pub group: String,
    pub state: crate::group::State,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub regex: Option<String>,
    pub assigned: Vec<DescribedTopic>,
    pub target: Vec<DescribedTopic>,
    pub classic: bool,
}

#[derive(Clone, Debug)]
pub struct DescribedTopic {
    pub id: TopicId,
    pub name: String,
    pub partitions: Vec<u32>,
}
