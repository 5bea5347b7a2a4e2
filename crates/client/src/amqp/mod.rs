//! The AMQP 0-9-1 client half: one connection, driven by the thread that owns it.
//!
//! Writes gather in a buffer until [`Connection::flush`]; reads come as [`Event`]s that borrow the read buffer:
//!
//! ```text
//! publish/ack/nack ──► out ──flush──► socket ──fill──► inbox ──next──► Event (deliver, ack, return, cancel …)
//! ```
//!
//! A call that waits for its reply leaves all other frames where they are, so that no delivery or confirm is lost
//! or reordered by it.

mod calls;
mod confirms;
mod connection;
mod event;
mod handshake;
mod template;

pub use calls::{Consume, Exchange, Got, Publish, Queue, QueueCounts};
pub use confirms::{ConfirmError, Confirms};
pub use connection::{Connection, INBOX_MAX};
pub use event::{Content, Event};
pub use handshake::{ConnectOptions, Server};
pub use template::Template;

pub use bowline_codec_amqp as codec;
