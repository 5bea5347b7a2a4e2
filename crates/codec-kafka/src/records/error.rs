//! What can be wrong with a record batch, and how a client is told.

use super::CompressionError;
use crate::error::ErrorCode;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("batch of {needed} bytes, of which {available} are there")]
    Truncated { needed: usize, available: usize },
    #[error("batch length {0} is smaller than a batch header")]
    InvalidLength(i32),
    #[error("message format {0} is not supported, only format 2")]
    UnsupportedMagic(i8),
    #[error("CRC-32C is {computed:#010x}, the batch says {stored:#010x}")]
    CrcMismatch { stored: u32, computed: u32 },
    #[error("compression type {0} is unknown")]
    UnknownCompression(i16),
    #[error("{0} bytes follow the batch, where exactly one batch is allowed")]
    MoreThanOneBatch(usize),
    #[error("{count} records, but a last offset delta of {last_offset_delta}")]
    CountMismatch { count: i32, last_offset_delta: i32 },
    #[error("control batches are written by the broker alone")]
    ControlBatch,
    #[error(
        "producer id {producer_id}, epoch {producer_epoch} and sequence {base_sequence} do not fit together"
    )]
    InvalidProducer { producer_id: i64, producer_epoch: i16, base_sequence: i32 },
    #[error("record {index}: {reason}")]
    InvalidRecord { index: i32, reason: &'static str },
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

impl BatchError {
    /// The code for a producer that sent such a batch. Damage on the way is CORRUPT_MESSAGE, which clients retry; what
    /// the same bytes would meet again is INVALID_RECORD, which they do not.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidLength(_) | Self::CrcMismatch { .. } => ErrorCode::CorruptMessage,
            Self::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
            Self::UnknownCompression(_) => ErrorCode::UnsupportedCompressionType,
            Self::Truncated { .. }
            | Self::Compression(_)
            | Self::UnsupportedMagic(_)
            | Self::MoreThanOneBatch(_)
            | Self::CountMismatch { .. }
            | Self::ControlBatch
            | Self::InvalidProducer { .. }
            | Self::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        }
    }
}
