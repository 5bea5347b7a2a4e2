//! AddPartitionsToTxn (24): partitions join the producer's open transaction; the first begins it.
//!
//! Versions 4 and 5 are batches of several producers' transactions, and may only ask what is in (as brokers do of
//! coordinators): they are for those who may act as the cluster, who need no other rights. Clients send one at a time,
//! in versions up to 3.

use crate::access::Named;
use crate::errors;
use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::add_partitions_to_txn_request::AddPartitionsToTxnTransaction;
use bowline_codec_kafka::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use bowline_codec_kafka::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::txn::{Member, Producer, Reply, Request};

/// From this version on a request names several transactions.
const BATCHED_FROM: i16 = 4;
/// First version that knows PRODUCER_FENCED (KIP-588).
pub const FENCED_FROM: i16 = 2;

pub fn start(request: AddPartitionsToTxnRequest, cx: &mut Context<'_>) -> Step {
    if cx.head.version >= BATCHED_FROM
        && let Err(error) = super::may_rule(Operation::ClusterAction, cx)
    {
        return cx.reply(&AddPartitionsToTxnResponse { error_code: error.code(), ..Default::default() });
    }
    let transactions = match cx.head.version >= BATCHED_FROM {
        true => request.transactions,
        false => vec![AddPartitionsToTxnTransaction {
            transactional_id: request.v3_and_below_transactional_id,
            producer_id: request.v3_and_below_producer_id,
            producer_epoch: request.v3_and_below_producer_epoch,
            verify_only: false,
            topics: request.v3_and_below_topics,
        }],
    };
    let mut results = Vec::with_capacity(transactions.len());
    // The result that each question is about.
    let mut asked = Vec::new();
    for transaction in transactions {
        let id = transaction.transactional_id.clone();
        let (topic_results, request) = resolve(transaction, cx);
        if let Some(request) = request {
            cx.ask_txn(asked.len() as u32, &id, request);
            asked.push(results.len());
        }
        results.push(AddPartitionsToTxnResult { transactional_id: id, topic_results });
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (at, answer) in asked.into_iter().zip(answers) {
            let all = results[at].topic_results.iter_mut().flat_map(|topic| &mut topic.results_by_partition);
            let whole = match answer {
                Event::Txn { reply: Reply::Added(Ok(())), .. } => ErrorCode::None,
                Event::Txn { reply: Reply::Added(Err(error)) | Reply::Verified(Err(error)), .. } => {
                    errors::txn(error, cx.head.version >= FENCED_FROM)
                }
                Event::Txn { reply: Reply::Verified(Ok(verified)), .. } => {
                    for (result, is_in) in all.zip(verified) {
                        let error = if is_in { ErrorCode::None } else { ErrorCode::TransactionAbortable };
                        result.partition_error_code = error.code();
                    }
                    continue;
                }
                Event::Txn { reply: Reply::Outdated, .. } => return Step::Close(Closed::Outdated),
                Event::Failed { reason, .. } => errors::coordinator_failure(reason),
                _ => return cx.mismatch(),
            };
            all.for_each(|result| result.partition_error_code = whole.code());
        }
        let mut response = AddPartitionsToTxnResponse::default();
        if cx.head.version >= BATCHED_FROM {
            response.results_by_transaction = results;
        } else {
            response.results_by_topic_v3_and_below =
                results.pop().map(|result| result.topic_results).unwrap_or_default();
        }
        cx.reply(&response)
    })
}

/// The results, all well for the time being, and what to ask. Nothing is asked if a partition does not exist: all join,
/// or none does.
fn resolve(
    transaction: AddPartitionsToTxnTransaction,
    cx: &mut Context<'_>,
) -> (Vec<AddPartitionsToTxnTopicResult>, Option<Request>) {
    let batched = cx.head.version >= BATCHED_FROM;
    let id = &transaction.transactional_id;
    let denied = !batched && !cx.allows(Operation::Write, Resource::TransactionalId(id));
    let mut members = Vec::new();
    let mut unknown = denied;
    let mut results = Vec::with_capacity(transaction.topics.len());
    for asked in transaction.topics {
        let topic = match denied {
            true => Err(ErrorCode::TransactionalIdAuthorizationFailed),
            false if batched => cx.topic(&asked.name).ok_or(ErrorCode::UnknownTopicOrPartition),
            false => cx.permitted(Operation::Write, Named::Name(&asked.name)),
        };
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for index in asked.partitions {
            let id = topic.as_ref().map(|topic| topic.partition(index));
            let error = match id {
                Ok(Some(partition)) => {
                    members.push(Member { partition, topic: asked.name.clone(), index: index as u32 });
                    ErrorCode::None
                }
                Ok(None) => {
                    unknown = true;
                    ErrorCode::UnknownTopicOrPartition
                }
                Err(error) => {
                    unknown = true;
                    *error
                }
            };
            partitions.push(AddPartitionsToTxnPartitionResult {
                partition_index: index,
                partition_error_code: error.code(),
            });
        }
        results.push(AddPartitionsToTxnTopicResult { name: asked.name, results_by_partition: partitions });
    }
    let others = match unknown {
        true => ErrorCode::OperationNotAttempted,
        false if id.is_empty() => ErrorCode::InvalidRequest,
        false => ErrorCode::None,
    };
    if others != ErrorCode::None {
        let all = results.iter_mut().flat_map(|topic| &mut topic.results_by_partition);
        for result in all.filter(|result| result.partition_error_code == 0) {
            result.partition_error_code = others.code();
        }
        return (results, None);
    }
    let (id, producer) = (
        transaction.transactional_id,
        Producer { id: transaction.producer_id, epoch: transaction.producer_epoch },
    );
    let request = match transaction.verify_only {
        true => Request::Verify { id, producer, partitions: members.iter().map(|m| m.partition).collect() },
        false => Request::Add { id, producer, members, group: None, implicit: false },
    };
    (results, Some(request))
}
