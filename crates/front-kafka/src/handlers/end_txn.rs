//! EndTxn (26): commits or aborts, answered when the decision is on stable storage.
//!
//! From version 5 on the producer goes on under another epoch, which the answer tells (KIP-890).

use super::add_partitions_to_txn::FENCED_FROM;
use super::init_producer_id::ask_with_fresh_id;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{EndTxnRequest, EndTxnResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::txn::{Producer, Request};

/// From this version on each transaction has an epoch of its own.
const BUMPS_FROM: i16 = 5;

pub fn start(request: EndTxnRequest, cx: &mut Context<'_>) -> Step {
    let id = request.transactional_id;
    if !cx.allows(Operation::Write, Resource::TransactionalId(&id)) {
        return refuse(ErrorCode::TransactionalIdAuthorizationFailed, cx);
    }
    if id.is_empty() {
        return refuse(ErrorCode::InvalidRequest, cx);
    }
    let producer = Producer { id: request.producer_id, epoch: request.producer_epoch };
    let (commit, bumps) = (request.committed, cx.head.version >= BUMPS_FROM);
    let question = {
        let id = id.clone();
        move |fresh| Request::End { id: id.clone(), producer, commit, bumps, fresh }
    };
    ask_with_fresh_id(id, question, cx, |outcome, cx| match outcome {
        Ok(next) => cx.reply(&EndTxnResponse {
            producer_id: next.id,
            producer_epoch: next.epoch,
            ..Default::default()
        }),
        Err(error) => refuse(error.code(cx.head.version >= FENCED_FROM), cx),
    })
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&EndTxnResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    })
}

/// Why there is no producer to go on as.
pub enum NoProducer {
    Txn(bowline_model::txn::Error),
    Other(ErrorCode),
}

impl NoProducer {
    /// `fences`: the version knows PRODUCER_FENCED.
    pub fn code(self, fences: bool) -> ErrorCode {
        match self {
            NoProducer::Txn(error) => errors::txn(error, fences),
            NoProducer::Other(error) => error,
        }
    }
}
