//! TxnOffsetCommit (28): progress of a group that counts if the transaction commits.
//!
//! From version 5 on the group joins the transaction with it (KIP-890); before, AddOffsetsToTxn has said so.

use crate::access::Named;
use crate::catalog::Topic;
use crate::errors;
use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use bowline_codec_kafka::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::group::{Error, Member, PartitionCommit, PartitionResults, Reply};
use bowline_model::request::Request;
use bowline_model::txn::{self, OffsetsCommit, Producer};

/// First version that knows that a transaction cannot be committed any more, only aborted (KIP-1050).
const ABORTABLE_FROM: i16 = 4;
const IMPLICIT_FROM: i16 = 5;
/// First version in which topics are named by id.
const TOPIC_IDS_FROM: i16 = 6;

pub fn start(request: TxnOffsetCommitRequest, cx: &mut Context<'_>) -> Step {
    if request.group_id.is_empty() {
        return fail_all(request, ErrorCode::InvalidGroupId, cx);
    }
    if !cx.allows(Operation::Write, Resource::TransactionalId(&request.transactional_id)) {
        return fail_all(request, ErrorCode::TransactionalIdAuthorizationFailed, cx);
    }
    if !cx.allows(Operation::Read, Resource::Group(&request.group_id)) {
        return fail_all(request, ErrorCode::GroupAuthorizationFailed, cx);
    }
    let mut answers = Answers::default();
    for asked in request.topics {
        let named = Named::new(cx.head.version >= TOPIC_IDS_FROM, &asked.name, asked.topic_id);
        let topic = cx.permitted(Operation::Read, named);
        answers.begin(asked.name, asked.topic_id);
        for partition in asked.partitions {
            let index = partition.partition_index;
            match topic.as_ref().map(|topic| topic.partition(index).is_some()) {
                Err(error) => answers.refuse(index, *error),
                Ok(false) => answers.refuse(index, ErrorCode::UnknownTopicOrPartition),
                Ok(true) => answers.commit(PartitionCommit {
                    partition: index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata,
                }),
            }
        }
        answers.end(topic.as_deref().ok());
    }
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let implicit = cx.head.version >= IMPLICIT_FROM;
    let commit = OffsetsCommit {
        member: Member {
            group: request.group_id,
            member_id: request.member_id,
            generation: request.generation_id_or_member_epoch,
            instance_id: request.group_instance_id,
        },
        producer,
        topics: answers.take_commits(),
        implicit,
    };
    if !implicit {
        return send(commit, answers, cx);
    }
    let id = request.transactional_id;
    let group = Some(commit.member.group.clone());
    let add = txn::Request::Add { id: id.clone(), producer, members: Vec::new(), group, implicit };
    cx.ask_txn(0, &id, add);
    cx.gather(1, move |mut events, cx| match events.pop() {
        Some(Event::Txn { reply: txn::Reply::Added(Ok(())), .. }) => send(commit, answers, cx),
        Some(Event::Txn { reply: txn::Reply::Added(Err(error)), .. }) => {
            answers.fail(errors::txn(error, false));
            respond(answers, cx)
        }
        Some(Event::Txn { reply: txn::Reply::Outdated, .. }) => Step::Close(Closed::Outdated),
        Some(Event::Failed { reason, .. }) => {
            answers.fail(errors::coordinator_failure(reason));
            respond(answers, cx)
        }
        _ => cx.mismatch(),
    })
}

