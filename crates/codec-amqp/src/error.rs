//! What can be wrong with bytes from a peer, and which reply code says so.

use thiserror::Error;

use crate::reply::ReplyCode;

/// A frame envelope that cannot be read. Always fatal for the connection: the stream has lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The type octet is none of 1, 2, 3 and 8.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// The size field exceeds what was negotiated.
    #[error("frame payload of {size} octets exceeds the negotiated maximum of {max}")]
    TooLarge { size: u32, max: u32 },
    /// The octet after the payload is not 0xCE.
    #[error("frame ends in {0:#04x} instead of 0xce")]
    BadEnd(u8),
}

impl FrameError {
    /// 501 FRAME_ERROR for all of them (4.2.3 of the specification).
    pub fn reply_code(&self) -> ReplyCode {
        ReplyCode::FrameError
    }
}

/// A payload that cannot be read although its frame was well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    #[error("payload ends inside a value")]
    Truncated,
    #[error("{0} octets left over after the last value")]
    Trailing(usize),
    #[error("unknown method {method_id} of class {class_id}")]
    UnknownMethod { class_id: u16, method_id: u16 },
    #[error("unknown field type {0:#04x}")]
    UnknownFieldType(u8),
    #[error("field table nested deeper than {}", crate::table::DEPTH_MAX)]
    TooDeep,
    #[error("property flags {0:#06x} name properties that do not exist")]
    UnknownProperty(u16),
    #[error("content header of class {0}, which carries no content")]
    UnknownContentClass(u16),
}

impl DecodeError {
    /// 503 COMMAND_INVALID for a method that does not exist, 505 UNEXPECTED_FRAME for content of another class than
    /// its method's, 502 SYNTAX_ERROR for anything malformed.
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            DecodeError::UnknownMethod { .. } => ReplyCode::CommandInvalid,
            DecodeError::UnknownContentClass(_) => ReplyCode::UnexpectedFrame,
            _ => ReplyCode::SyntaxError,
        }
    }
}
