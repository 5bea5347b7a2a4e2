//! The topology alone: one program for all tests, which is quicker to build than one for each file.

mod declarations;
mod history;
mod kafka_rules;
mod naive;
mod routing;
mod scale;
mod security;
