//! Consumer groups' clients: committed offsets, and members that join, share and leave.

use super::{Asked, Clients, streams::Streams};
use crate::note;
use bowline_model::group::{Error, Reply};
use std::collections::BTreeMap;

/// A topic and a partition of it, as groups name them.
pub type Place = (String, i32);

/// What was asked of a coordinator.
#[derive(Clone, Debug)]
pub enum Question {
    Commit { group: String, place: Place, offset: i64 },
    Offsets { group: String, place: Place },
    Join { group: String, member: usize, attempt: u64 },
    Sync { group: String, member: usize, attempt: u64 },
    Heartbeat { group: String, member: usize, attempt: u64 },
    Leave { group: String, member: usize, attempt: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    Outside,
    /// An answer is awaited.
    Waiting,
    /// Of a generation whose assignment is not asked for yet. The leader knows all members.
    Joined {
        members: Vec<String>,
    },
    Member,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub session: u64,
    pub id: String,
    pub generation: i32,
    pub stage: Stage,
    /// Answers to earlier attempts come too late.
    pub attempt: u64,
    /// Its name if the coordinator asks for one.
    pub new_id: String,
}

#[derive(Debug, Default)]
pub struct Group {
    /// The highest offset whose commit was acknowledged or that was seen.
    committed: BTreeMap<Place, i64>,
    /// The highest offset that was sent.
    pub sent: BTreeMap<Place, i64>,
    pub members: Vec<Member>,
    /// The last generation of this life of the node.
    generation: i32,
}

#[derive(Debug, Default)]
pub struct Groups {
    pub by_name: BTreeMap<String, Group>,
    pub next_member: u64,
}

impl Groups {
    /// Coordinators know no members after a restart; members do not know that.
    pub fn crashed(&mut self) {
        for group in self.by_name.values_mut() {
            group.generation = 0;
            group.members.iter_mut().for_each(Member::interrupted);
        }
    }

    /// A connection is closed: its members will be back on another.
    pub fn closed(&mut self, session: u64) {
        let members = self.by_name.values_mut().flat_map(|group| &mut group.members);
        members.filter(|m| m.session == session).for_each(Member::interrupted);
    }

