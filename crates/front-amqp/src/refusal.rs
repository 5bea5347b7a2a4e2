//! How a session says no: a reply code, a text, and the method it was about.

use bowline_codec_amqp::{DecodeError, FrameError, Level, ReplyCode};
use bowline_model::meta::{Reason, Rejection};

/// An error that closes a channel or the connection, as its code's level demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub code: ReplyCode,
    /// Whole reply text, code name included.
    pub text: String,
}

/// The result of handling a method or frame.
pub type Step<T = ()> = Result<T, Refusal>;

impl Refusal {
    pub fn new(code: ReplyCode, explanation: impl AsRef<str>) -> Refusal {
        Refusal { code, text: code.text(explanation.as_ref()) }
    }

    pub fn level(&self) -> Level {
        self.code.level()
    }

    pub fn not_found(what: &str, vhost: &str, name: &str) -> Refusal {
        Refusal::new(ReplyCode::NotFound, format!("no {what} '{name}' in vhost '{vhost}'"))
    }

    pub fn precondition(explanation: impl AsRef<str>) -> Refusal {
        Refusal::new(ReplyCode::PreconditionFailed, explanation)
    }

    pub fn not_implemented(explanation: impl AsRef<str>) -> Refusal {
        Refusal::new(ReplyCode::NotImplemented, explanation)
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Refusal {
        Refusal::new(error.reply_code(), error.to_string())
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Refusal {
        Refusal::new(error.reply_code(), error.to_string())
    }
}

/// The topology's reasons in AMQP's terms; its texts are RabbitMQ's already.
impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Refusal {
        let code = match rejection.reason {
            Reason::NotFound => ReplyCode::NotFound,
            Reason::Locked => ReplyCode::ResourceLocked,
            Reason::Forbidden => ReplyCode::AccessRefused,
            Reason::NotImplemented => ReplyCode::NotImplemented,
            Reason::Unavailable => ReplyCode::InternalError,
            Reason::AlreadyExists
            | Reason::Inequivalent
            | Reason::InUse
            | Reason::NotEmpty
            | Reason::InvalidArgument
            | Reason::InvalidName
            | Reason::InvalidPartitions
            | Reason::InvalidConfig
            | Reason::Limit => ReplyCode::PreconditionFailed,
        };
        Refusal::new(code, rejection.text)
    }
}
