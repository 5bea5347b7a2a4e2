//! DescribeTransactions (65): what the coordinator knows of transactional ids; of their partitions those of topics that
//! the client may see.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_transactions_response::{TopicData, TransactionState};
use bowline_codec_kafka::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::txn::{Description, Reply, Request};
use std::collections::BTreeMap;

pub fn start(request: DescribeTransactionsRequest, cx: &mut Context<'_>) -> Step {
    let ids = request.transactional_ids;
    let may =
        |id: &String, cx: &mut Context<'_>| cx.allows(Operation::Describe, Resource::TransactionalId(id));
    let (ids, denied): (Vec<String>, Vec<String>) = ids.into_iter().partition(|id| may(id, cx));
    for (sub, id) in ids.iter().enumerate() {
        cx.ask_txn(sub as u32, id, Request::Describe { id: id.clone() });
    }
    cx.gather(ids.len(), |answers, cx| {
        let denial = ErrorCode::TransactionalIdAuthorizationFailed;
        let mut states: Vec<_> = denied.into_iter().map(|id| unknown(id, denial)).collect();
        for (id, answer) in ids.into_iter().zip(answers) {
            states.push(match answer {
                Event::Txn { reply: Reply::Described(Some(mut found)), .. } => {
                    found.members.retain(|m| cx.allows(Operation::Describe, Resource::Topic(&m.topic)));
                    described(id, found)
                }
                Event::Txn { reply: Reply::Described(None), .. } if id.is_empty() => {
                    unknown(id, ErrorCode::InvalidRequest)
                }
                Event::Txn { reply: Reply::Described(None), .. } => {
                    unknown(id, ErrorCode::TransactionalIdNotFound)
                }
                Event::Failed { reason, .. } => unknown(id, errors::coordinator_failure(reason)),
                _ => return cx.mismatch(),
            });
        }
        cx.reply(&DescribeTransactionsResponse { transaction_states: states, ..Default::default() })
    })
}

fn described(transactional_id: String, found: Description) -> TransactionState {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for member in found.members {
        topics.entry(member.topic).or_default().push(member.index as i32);
    }
    TransactionState {
        error_code: 0,
        transactional_id,
        transaction_state: found.state.name().into(),
        transaction_timeout_ms: found.timeout_ms as i32,
        transaction_start_time_ms: found.started.map_or(-1, |time| time as i64),
        producer_id: found.producer.id,
        producer_epoch: found.producer.epoch,
        topics: topics.into_iter().map(|(topic, partitions)| TopicData { topic, partitions }).collect(),
    }
}

fn unknown(transactional_id: String, error: ErrorCode) -> TransactionState {
    TransactionState { error_code: error.code(), transactional_id, ..Default::default() }
}
