//! Kafka
pub fn error_name(code: i16) -> &'static str { "error" }
