//! `bowline publish` and `bowline consume`: clients of the public protocols like any other, for people and scripts; and
//! the tools of who runs queues: `peek`, `redrive` and `story`.
//!
//! Messages go in from arguments, lines of standard input or a file, and come out as lines or as JSON. What is
//! consumed is acknowledged (or committed) only after it was written to standard output. Neither of the two knows
//! anything of Bowline: both work against any AMQP 0-9-1 or Kafka broker. The tools ask for what only Bowline has, and
//! refuse to be pointed at another broker, which would take the same for plain consuming.

mod bowline;
pub mod consume;
mod json;
mod pace;
pub mod peek;
pub mod publish;
mod queue;
pub mod redrive;
pub mod story;
