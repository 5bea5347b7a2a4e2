//! `bowline publish` and `bowline consume`: clients of the public protocols like any other, for people and scripts.
//!
//! Messages go in from arguments, lines of standard input or a file, and come out as lines or as JSON. What is
//! consumed is acknowledged (or committed) only after it was written to standard output. Neither command knows
//! anything of Bowline: both work against any AMQP 0-9-1 or Kafka broker.

pub mod consume;
mod json;
mod pace;
pub mod publish;
mod queue;
