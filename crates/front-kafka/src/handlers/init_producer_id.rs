//! InitProducerId (22): an id for an idempotent producer. Most clients ask for one before their first batch.
//!
//! A producer that comes back with its id and epoch (KIP-360, after an unknown outcome) gets a new id: its sequences
//! start over under a name nobody has used, which is always safe without a transactional id.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{InitProducerIdRequest, InitProducerIdResponse};
use bowline_model::acl::{Operation, Resource, ResourceKind};
use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Outcome};

pub fn start(request: InitProducerIdRequest, cx: &mut Context<'_>) -> Step {
    if let Some(id) = request.transactional_id {
        // An empty id is an error of its own in Kafka; any other is one that we cannot honour yet, and the
        // authorization error is the one that every client library treats as final at once.
        let error = match id.is_empty() {
            true => ErrorCode::InvalidRequest,
            false => ErrorCode::TransactionalIdAuthorizationFailed,
        };
        return refuse(error, cx);
    }
    let allowed = cx.allows(Operation::IdempotentWrite, Resource::Cluster)
        || cx.allows_any(Operation::Write, ResourceKind::Topic);
    if !allowed {
        return refuse(ErrorCode::ClusterAuthorizationFailed, cx);
    }
    cx.ask_meta(0, MetaRequest::Propose(Command::ProducerId));
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Meta { result: Ok(Outcome::ProducerId(producer_id)), .. }) => {
            cx.reply(&InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() })
        }
        Some(Event::Meta { result: Err(rejection), .. }) => {
            tracing::warn!(reason = %rejection.text, "no producer id");
            refuse(ErrorCode::CoordinatorNotAvailable, cx)
        }
        Some(Event::Failed { reason, .. }) => refuse(errors::coordinator_failure(reason), cx),
        _ => cx.mismatch(),
    })
}

fn refuse(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    })
}
