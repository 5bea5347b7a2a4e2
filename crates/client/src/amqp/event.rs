//! What a broker sends on its own account.

use bowline_codec_amqp::methods::{BasicDeliver, BasicReturn};
use bowline_codec_amqp::{Properties, ShortStr};

/// Something that arrived and answers no call. Borrows the connection's read buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    Deliver {
        channel: u16,
        method: BasicDeliver<'a>,
        content: Content<'a>,
    },
    /// A mandatory message that reached no queue. Its confirm follows.
    Return {
        channel: u16,
        method: BasicReturn<'a>,
        content: Content<'a>,
    },
    /// Confirmed: publish number `tag` of the channel or, with `multiple`, all up to it.
    Ack {
        channel: u16,
        tag: u64,
        multiple: bool,
    },
    /// Refused by the broker: not stored.
    Nack {
        channel: u16,
        tag: u64,
        multiple: bool,
    },
    /// The broker ended a consumer.
    Cancel {
        channel: u16,
        consumer_tag: ShortStr<'a>,
    },
    /// The broker closed a channel; close-ok has been sent.
    ChannelClosed {
        channel: u16,
        code: u16,
        text: ShortStr<'a>,
    },
    /// The broker takes no more publishes for a while.
    Blocked {
        reason: ShortStr<'a>,
    },
    Unblocked,
}

/// A message's properties and body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Content<'a> {
    pub properties: Properties<'a>,
    pub body: &'a [u8],
}
