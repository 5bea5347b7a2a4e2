//! What a client pushed, as a record: OTLP's `MetricsData` as the client encoded it, decompressed. On the wire that is
//! an `ExportMetricsServiceRequest` too, which is how OpenTelemetry's collector reads it (encoding `otlp_proto`).
//!
//! The key is the client's instance id. Headers tell what the broker knows of the client, by the names that
//! subscriptions match clients by, and `principal`.

use bowline_codec_kafka::Uuid;
use bowline_codec_kafka::records::{BatchBuilder, BuildError, Compression, Header};
use bowline_model::Principal;
use bowline_topology::config::client_metrics::Client;
use bytes::Bytes;

/// A push that was let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    key: String,
    otlp: Vec<u8>,
    headers: Vec<(&'static str, Option<String>)>,
}

/// What cannot be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// More than [`super::PUSH_BYTES_MAX`] comes out.
    TooLarge,
    /// It does not decompress.
    Corrupt,
}

impl Publication {
    /// # Errors
    /// If it does not decompress, or to too much.
    pub fn new(
        id: Uuid,
        compression: Compression,
        metrics: &[u8],
        client: &Client<'_>,
        principal: &Principal,
    ) -> Result<Publication, Unreadable> {
        use bowline_codec_kafka::records::CompressionError::{Corrupt, TooLarge};
        let otlp = compression.decompress(metrics, super::PUSH_BYTES_MAX).map_err(|error| match error {
            TooLarge { .. } => Unreadable::TooLarge,
            Corrupt { .. } => Unreadable::Corrupt,
        })?;
        let text = |text: &str| Some(text.to_owned());
        Ok(Publication {
            key: id.to_string(),
            otlp,
            headers: vec![
                ("client_id", client.client_id.map(str::to_owned)),
                ("client_software_name", text(client.software_name)),
                ("client_software_version", text(client.software_version)),
                ("client_source_address", text(client.source_address)),
                ("client_source_port", text(client.source_port)),
                ("principal", Some(principal.to_string())),
            ],
        })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// A batch of this one record. `now`: milliseconds since the epoch.
    ///
    /// # Errors
    /// If it is larger than a batch can be.
    pub fn batch(&self, now: i64) -> Result<Bytes, BuildError> {
        let headers = self.headers.iter().map(|(key, value)| Header {
            key: key.as_bytes(),
            value: value.as_ref().map(|value| value.as_bytes()),
        });
        let headers: Vec<Header<'_>> = headers.collect();
        let mut batch = BatchBuilder::new(now);
        batch.append(Some(self.key.as_bytes()), Some(&self.otlp), &headers, now)?;
        batch.build()
    }
}
