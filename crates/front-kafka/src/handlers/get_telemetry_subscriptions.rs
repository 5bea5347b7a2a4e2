//! GetTelemetrySubscriptions (71): which of its metrics a client is to push, and how often (KIP-714).

use super::push_telemetry::client;
use crate::pending::{Closed, Context, Step};
use crate::telemetry::PUSH_BYTES_MAX;
use bowline_codec_kafka::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse};
use bowline_codec_kafka::records::Compression;

/// In the order in which clients are to prefer them.
const COMPRESSIONS: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

pub fn start(
    request: GetTelemetrySubscriptionsRequest,
    client_id: Option<&str>,
    cx: &mut Context<'_>,
) -> Step {
    let Some(telemetry) = cx.broker.options.telemetry.clone() else {
        return Step::Close(Closed::NotServed { key: cx.head.api as i16, version: cx.head.version });
    };
    let id = match request.client_instance_id {
        id if id.is_zero() => telemetry.new_id(),
        id => id,
    };
    cx.connected.is_instance(id);
    let (text, port) = (id.to_string(), cx.peer.port.to_string());
    let client = client(&text, client_id, &port, cx);
    match telemetry.ask(id, &client, &*cx.broker.catalog, cx.now.instant) {
        Ok(wanted) => cx.reply(&GetTelemetrySubscriptionsResponse {
            client_instance_id: id,
            subscription_id: wanted.subscription_id,
            accepted_compression_types: COMPRESSIONS.map(|compression| compression as i8).to_vec(),
            push_interval_ms: wanted.interval_ms as i32,
            telemetry_max_bytes: PUSH_BYTES_MAX as i32,
            delta_temporality: true,
            requested_metrics: wanted.metrics,
            ..Default::default()
        }),
        Err(refusal) => cx.reply(&GetTelemetrySubscriptionsResponse {
            error_code: refusal.code().code(),
            ..Default::default()
        }),
    }
}