/// The offsets go to the group's coordinator.
fn send(commit: OffsetsCommit, mut answers: Answers, cx: &mut Context<'_>) -> Step {
    let shard = ShardId::of_group(&commit.member.group, cx.broker.data_shards);
    let outside = match cx.head.version {
        ABORTABLE_FROM..IMPLICIT_FROM => ErrorCode::TransactionAbortable,
        _ => ErrorCode::InvalidTxnState,
    };
    let token = cx.token(0);
    cx.send(shard, Request::TxnOffsets { token, commit });
    cx.gather(1, move |mut events, cx| {
        match events.pop() {
            Some(Event::Group { reply: Reply::Commit(Ok(results)), .. }) => answers.fill(results),
            Some(Event::Group { reply: Reply::Commit(Err(Error::InvalidTxnState)), .. }) => {
                answers.fail(outside)
            }
            Some(Event::Group { reply: Reply::Commit(Err(error)), .. }) => answers.fail(errors::group(error)),
            Some(Event::Outdated { .. }) => return Step::Close(Closed::Outdated),
            Some(Event::Failed { reason, .. }) => answers.fail(errors::coordinator_failure(reason)),
            _ => return cx.mismatch(),
        }
        respond(answers, cx)
    })
}

fn respond(answers: Answers, cx: &Context<'_>) -> Step {
    let topics = answers.topics.into_iter().map(|topic| TxnOffsetCommitResponseTopic {
        name: topic.name,
        topic_id: topic.id,
        partitions: topic
            .partitions
            .into_iter()
            .map(|(partition_index, error)| TxnOffsetCommitResponsePartition {
                partition_index,
                error_code: error.code(),
            })
            .collect(),
    });
    cx.reply(&TxnOffsetCommitResponse { topics: topics.collect(), ..Default::default() })
}

fn fail_all(request: TxnOffsetCommitRequest, error: ErrorCode, cx: &Context<'_>) -> Step {
    let mut answers = Answers::default();
    for topic in request.topics {
        answers.begin(topic.name, topic.topic_id);
        topic.partitions.iter().for_each(|partition| answers.refuse(partition.partition_index, error));
        answers.end(None);
    }
    respond(answers, cx)
}

/// The answers to a commit in the order of the request, and what of it the group is asked to commit.
#[derive(Default)]
struct Answers {
    topics: Vec<TopicAnswers>,
    commits: Vec<(String, Vec<PartitionCommit>)>,
    /// For each topic of the commit: its position among `topics` and the positions of its partitions there.
    places: Vec<(usize, Vec<usize>)>,
    open: (Vec<PartitionCommit>, Vec<usize>),
}

struct TopicAnswers {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, ErrorCode)>,
}

impl Answers {
    fn begin(&mut self, name: String, id: Uuid) {
        self.topics.push(TopicAnswers { name, id, partitions: Vec::new() });
    }

    /// A partition of the topic just begun is not asked about.
    fn refuse(&mut self, index: i32, error: ErrorCode) {
        if let Some(topic) = self.topics.last_mut() {
            topic.partitions.push((index, error));
        }
    }

    fn commit(&mut self, commit: PartitionCommit) {
        if let Some(topic) = self.topics.last_mut() {
            self.open.1.push(topic.partitions.len());
            topic.partitions.push((commit.partition, ErrorCode::None));
            self.open.0.push(commit);
        }
    }

    fn end(&mut self, topic: Option<&Topic>) {
        let (commits, positions) = std::mem::take(&mut self.open);
        if let (Some(topic), false) = (topic, commits.is_empty()) {
            self.places.push((self.topics.len() - 1, positions));
            self.commits.push((topic.name.clone(), commits));
        }
    }

    fn take_commits(&mut self) -> Vec<(String, Vec<PartitionCommit>)> {
        std::mem::take(&mut self.commits)
    }

    fn fill(&mut self, results: PartitionResults) {
        for ((t, positions), (_, partitions)) in self.places.iter().zip(results) {
            for (p, (_, result)) in positions.iter().zip(partitions) {
                let error = result.map_or_else(errors::group, |()| ErrorCode::None);
                self.topics[*t].partitions[*p].1 = error;
            }
        }
    }

    /// There is no room for an error of the whole request, so every partition gets it.
    fn fail(&mut self, error: ErrorCode) {
        let all = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        all.filter(|(_, found)| *found == ErrorCode::None).for_each(|(_, found)| *found = error);
    }
}
