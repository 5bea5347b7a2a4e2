//! AddOffsetsToTxn (25): a group whose offsets are to be committed with the transaction joins it.

use super::add_partitions_to_txn::FENCED_FROM;
use crate::errors;
use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;
use bowline_model::txn::{Producer, Reply, Request};

pub fn start(request: AddOffsetsToTxnRequest, cx: &mut Context<'_>) -> Step {
    if request.group_id.is_empty() {
        return reply(ErrorCode::InvalidGroupId, cx);
    }
    let id = request.transactional_id;
    if !cx.allows(Operation::Write, Resource::TransactionalId(&id)) {
        return reply(ErrorCode::TransactionalIdAuthorizationFailed, cx);
    }
    if let Err(error) = super::may_join(&request.group_id, cx) {
        return reply(error, cx);
    }
    let add = Request::Add {
        id: id.clone(),
        producer: Producer { id: request.producer_id, epoch: request.producer_epoch },
        members: Vec::new(),
        group: Some(request.group_id),
        implicit: false,
    };
    cx.ask_txn(0, &id, add);
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Txn { reply: Reply::Added(Ok(())), .. }) => reply(ErrorCode::None, cx),
        Some(Event::Txn { reply: Reply::Added(Err(error)), .. }) => {
            reply(errors::txn(error, cx.head.version >= FENCED_FROM), cx)
        }
        Some(Event::Txn { reply: Reply::Outdated, .. }) => Step::Close(Closed::Outdated),
        Some(Event::Failed { reason, .. }) => reply(errors::coordinator_failure(reason), cx),
        _ => cx.mismatch(),
    })
}

fn reply(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&AddOffsetsToTxnResponse { error_code: error.code(), ..Default::default() })
}