    /// The group's last generation, and the member, unless it has gone on since that attempt.
    fn member(&mut self, group: &str, member: usize, attempt: u64) -> Option<(&mut i32, &mut Member)> {
        let group = self.by_name.get_mut(group)?;
        let me = group.members.get_mut(member).filter(|m| m.attempt == attempt)?;
        Some((&mut group.generation, me))
    }
}

/// What the leader of a generation assigns to a member.
pub fn assignment(generation: i32, member: &str) -> Vec<u8> {
    format!("{generation}:{member}").into_bytes()
}

/// Offsets committed for a topic that was deleted may be forgotten.
fn may_be_forgotten(streams: &Streams, place: &Place) -> bool {
    place.0.starts_with("topic.") && streams.deleted.contains(&place.0)
}

impl Clients {
    pub(super) fn group_answer(&mut self, question: Question, reply: Reply) {
        match (question, reply) {
            (Question::Commit { group, place, offset }, Reply::Commit(result)) => {
                let ok =
                    result.is_ok_and(|topics| topics.iter().all(|(_, ps)| ps.iter().all(|(_, r)| r.is_ok())));
                note!(self.trace, "commit {} ok={}", offset, ok);
                if ok && let Some(group) = self.groups.by_name.get_mut(&group) {
                    let committed = group.committed.entry(place).or_insert(-1);
                    *committed = (*committed).max(offset);
                }
            }
            (Question::Offsets { group, place }, Reply::FetchOffsets(Ok(topics))) => {
                let found = topics.first().and_then(|(_, partitions)| partitions.first()).map(|p| p.offset);
                let found = found.expect("promise: an offset that was asked for is answered");
                note!(self.trace, "committed is {}", found);
                let forgotten = may_be_forgotten(&self.streams, &place);
                let Some(group) = self.groups.by_name.get_mut(&group) else { return };
                let committed = group.committed.entry(place.clone()).or_insert(-1);
                assert!(
                    found >= *committed || forgotten,
                    "promise: committed offsets are kept and do not go back: {found} < {committed} for {place:?}"
                );
                let sent = group.sent.get(&place).copied().unwrap_or(-1);
                assert!(
                    found <= sent,
                    "promise: offset {found} of {place:?} was committed, at most {sent} was"
                );
                *committed = found;
            }
            (Question::Join { group, member, attempt }, Reply::Join(result)) => {
                let Some((group, me)) = self.groups.member(&group, member, attempt) else { return };
                match result {
                    Ok(joined) => {
                        note!(self.trace, "joined generation {} as {}", joined.generation, member);
                        assert!(
                            joined.generation >= *group,
                            "promise: generations do not go back: {} < {}",
                            joined.generation,
                            *group
                        );
                        *group = joined.generation;
                        let leads = joined.leader == joined.member_id;
                        assert!(
                            leads != joined.members.is_empty(),
                            "promise: the leader, and nobody else, is told who the members are"
                        );
                        let members = joined.members.iter().map(|(id, _, _)| id.clone()).collect::<Vec<_>>();
                        assert!(!leads || members.contains(&joined.member_id));
                        (me.id, me.generation) = (joined.member_id, joined.generation);
                        me.stage = Stage::Joined { members };
                    }
                    Err(refused) => {
                        note!(self.trace, "join refused {}", refused.error as i16);
                        if refused.error == Error::MemberIdRequired {
                            me.id = refused.member_id;
                        } else if refused.error == Error::UnknownMemberId {
                            me.id.clear();
                        }
                        me.stage = Stage::Outside;
                    }
                }
            }
            (Question::Sync { group, member, attempt }, Reply::Sync(result)) => {
                let Some((_, me)) = self.groups.member(&group, member, attempt) else { return };
                match result {
                    Ok(synced) => {
                        assert!(
                            synced.assignment == assignment(me.generation, &me.id),
                            "promise: member {} of generation {} gets what its leader assigned",
                            me.id,
                            me.generation
                        );
                        me.stage = Stage::Member;
                    }
                    Err(error) => me.failed(error),
                }
            }
            (Question::Heartbeat { group, member, attempt }, Reply::Heartbeat(result)) => {
                let Some((_, me)) = self.groups.member(&group, member, attempt) else { return };
                if let Err(error) = result {
                    me.failed(error);
                }
            }
            (Question::Leave { group, member, attempt }, Reply::Leave(_)) => {
                let Some((_, me)) = self.groups.member(&group, member, attempt) else { return };
                me.id.clear();
                me.stage = Stage::Outside;
            }
            (question, reply) => panic!("{reply:?} is no answer to {question:?}"),
        }
    }

    /// Somebody waits for a group to gather.
    pub fn somebody_joins(&self) -> bool {
        let waits =
            |asked: &Asked| matches!(asked, Asked::Group(Question::Join { .. } | Question::Sync { .. }));
        self.waiting.values().any(|w| self.sessions.contains_key(&w.session) && waits(&w.asked))
    }

    /// Everything that was committed and not forgotten with its topic.
    pub fn committed_places(&self) -> Vec<(String, Place)> {
        let groups = self.groups.by_name.iter();
        groups.flat_map(|(name, g)| g.committed.keys().map(|place| (name.clone(), place.clone()))).collect()
    }
}

impl Member {
    fn interrupted(&mut self) {
        self.stage = Stage::Outside;
        self.attempt += 1;
        self.session = 0;
    }

    fn failed(&mut self, error: Error) {
        if error == Error::UnknownMemberId {
            self.id.clear();
        }
        self.stage = Stage::Outside;
    }
}
