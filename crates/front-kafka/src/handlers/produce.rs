//! Produce (0): batches into partitions, answered when they are on stable storage.
//!
//! The hot path. A batch is checked, and copied once, into a run of records for its shard; the runs of all requests of
//! one socket read leave in one flush. acks=1 and acks=all mean the same here: flushed. With acks=0 there is no
//! response, and a refused batch closes the connection, so that the client looks at its metadata again (as Kafka does).
//!
//! A partition takes batches of a transaction that it has been told of. Producers say so to the coordinator first; from
//! version 12 on they leave that to us (KIP-890), so the first batch for each partition waits for the coordinator.

use crate::access::Named;
use crate::batch_rules::{self, Refusal};
use crate::catalog::Topic;
use crate::errors;
use crate::pending::{Closed, Context, Pending, SUB_BITS, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::produce_request::{PartitionProduceData, ProduceRequest};
use bowline_codec_kafka::messages::produce_response::{
    PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use bowline_codec_kafka::records::BatchHeader;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::{AppendError, AppendResult, Event};
use bowline_model::record::Append;
use bowline_model::request::{Propose, Request, Want};
use bowline_model::txn::{self, Member, Producer};
use bowline_model::{PartitionId, ShardId};
use bytes::Bytes;

/// A run of records is closed at this size, so that one request cannot fill a whole block by far.
const RUN_BYTES_SOFT_MAX: usize = 4 << 20;

/// First version in which topics are named by id.
const TOPIC_IDS_FROM: i16 = 13;
/// Every replica in sync is to have the batch, and there are to be enough of them.
const ACKS_ALL: i16 = -1;
/// First version whose producers join partitions by producing to them.
const JOINS_FROM: i16 = 12;
/// First version that knows that a transaction cannot be committed any more, only aborted (KIP-1050).
const ABORTABLE_FROM: i16 = 11;
/// The question to the coordinator; those to shards count from 0.
const JOIN: u32 = (1 << SUB_BITS) - 1;

/// The answer is filled in as shards report.
#[derive(Default)]
struct Producing {
    acks: i16,
    /// What a partition says that is not in the transaction.
    outside: ErrorCode,
    response: ProduceResponse,
    /// By question: topic and partition position in the response of each record of the run.
    runs: Vec<Vec<(u32, u32)>>,
    missing: usize,
}

/// Records for one shard, being collected.
struct Run {
    shard: ShardId,
    records: Vec<u8>,
    places: Vec<(u32, u32)>,
}

pub fn start(request: ProduceRequest, cx: &mut Context<'_>) -> Step {
    let denied = match &request.transactional_id {
        Some(id) => !cx.allows(Operation::Write, Resource::TransactionalId(id)),
        // Whose transaction it is was not said, and so not whether the client may write in it.
        None => has_transactional(&request),
    };
    let whole = match denied {
        true => Some((ErrorCode::TransactionalIdAuthorizationFailed, None)),
        false => refuse_whole(&request),
    };
    let acks = request.acks;
    let mut response = ProduceResponse::default();
    response.responses.reserve_exact(request.topic_data.len());
    let mut open: Vec<Run> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    let mut joining = Joining::new(request.transactional_id, cx);
    for (t, topic_data) in request.topic_data.into_iter().enumerate() {
        let named = Named::new(cx.head.version >= TOPIC_IDS_FROM, &topic_data.name, topic_data.topic_id);
        let topic = cx.permitted(Operation::Write, named);
        let mut partition_responses = Vec::with_capacity(topic_data.partition_data.len());
        for (p, data) in topic_data.partition_data.into_iter().enumerate() {
            let index = data.index;
            let outcome = match (&whole, &topic) {
                (Some((error, message)), _) => Err(Refusal::new(*error, *message)),
                (None, Err(error)) => Err(Refusal::new(*error, None)),
                (None, Ok(topic)) => accept(data, acks, topic, &mut joining, cx)
                    .map(|accepted| collect(accepted, (t as u32, p as u32), &mut open, cx)),
            };
            let mut answer = PartitionProduceResponse { index, base_offset: -1, ..Default::default() };
            match outcome {
                Ok(()) if topic.as_ref().is_ok_and(|topic| topic.rules.log_append_time) => {
                    answer.log_append_time_ms = cx.now.millis;
                }
                Ok(()) => {}
                Err(refusal) => refusal.fill(&mut answer),
            }
            partition_responses.push(answer);
            // Large requests leave in several blocks.
            while let Some(full) = open.iter().position(|run| run.records.len() >= RUN_BYTES_SOFT_MAX) {
                runs.push(open.swap_remove(full));
            }
        }
        response.responses.push(TopicProduceResponse {
            name: topic_data.name,
            topic_id: topic_data.topic_id,
            partition_responses,
        });
    }
    runs.append(&mut open);
    let outside = match cx.head.version {
        ABORTABLE_FROM..JOINS_FROM => ErrorCode::TransactionAbortable,
        _ => ErrorCode::InvalidTxnState,
    };
    let producing = Producing { acks, outside, response, runs: Vec::new(), missing: 0 };
    match joining.ask(cx) {
        None => producing.go_on(runs, cx),
        Some((producer, members)) => Step::Wait(Box::new(Waiting { producing, runs, producer, members })),
    }
}

/// What a request says of its transaction.
struct Joining {
    id: Option<String>,
    /// Partitions join by this request, should they not have joined.
    by_producing: bool,
    producer: Option<Producer>,
    members: Vec<Member>,
}

impl Joining {
    fn new(id: Option<String>, cx: &Context<'_>) -> Joining {
        let by_producing = cx.head.version >= JOINS_FROM;
        Joining { id, by_producing, producer: None, members: Vec::new() }
    }

    /// Notes a batch of a transaction.
    fn note(
        &mut self,
        batch: &[u8],
        topic: &Topic,
        index: i32,
        partition: PartitionId,
    ) -> Result<(), Refusal> {
        if !self.by_producing {
            return Ok(());
        }
        let header = BatchHeader::parse(batch)?;
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        if *self.producer.get_or_insert(producer) != producer {
            return Err(Refusal::new(ErrorCode::InvalidProducerIdMapping, None));
        }
        self.members.push(Member { partition, topic: topic.name.clone(), index: index as u32 });
        Ok(())
    }

    /// Asks the coordinator if it has to be asked.
    fn ask(self, cx: &mut Context<'_>) -> Option<(Producer, Vec<PartitionId>)> {
        let (id, producer) = (self.id?, self.producer?);
        let partitions: Vec<PartitionId> = self.members.iter().map(|member| member.partition).collect();
        if !cx.joined.ask(producer, partitions.iter().copied()) {
            return None;
        }
        let members = self.members;
        let add = txn::Request::Add { id: id.clone(), producer, members, group: None, implicit: true };
        cx.ask_txn(JOIN, &id, add);
        Some((producer, partitions))
    }
}

/// The coordinator is asked whether partitions may join; then the batches go out.
struct Waiting {
    producing: Producing,
    runs: Vec<Run>,
    producer: Producer,
    members: Vec<PartitionId>,
}

impl Pending for Waiting {
    fn event(&mut self, _: u32, event: Event, cx: &mut Context<'_>) -> Step {
        let joined = match event {
            Event::Txn { reply: txn::Reply::Added(Ok(())), .. } => Ok(std::mem::take(&mut self.members)),
            Event::Txn { reply: txn::Reply::Added(Err(error)), .. } => Err(errors::joining(error)),
            Event::Failed { reason, .. } => Err(errors::failure(reason)),
            _ => return cx.mismatch(),
        };
        let runs = std::mem::take(&mut self.runs);
        let mut producing = std::mem::take(&mut self.producing);
        match joined {
            Ok(members) => {
                cx.joined.answered(self.producer, members.into_iter());
                producing.go_on(runs, cx)
            }
            Err(error) => {
                cx.joined.answered(self.producer, std::iter::empty());
                for (t, p) in runs.into_iter().flat_map(|run| run.places) {
                    producing.answer(t, p).error_code = error.code();
                }
                producing.finish(cx)
            }
        }
    }
}

impl Pending for Producing {
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step {
        let Some(places) = self.runs.get_mut(sub as usize).map(std::mem::take) else { return cx.mismatch() };
        match event {
            Event::Appended { results, .. } if results.len() == places.len() => {
                for (place, result) in places.into_iter().zip(results) {
                    self.fill(place, result);
                }
            }
            Event::Failed { reason, .. } => {
                let error = errors::failure(reason);
                for (t, p) in places {
                    self.answer(t, p).error_code = error.code();
                }
            }
            _ => return cx.mismatch(),
        }
        self.missing -= 1;
        if self.missing == 0 { self.finish(cx) } else { Step::Stay }
    }
}

impl Producing {
    fn go_on(mut self, runs: Vec<Run>, cx: &mut Context<'_>) -> Step {
        self.runs.reserve_exact(runs.len());
        runs.into_iter().for_each(|run| send(run, &mut self.runs, cx));
        self.missing = self.runs.len();
        match self.missing {
            0 => self.finish(cx),
            _ => Step::Wait(Box::new(self)),
        }
    }

    fn fill(&mut self, (t, p): (u32, u32), result: AppendResult) {
        let outside = self.outside;
        let answer = self.answer(t, p);
        match result.result {
            Ok(appended) => {
                answer.base_offset = appended.base_offset as i64;
                answer.log_start_offset = appended.log_start as i64;
            }
            Err(error) => {
                let error = match error {
                    AppendError::InvalidTxnState => outside,
                    error => errors::append(error),
                };
                answer.error_code = error.code();
                answer.log_append_time_ms = -1;
            }
        }
    }

    fn answer(&mut self, t: u32, p: u32) -> &mut PartitionProduceResponse {
        &mut self.response.responses[t as usize].partition_responses[p as usize]
    }

    fn finish(&mut self, cx: &mut Context<'_>) -> Step {
        if self.acks != 0 {
            return cx.reply(&self.response);
        }
        let all = self.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        match all.into_iter().find(|answer| answer.error_code != 0) {
            Some(_) => Step::Close(Closed::UnacknowledgedFailure),
            None => Step::Silent,
        }
    }
}

/// What is wrong with the request as a whole.
fn refuse_whole(request: &ProduceRequest) -> Option<(ErrorCode, Option<&'static str>)> {
    if !matches!(request.acks, -1..=1) {
        return Some((ErrorCode::InvalidRequiredAcks, None));
    }
    None
}

/// Whether a batch of a transaction is in it, by the look of them: nothing has been checked yet.
fn has_transactional(request: &ProduceRequest) -> bool {
    const MAGIC_AT: usize = 16;
    let mut partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.any(|data| {
        let batch = data.records.as_ref().and_then(|records| records.segments.first());
        batch.is_some_and(|batch| batch.get(MAGIC_AT) == Some(&2) && is_transactional(batch))
    })
}

/// A batch that may be appended.
struct Accepted {
    partition: PartitionId,
    batch: Bytes,
}

fn accept(
    data: PartitionProduceData,
    acks: i16,
    topic: &Topic,
    joining: &mut Joining,
    cx: &Context<'_>,
) -> Result<Accepted, Refusal> {
    let Some(partition) = topic.partition(data.index) else {
        return Err(Refusal::new(ErrorCode::UnknownTopicOrPartition, None));
    };
    // There is one replica, and it is in sync.
    if acks == ACKS_ALL && topic.rules.in_sync_min > 1 {
        return Err(Refusal::new(ErrorCode::NotEnoughReplicas, None));
    }
    let batch = data.records.map(|records| records.into_bytes()).unwrap_or_default();
    let batch = batch_rules::check(batch, &topic.rules, cx.head.version, cx.now.millis)?;
    if is_transactional(&batch) {
        joining.note(&batch, topic, data.index, partition)?;
    }
    Ok(Accepted { partition, batch })
}

/// One octet of a batch is looked at.
fn is_transactional(batch: &[u8]) -> bool {
    const TRANSACTIONAL: u8 = 0x10;
    batch.get(22).is_some_and(|attributes| attributes & TRANSACTIONAL != 0)
}

fn collect(accepted: Accepted, place: (u32, u32), open: &mut Vec<Run>, cx: &Context<'_>) {
    let shard = cx.shard_of(accepted.partition);
    let run = match open.iter_mut().position(|run| run.shard == shard) {
        Some(found) => &mut open[found],
        None => {
            // Room for the batch and the frame around it; most requests bring one batch a shard.
            let records = Vec::with_capacity(accepted.batch.len() + 32);
            open.push(Run { shard, records, places: Vec::new() });
            open.last_mut().expect("just pushed")
        }
    };
    Append::encode(&mut run.records, accepted.partition.0, 0, &accepted.batch);
    run.places.push(place);
}

fn send(run: Run, sent: &mut Vec<Vec<(u32, u32)>>, cx: &mut Context<'_>) {
    let token = cx.token(sent.len() as u32);
    let propose = Propose {
        token,
        count: run.places.len() as u32,
        records: run.records.into(),
        want: Want::Appended,
        checked: false,
    };
    cx.send(run.shard, Request::Propose(propose));
    sent.push(run.places);
}
