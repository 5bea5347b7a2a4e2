//! PushTelemetry (72): a client's metrics, which become a record of the topic for metrics (KIP-714).
//!
//! The broker publishes, not the client: what the client may do with the topic does not matter. The topic is made when
//! the first metrics come. The answer waits until the record is durable.
//!
//! Clients give up pushing for good on all errors but a few. Where metrics cannot be taken just now (a full disk, a
//! topic that cannot be made), they are dropped, and the client is told to come again at its next interval.

use super::create_topics::{self, Creation};
use crate::batch_rules;
use crate::catalog::Topic;
use crate::pending::{Closed, Context, Step};
use crate::telemetry::instances::Push;
use crate::telemetry::publication::{Publication, Unreadable};
use bowline_codec_kafka::messages::{PushTelemetryRequest, PushTelemetryResponse};
use bowline_codec_kafka::partitioner::partition_for_key;
use bowline_codec_kafka::records::Compression;
use bowline_codec_kafka::{ErrorCode, Uuid};
use bowline_model::event::Event;
use bowline_model::record::Append;
use bowline_model::request::{Propose, Request, Want};
use bowline_topology::config::client_metrics::Client;

/// Ids that Kafka gives to nobody.
const RESERVED: [Uuid; 2] = [Uuid::ZERO, Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])];
/// How long the topic keeps metrics if it is made here: seven days.
const RETENTION_MS: &str = "604800000";
/// A version of Produce whose batches may be all that a topic takes.
const BATCH_VERSION: i16 = 13;

/// What the broker knows of the client. `id` and `port`: as text.
pub fn client<'a>(id: &'a str, client_id: Option<&'a str>, port: &'a str, cx: &'a Context<'_>) -> Client<'a> {
    Client {
        instance_id: id,
        client_id,
        software_name: &cx.connected.software_name,
        software_version: &cx.connected.software_version,
        source_address: cx.peer.ip(),
        source_port: port,
    }
}

pub fn start(request: PushTelemetryRequest, client_id: Option<&str>, cx: &mut Context<'_>) -> Step {
    let Some(telemetry) = cx.broker.options.telemetry.clone() else {
        return Step::Close(Closed::NotServed { key: cx.head.api as i16, version: cx.head.version });
    };
    let id = request.client_instance_id;
    if RESERVED.contains(&id) {
        return answer(ErrorCode::InvalidRequest, cx);
    }
    cx.connected.is_instance(id);
    let (text, port) = (id.to_string(), cx.peer.port.to_string());
    let client = client(&text, client_id, &port, cx);
    let push = Push {
        id,
        subscription_id: request.subscription_id,
        is_last: request.terminating,
        compression: request.compression_type,
        bytes: request.metrics.len(),
    };
    if let Err(refusal) = telemetry.push(push, &client, &*cx.broker.catalog, cx.now.instant) {
        return answer(refusal.code(), cx);
    }
    if request.metrics.is_empty() {
        return answer(ErrorCode::None, cx);
    }
    // Known to be one.
    let compression = Compression::from_bits(request.compression_type.into()).unwrap_or_default();
    match Publication::new(id, compression, &request.metrics, &client, cx.principal()) {
        Ok(publication) => publish(publication, telemetry.topic().to_owned(), cx),
        Err(Unreadable::TooLarge) => answer(ErrorCode::TelemetryTooLarge, cx),
        Err(Unreadable::Corrupt) => answer(ErrorCode::InvalidRecord, cx),
    }
}

fn answer(error: ErrorCode, cx: &Context<'_>) -> Step {
    cx.reply(&PushTelemetryResponse { error_code: error.code(), ..Default::default() })
}

/// The metrics are lost; the next ones may not be.
fn lost(topic: &str, why: &str, cx: &Context<'_>) -> Step {
    tracing::warn!(topic, why, "metrics of a client are dropped");
    answer(ErrorCode::ThrottlingQuotaExceeded, cx)
}

fn publish(publication: Publication, name: String, cx: &mut Context<'_>) -> Step {
    if let Some(topic) = cx.topic(&name) {
        return append(publication, &topic, cx);
    }
    let configs = vec![("retention.ms".to_owned(), RETENTION_MS.to_owned())];
    create_topics::propose(0, Creation { name: name.clone(), partitions: 1, configs }, cx);
    cx.gather(1, move |mut answers, cx| {
        let made = answers.pop().map(create_topics::outcome);
        match (cx.topic(&name), made) {
            // Made here, or by somebody who was faster.
            (Some(topic), _) => append(publication, &topic, cx),
            (None, Some(Err((_, why)))) => lost(&name, &why, cx),
            (None, _) => lost(&name, "the topic was deleted at once", cx),
        }
    })
}

fn append(publication: Publication, topic: &Topic, cx: &mut Context<'_>) -> Step {
    let index = partition_for_key(publication.key().as_bytes(), topic.partitions.len() as i32);
    let (Some(partition), Ok(batch)) = (topic.partition(index), publication.batch(cx.now.millis)) else {
        return lost(&topic.name, "no batch could be made", cx);
    };
    // As if it had been produced: in the topic's compression, with its time, within its bounds.
    let Ok(batch) = batch_rules::check(batch, &topic.rules, BATCH_VERSION, cx.now.millis) else {
        return answer(ErrorCode::TelemetryTooLarge, cx);
    };
    let mut records = Vec::with_capacity(batch.len() + 32);
    Append::encode(&mut records, partition.0, 0, &batch);
    let propose = Propose {
        token: cx.token(0),
        count: 1,
        records: records.into(),
        want: Want::Appended,
        checked: false,
    };
    cx.send(cx.shard_of(partition), Request::Propose(propose));
    let name = topic.name.clone();
    cx.gather(1, move |mut answers, cx| match answers.pop() {
        Some(Event::Appended { results, .. }) => match results.first().map(|one| &one.result) {
            Some(Ok(_)) => answer(ErrorCode::None, cx),
            Some(Err(error)) => lost(&name, &format!("{error:?}"), cx),
            None => cx.mismatch(),
        },
        Some(Event::Failed { reason, .. }) => lost(&name, &format!("{reason:?}"), cx),
        _ => cx.mismatch(),
    })
}
