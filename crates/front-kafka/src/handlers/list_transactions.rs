//! ListTransactions (66): every shard lists the transactional ids that it coordinates.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::list_transactions_response::TransactionState;
use bowline_codec_kafka::messages::{ListTransactionsRequest, ListTransactionsResponse};
use bowline_model::ShardId;
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::request::Request;
use bowline_model::txn::{self, Listed, Reply};
use regex::Regex;

/// All that Kafka knows; some occur in no broker of ours.
const STATES: [&str; 8] = [
    "Empty",
    "Ongoing",
    "PrepareCommit",
    "PrepareAbort",
    "CompleteCommit",
    "CompleteAbort",
    "Dead",
    "PrepareEpochFence",
];

/// Longest pattern, bytes: what it compiles to is bounded as well.
const PATTERN_BYTES_MAX: usize = 4096;

pub fn start(request: ListTransactionsRequest, cx: &mut Context<'_>) -> Step {
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        Some(pattern) => match compile(pattern) {
            Some(pattern) => Some(pattern),
            None => {
                let error_code = ErrorCode::InvalidRegularExpression.code();
                return cx.reply(&ListTransactionsResponse { error_code, ..Default::default() });
            }
        },
    };
    let shards = cx.broker.data_shards;
    for shard in 1..=shards {
        let token = cx.token(u32::from(shard) - 1);
        cx.send(ShardId(shard), Request::Txn { token, request: txn::Request::List });
    }
    cx.gather(shards.into(), move |answers, cx| {
        let unknown = request.state_filters.iter().filter(|state| !STATES.contains(&state.as_str()));
        let mut response = ListTransactionsResponse {
            unknown_state_filters: unknown.cloned().collect(),
            ..Default::default()
        };
        let now = cx.now.millis;
        for answer in answers {
            match answer {
                Event::Txn { reply: Reply::Listed(listed), .. } => {
                    let mut wanted = |one: &Listed| {
                        is_wanted(one, &request, now)
                            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(&one.id))
                            && cx.allows(Operation::Describe, Resource::TransactionalId(&one.id))
                    };
                    response.transaction_states.extend(listed.into_iter().filter(|one| wanted(one)).map(row));
                }
                Event::Failed { reason, .. } => {
                    response.error_code = errors::coordinator_failure(reason).code();
                }
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&response)
    })
}

fn compile(pattern: &str) -> Option<Regex> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return None;
    }
    // It has to match the whole id.
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

/// Filters that are empty, or negative, let everything pass.
fn is_wanted(listed: &Listed, request: &ListTransactionsRequest, now: i64) -> bool {
    let states = &request.state_filters;
    let producers = &request.producer_id_filters;
    // As in Kafka: where none has begun, it began at −1.
    let lasts = now - listed.started.map_or(-1, |since| since as i64);
    (states.is_empty() || states.iter().any(|state| state == listed.state.name()))
        && (producers.is_empty() || producers.contains(&listed.producer_id))
        && (request.duration_filter < 0 || lasts > request.duration_filter)
}

fn row(listed: Listed) -> TransactionState {
    TransactionState {
        transactional_id: listed.id,
        producer_id: listed.producer_id,
        transaction_state: listed.state.name().into(),
    }
}
