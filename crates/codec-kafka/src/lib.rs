//! codec-kafka
