//! Everything that can go wrong between a client and a broker.

use std::io;

use bowline_codec_amqp::{DecodeError, FrameError};

/// Why a client call failed. Unless a variant says otherwise, the connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("cannot connect to {address}")]
    Connect { address: String, source: io::Error },
    /// The peer closed the socket without a word of its protocol.
    #[error("the broker closed the connection")]
    Closed,
    #[error("no answer in time: {0}")]
    Timeout(&'static str),
    /// The peer sent more than we are ready to hold.
    #[error("the broker sent more than the {0} octets that a client holds")]
    Overflow(usize),
    #[error("bad frame from the broker")]
    Frame(#[from] FrameError),
    #[error("bad method or content from the broker")]
    Decode(#[from] DecodeError),
    /// connection.close from the broker.
    #[error("connection closed by the broker: {code} {text}")]
    ConnectionClosed { code: u16, text: String },
    /// channel.close from the broker. Other channels of the connection live on.
    #[error("channel {channel} closed by the broker: {code} {text}")]
    ChannelClosed { channel: u16, code: u16, text: String },
    /// The peer broke its protocol.
    #[error("protocol violation by the broker: {0}")]
    Protocol(String),
    /// A Kafka response with an error code. The connection is fine.
    #[error("{api}: {} ({code})", crate::kafka::error_name(*code))]
    Kafka { api: &'static str, code: i16 },
    #[error("bad response from the broker")]
    KafkaDecode(#[from] bowline_codec_kafka::DecodeError),
    #[error("cannot encode the request")]
    KafkaEncode(#[from] bowline_codec_kafka::EncodeError),
    /// The broker does not offer a version of this API that we speak.
    #[error("the broker does not serve {0} in a version that this client speaks")]
    Unsupported(&'static str),
    #[error("bad address {url:?}: {reason}")]
    Address { url: String, reason: &'static str },
}

impl Error {
    /// A timeout of ours, as opposed to an answer of the broker.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout(_))
    }
}

pub type Result<T> = std::result::Result<T, Error>;
