//! A data shard from outside: one program for all tests, which is quicker to build than one for each file.

mod common;
mod consuming;
mod conversations;
mod enforcement;
mod keys;
mod model;
mod operations;
mod order;
mod relocation;
mod schedules;
mod streams;
