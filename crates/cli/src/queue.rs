//! A queue that a command is pointed at: used as it is, or created durable when it is missing.

use bowline_client::Error;
use bowline_client::amqp::{Connection, Queue};

const NOT_FOUND: u16 = 404;

/// Opens a channel on which the queue is known to exist. A passive look comes first: to declare a queue that exists
/// with other properties would be refused.
pub fn open_channel(connection: &mut Connection, queue: &str, create: bool) -> anyhow::Result<u16> {
    let channel = connection.open_channel()?;
    let look = Queue { name: queue, passive: true, ..Queue::default() };
    match connection.declare_queue(channel, &look) {
        Ok(_) => Ok(channel),
        Err(Error::ChannelClosed { code: NOT_FOUND, .. }) if create => {
            let channel = connection.open_channel()?;
            connection.declare_queue(channel, &Queue { name: queue, durable: true, ..Queue::default() })?;
            Ok(channel)
        }
        Err(error) => Err(error.into()),
    }
}
