//! Formats that Kafka's clients agree on among themselves and the broker only passes on, or looks
//! into for administration.

pub mod consumer;
