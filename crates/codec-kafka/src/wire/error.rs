//! What can be wrong with bytes that claim to be a message, or with a message that is to be sent.

/// The bytes are not the message that they claim to be. A connection that sent them is out of step
/// and cannot be used further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("needed {needed} bytes where {remaining} remain")]
    Truncated { needed: usize, remaining: usize },
    #[error("length {0} where null is not allowed or that is out of range")]
    InvalidLength(i64),
    #[error("array of {length} elements in {remaining} bytes")]
    ArrayTooLong { length: usize, remaining: usize },
    #[error("message expands beyond its memory limit")]
    MemoryLimit,
    #[error("string is not UTF-8")]
    InvalidUtf8,
    #[error("variable-length integer is longer than its type")]
    VarintTooLong,
    #[error("{0} bytes follow the message")]
    TrailingBytes(usize),
}

/// The value cannot be expressed in the version asked for. Always a mistake of our own side.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{message} has no version {version}")]
    UnsupportedVersion { message: &'static str, version: i16 },
    #[error("field {field} is set, but version {version} cannot carry it")]
    UnsupportedField { field: &'static str, version: i16 },
    #[error("field {field} is null, which version {version} does not allow")]
    NullNotAllowed { field: &'static str, version: i16 },
    #[error("{length} exceeds the largest length on the wire, {max}")]
    TooLong { length: usize, max: usize },
}
