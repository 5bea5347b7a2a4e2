//! What becomes of a message that a queue's dead-letter exchange gets: new headers, new routing key, and where it goes.
//! Pure: the topology and the time come in, a rewritten message and its targets go out.
//!
//! Words: a message *dies* in a queue for a *reason*; what it died of before is its *history*, the header `x-death`.
//!
//! The history is the broker's own word. A message that a client publishes with an `x-death` header has no history
//! (as in RabbitMQ since 4.0); [`bowline_model::record::PUBLISH_DIED`] tells one from the other. What the client wrote
//! is neither believed nor lost: at the first death it moves to the header [`PUBLISHED_DEATHS`].

mod history;
mod redrive;
mod rewrite;

pub use history::{Death, PUBLISHED_DEATHS, reason_name};
pub use redrive::{REDRIVE_COUNT, Redrive, redrive};
pub use rewrite::{Letter, Reborn, rewrite};
