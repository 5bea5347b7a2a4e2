//! InitProducerId (22): an id for an idempotent or transactional producer.
//!
//! A producer without a transactional id that comes back with its id and epoch (KIP-360, after an unknown outcome) gets
//! a new id: its sequences start over under a name nobody has used, which is always safe.
//!
//! With a transactional id the answer is the coordinator's; it waits until what the id's earlier producer left open has
//! been aborted.

use super::end_txn::NoProducer;
use crate::errors;
use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{InitProducerIdRequest, InitProducerIdResponse};
use bowline_model::acl::{Operation, Resource, ResourceKind};
use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Outcome};
use bowline_model::txn::{Producer, Reply, Request};

/// First version that knows PRODUCER_FENCED (KIP-588).
const FENCED_FROM: i16 = 4;

pub fn start(request: InitProducerIdRequest, cx: &mut Context<'_>) -> Step {
    let known = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(NoProducer::Other(ErrorCode::InvalidRequest)),
        (id, epoch) => Ok(Some(Producer { id, epoch })),
    };
    match request.transactional_id {
        None if !may_write(cx) => answer(Err(NoProducer::Other(ErrorCode::ClusterAuthorizationFailed)), cx),
        None => match known {
            Ok(_) => fresh_id(cx, |fresh, cx| answer(fresh.map(|id| Producer { id, epoch: 0 }), cx)),
            Err(error) => answer(Err(error), cx),
        },
        Some(id) if !cx.allows(Operation::Write, Resource::TransactionalId(&id)) => {
            answer(Err(NoProducer::Other(ErrorCode::TransactionalIdAuthorizationFailed)), cx)
        }
        Some(id) if id.is_empty() => answer(Err(NoProducer::Other(ErrorCode::InvalidRequest)), cx),
        Some(id) => {
            let known = match known {
                Ok(known) => known,
                Err(error) => return answer(Err(error), cx),
            };
            let timeout_ms = request.transaction_timeout_ms;
            let question = {
                let id = id.clone();
                move |fresh| Request::Init { id: id.clone(), timeout_ms, known, fresh }
            };
            ask_with_fresh_id(id, question, cx, answer)
        }
    }
}

/// Idempotence wants no right of its own beside that to write somewhere.
fn may_write(cx: &mut Context<'_>) -> bool {
    cx.allows(Operation::IdempotentWrite, Resource::Cluster)
        || cx.allows_any(Operation::Write, ResourceKind::Topic)
}

fn answer(outcome: Result<Producer, NoProducer>, cx: &mut Context<'_>) -> Step {
    match outcome {
        Ok(producer) => cx.reply(&InitProducerIdResponse {
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            ..Default::default()
        }),
        Err(error) => cx.reply(&InitProducerIdResponse {
            error_code: error.code(cx.head.version >= FENCED_FROM).code(),
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        }),
    }
}

/// A producer id that nobody has used.
fn fresh_id<F>(cx: &mut Context<'_>, then: F) -> Step
where
    F: FnOnce(Result<i64, NoProducer>, &mut Context<'_>) -> Step + Send + 'static,
{
    cx.ask_meta(0, MetaRequest::Propose(Command::ProducerId));
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Meta { result: Ok(Outcome::ProducerId(id)), .. }) => then(Ok(id), cx),
        Some(Event::Meta { result: Err(rejection), .. }) => {
            tracing::warn!(reason = %rejection.text, "no producer id");
            then(Err(NoProducer::Other(ErrorCode::CoordinatorNotAvailable)), cx)
        }
        Some(Event::Failed { reason, .. }) => {
            then(Err(NoProducer::Other(errors::coordinator_failure(reason))), cx)
        }
        _ => cx.mismatch(),
    })
}

/// Asks the coordinator of `id`, and once more with a fresh producer id should it need one.
pub fn ask_with_fresh_id<Q, F>(id: String, question: Q, cx: &mut Context<'_>, then: F) -> Step
where
    Q: Fn(Option<i64>) -> Request + Send + 'static,
    F: FnOnce(Result<Producer, NoProducer>, &mut Context<'_>) -> Step + Send + 'static,
{
    cx.ask_txn(0, &id, question(None));
    cx.gather(1, move |answers, cx| match answers.first() {
        Some(Event::Txn { reply: Reply::NeedsId, .. }) => fresh_id(cx, move |fresh, cx| match fresh {
            Err(error) => then(Err(error), cx),
            Ok(fresh) => {
                cx.ask_txn(0, &id, question(Some(fresh)));
                cx.gather(1, |answers, cx| finish(answers, cx, then))
            }
        }),
        _ => finish(answers, cx, then),
    })
}

fn finish<F>(mut answers: Vec<Event>, cx: &mut Context<'_>, then: F) -> Step
where
    F: FnOnce(Result<Producer, NoProducer>, &mut Context<'_>) -> Step,
{
    match answers.pop() {
        Some(Event::Txn { reply: Reply::Producer(Ok(producer)), .. }) => then(Ok(producer), cx),
        Some(Event::Txn { reply: Reply::Producer(Err(error)), .. }) => then(Err(NoProducer::Txn(error)), cx),
        Some(Event::Txn { reply: Reply::Outdated, .. }) => Step::Close(Closed::Outdated),
        Some(Event::Failed { reason, .. }) => {
            then(Err(NoProducer::Other(errors::coordinator_failure(reason))), cx)
        }
        _ => cx.mismatch(),
    }
}
