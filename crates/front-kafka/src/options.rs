//! What the binary may set, and every bound of this front end.

pub use crate::access::AclOptions;
use crate::authentication::Authentication;
use crate::loggers::Loggers;
use crate::quotas::Meters;
use crate::share::Shared;
use crate::telemetry::{self, Telemetry};
use crate::versions;
use bowline_codec_kafka::ApiKey;
pub use bowline_net::tls::CertificateUser;
use std::sync::Arc;
use std::time::Duration;

/// How this node appears to Kafka clients.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port that clients are told to connect to. `None` echoes the address that each client dialled,
    /// which is right wherever no NAT or port mapping lies between.
    pub advertised: Option<(String, u16)>,
    /// Broker id, ≥ 0.
    pub node_id: i32,
    /// A Metadata request that names a missing topic creates it, if the client allows that.
    pub auto_create: bool,
    /// Partitions of a topic whose creator did not say how many, ≥ 1.
    pub num_partitions: u32,
    /// What the groups' machine was started with, to tell it: see `bowline_stream::group::Options`.
    pub rebalance_delay_ms: u32,
    pub offsets_retention_ms: u64,
    /// What of a client's certificate is its user's name.
    pub certificate_user: CertificateUser,
    pub authentication: Authentication,
    /// Kafka's authorizer; `None`: it is off, access rules cannot be made, and users' AMQP permissions hold.
    pub acls: Option<AclOptions>,
    /// What clients with quotas have used; one for all listeners of the node.
    pub meters: Arc<Meters>,
    pub limits: Limits,
    /// Through which the levels of the log change, if they can.
    pub loggers: Option<Arc<Loggers>>,
    /// What the listeners of the node have in common.
    pub share: Shared,
    /// Where clients' metrics go; `None`: nowhere, and clients are not told that they might push them.
    pub telemetry: Option<Arc<Telemetry>>,
}

impl Options {
    /// Whether an API of [`versions::SERVED`] is served by this broker.
    pub fn serves(&self, api: ApiKey) -> bool {
        self.telemetry.is_some() || !versions::is_telemetry(api)
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            advertised: None,
            node_id: 1,
            auto_create: true,
            num_partitions: 1,
            rebalance_delay_ms: 300,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            certificate_user: CertificateUser::default(),
            authentication: Authentication::default(),
            acls: None,
            meters: Arc::default(),
            limits: Limits::default(),
            loggers: None,
            share: Shared::default(),
            telemetry: Some(Arc::new(Telemetry::new(telemetry::TOPIC))),
        }
    }
}

/// The bounds. At each of them the client gets back-pressure, the protocol's error, or a closed connection.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request, bytes (Kafka's `socket.request.max.bytes`). A larger size closes the connection.
    pub request_bytes_max: usize,
    /// Over all connections together: bytes of large requests (see [`LARGE_REQUEST_BYTES`]) being received or
    /// served. A connection that would exceed it is not read until others are done.
    pub large_requests_bytes_max: usize,
    /// A connection with this many bytes of unanswered requests is not read further.
    pub unanswered_bytes_max: usize,
    /// Nor is one with this many unanswered requests.
    pub unanswered_requests_max: usize,
    /// Nor is one that has not yet taken this many bytes of responses.
    pub unsent_bytes_max: usize,
    /// Most bytes of records in one Fetch response, whatever the client asks for. (One batch may exceed it.)
    pub fetch_bytes_max: u32,
    /// Topics that one Metadata request may create.
    pub auto_create_topics_max: usize,
    /// Partitions that one request may create.
    pub create_partitions_max: u32,
    /// A connection on which nothing happens is closed after this time (Kafka's `connections.max.idle.ms`).
    pub idle: Duration,
    /// A peer that has begun a request, or that has responses to take, must move at least one byte in this time.
    pub stall: Duration,
    /// Whoever has to log in has done so after this time.
    pub login: Duration,
    /// Largest request of whoever has to log in and has not, bytes: a token and what goes with it. One at a time is
    /// taken.
    pub login_request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 100 << 20,
            large_requests_bytes_max: 512 << 20,
            unanswered_bytes_max: 8 << 20,
            unanswered_requests_max: 1024,
            unsent_bytes_max: 4 << 20,
            fetch_bytes_max: 8 << 20,
            auto_create_topics_max: 1000,
            create_partitions_max: 100_000,
            idle: Duration::from_secs(600),
            stall: Duration::from_secs(60),
            login: Duration::from_secs(10),
            login_request_bytes_max: bowline_sasl::TOKEN_BYTES_MAX + 1024,
        }
    }
}

/// Requests from this size on draw on [`Limits::large_requests_bytes_max`].
pub const LARGE_REQUEST_BYTES: usize = 1 << 20;
