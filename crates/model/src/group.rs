//! What front ends ask of a consumer-group coordinator and what it answers: Kafka's classic protocol, and what all
//! consumer groups have in common. KIP-848 has its own words in [`crate::consumer_group`].

use crate::consumer_group as consumer;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Maps one to one to Kafka error codes; the number is the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum Error {
    OffsetMetadataTooLarge = 12,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    UnsupportedVersion = 35,
    InvalidRequest = 42,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    MemberIdRequired = 79,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    GroupSubscribedToTopic = 86,
    UnstableOffsetCommit = 88,
    FencedMemberEpoch = 110,
    UnreleasedInstanceId = 111,
    UnsupportedAssignor = 112,
    StaleMemberEpoch = 113,
    InvalidRegularExpression = 128,
}

#[derive(Clone, Debug)]
pub enum Request {
    Join(Join),
    Sync(Sync),
    Heartbeat(Member),
    Leave {
        group: String,
        members: Vec<Leaving>,
    },
    Commit(Commit),
    /// `topics: None` asks for all offsets of the group. `member`: who asks and in which epoch, to be refused if it is
    /// none (KIP-848).
    FetchOffsets {
        group: String,
        topics: Option<Vec<(String, Vec<i32>)>>,
        member: Option<(String, i32)>,
        /// Where an open transaction may change the offset, say so instead (KIP-447).
        require_stable: bool,
    },
    Describe {
        group: String,
    },
    /// Whether there is a group, of whichever protocol. Answered by [`Reply::KindOf`].
    KindOf {
        group: String,
    },
    List,
    Delete {
        group: String,
    },
    OffsetDelete {
        group: String,
        topics: Vec<(String, Vec<i32>)>,
    },
    /// A member of a KIP-848 group joins, lives or leaves.
    ConsumerHeartbeat(Box<consumer::Heartbeat>),
    ConsumerDescribe {
        group: String,
    },
}

/// A member as it names itself.
#[derive(Clone, Debug)]
pub struct Member {
    pub group: String,
    pub member_id: String,
    pub generation: i32,
    pub instance_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Join {
    pub group: String,
    /// Empty when the member is new.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Unique text from the front end, used if the coordinator has to name the member.
    pub new_member_id: String,
    /// The client must come back with the id it is given first (JoinGroup v4+, dynamic members; KIP-394).
    pub require_known_member_id: bool,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// Name and metadata, most preferred first.
    pub protocols: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub member: Member,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    /// Member id and assignment; from the leader only.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Leaving {
    pub member_id: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Commit {
    /// generation −1 and empty member id: a commit from outside the group's membership.
    pub member: Member,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
    /// The client speaks of member epochs (OffsetCommit v9+, KIP-848), and knows the errors that go with them.
    pub knows_epochs: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartitionCommit {
    pub partition: i32,
    pub offset: i64,
    /// −1 when unknown.
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// Body of an OffsetCommit record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OffsetCommitRecord {
    pub group: String,
    pub topics: Vec<(String, Vec<PartitionCommit>)>,
}

/// Body of an OffsetDelete record; `topics: None` forgets the whole group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OffsetDeleteRecord {
    pub group: String,
    pub topics: Option<Vec<(String, Vec<i32>)>>,
}

/// Topic, and what became of each partition asked for.
pub type PartitionResults = Vec<(String, Vec<(i32, Result<(), Error>)>)>;

#[derive(Clone, Debug)]
pub enum Reply {
    Join(Result<Joined, JoinRefused>),
    Sync(Result<Synced, Error>),
    Heartbeat(Result<(), Error>),
    /// One result a member asked to leave, in order.
    Leave(Vec<(Leaving, Result<(), Error>)>),
    /// Group-level refusal, or one result per partition in the order asked.
    Commit(Result<PartitionResults, Error>),
    FetchOffsets(Result<Vec<(String, Vec<PartitionOffset>)>, Error>),
    Describe(Description),
    /// Of a group with members or offsets.
    KindOf(Option<GroupKind>),
    List(Vec<Listed>),
    Delete(Result<(), Error>),
    OffsetDelete(Result<PartitionResults, Error>),
    ConsumerHeartbeat(Result<consumer::Beat, consumer::Refused>),
    ConsumerDescribe(Result<consumer::Description, consumer::Refused>),
}

#[derive(Clone, Debug)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol_name: String,
    pub leader: String,
    pub member_id: String,
    /// For the leader only: every member's id, instance id and metadata.
    pub members: Vec<(String, Option<String>, Bytes)>,
    /// The id under which a static member that came back has led the group so far. It leads on, but the assignment
    /// stands: there is nothing to compute (KIP-814).
    pub led_as: Option<String>,
}

#[derive(Clone, Debug)]
pub struct JoinRefused {
    pub error: Error,
    /// The id to come back with, for [`Error::MemberIdRequired`].
    pub member_id: String,
}

#[derive(Clone, Debug)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol_name: String,
    pub assignment: Bytes,
}

/// offset −1 when nothing was committed.
#[derive(Clone, Debug)]
pub struct PartitionOffset {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<String>,
    /// [`Error::UnstableOffsetCommit`].
    pub unstable: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
    Dead,
    /// KIP-848: the members' subscriptions are newer than the assignment.
    Assigning,
    /// KIP-848: not every member has what the assignment has for it.
    Reconciling,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
            State::Dead => "Dead",
            State::Assigning => "Assigning",
            State::Reconciling => "Reconciling",
        }
    }
}

/// A group that does not exist is described as `Dead`.
#[derive(Clone, Debug)]
pub struct Description {
    pub group: String,
    pub state: State,
    pub protocol_type: String,
    pub protocol_name: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub group: String,
    pub protocol_type: String,
    pub state: State,
    pub kind: GroupKind,
}

/// Which protocol a group speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupKind {
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupKind {
    /// As ListGroups calls it.
    pub fn name(self) -> &'static str {
        match self {
            GroupKind::Classic => "classic",
            GroupKind::Consumer => "consumer",
        }
    }
}
