//! What an operator may choose for AMQP connections, and the bounds that nobody may.

pub use bowline_net::tls::CertificateUser;

/// Settings of all AMQP sessions of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Largest frame offered in connection.tune, octets, envelope included. At least 4096.
    pub frame_max: u32,
    /// Highest channel number offered, ≥ 1.
    pub channel_max: u16,
    /// Heartbeat interval offered, seconds; 0 offers none. The client's answer wins.
    pub heartbeat_s: u16,
    /// A message body may be this large, octets.
    pub message_bytes_max: u64,
    /// What of a client's certificate is its user's name (SASL EXTERNAL).
    pub certificate_user: CertificateUser,
    /// Shown to clients as `cluster_name`.
    pub cluster_name: String,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            frame_max: 131_072,
            channel_max: 2047,
            heartbeat_s: 60,
            message_bytes_max: 32 * 1024 * 1024,
            certificate_user: CertificateUser::default(),
            cluster_name: "bowline".to_string(),
        }
    }
}

/// A connection has to be open this long after it was accepted.
pub const HANDSHAKE_MS_MAX: u64 = 10_000;
/// Frames before tuning: room for client properties and a long token, no more.
pub const HANDSHAKE_FRAME_MAX: u32 = 8192;
/// The smallest frame_max that a client may ask for (4.2.3).
pub const FRAME_MIN: u32 = bowline_codec_amqp::frame::FRAME_MIN_SIZE;
/// After connection.close we wait this long for close-ok.
pub const CLOSE_OK_MS_MAX: u64 = 3_000;
/// Before close-ok we wait at most this long for what the client left behind: publishes, exclusive queues.
pub const LEAVING_MS_MAX: u64 = 5_000;
/// A failed login that cannot be told to the client keeps its socket this long, to slow down guessing.
pub const SILENT_REFUSAL_MS: u64 = 1_000;
/// While a session has this much proposed and unanswered, it does not read its socket. Octets of records.
pub const UNANSWERED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A run of records is handed over at this size at the latest, so that it always fits a block.
pub const RUN_BYTES_MAX: usize = 1024 * 1024;
/// Frames that wait for their channel to be answered; above this the session stops reading. Octets.
pub const BACKLOG_BYTES_MAX: usize = 512 * 1024;
/// A message up to this size, frames and all, is waited for and then taken where it lies; a larger one is gathered
/// frame by frame. Octets.
pub const WHOLE_CONTENT_BYTES_MAX: usize = 160 * 1024;
/// Bodies that have arrived in part, over all channels of a connection. Octets.
pub const PARTIAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What the transactions of one connection may publish, octets: a commit goes into one block of each shard.
pub const TX_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What one commit may hand to one shard, octets of records.
pub const TX_RUN_BYTES_MAX: usize = 40 * 1024 * 1024;
/// Deliveries that one transaction may settle, give or take what one method settles.
pub const TX_SETTLES_MAX: usize = 1_000_000;
/// While more than this waits to be written, the session does not read its socket. Octets.
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Answers to basic.get that a session waits for at a time: each may bring a message of any size.
pub const GETS_IN_FLIGHT_MAX: u32 = 16;
/// Stream deliveries are produced while less than this waits to be written. Octets.
pub const STREAM_OUTBOX_BYTES: usize = 512 * 1024;
/// One fetch of a stream consumer. Octets.
pub const STREAM_FETCH_BYTES: u32 = 512 * 1024;
/// One fetch of a group's consumer: it keeps what it fetched while others take from it. Octets.
pub const GROUP_FETCH_BYTES: u32 = 128 * 1024;
/// Records for one partition are handed over as a batch at this size at the latest. Octets.
pub const STREAM_BATCH_BYTES: usize = 256 * 1024;
/// Bodies up to this size are copied behind their frame head; larger ones are written from their block.
pub const COPY_BODY_BYTES_MAX: usize = 4096;
/// Buffers up to this size are not worth tidying up. Octets.
pub const TIDY_BYTES_MIN: usize = 4096;
/// Routes remembered per session.
pub const ROUTES_MAX: usize = 4096;
/// Consumers of one connection.
pub const CONSUMERS_MAX: usize = 65_536;
/// Field tables of declarations and bindings, octets: they live in memory and in every checkpoint.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
