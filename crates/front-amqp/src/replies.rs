//! Direct reply-to: a client that asks consumes the pseudo-queue `amq.rabbitmq.reply-to`, and who answers publishes to
//! the name that the question's `reply-to` was replaced with. The answer goes from session to session, at most once.
//!
//! ```text
//! name := "amq.rabbitmq.reply-to." 32 hexadecimal digits, the consumer's address
//! ```
//! The address cannot be guessed (see [`Broker::open_replies`]), so an answer comes from somebody who was asked. A
//! consumer has one address as long as it lives; declaring the name tells whether it still does.

use bowline_codec_amqp::frame::{DeliverHead, encode_body_frames};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{ReplyCode, ShortStr};
use bowline_model::event::DirectReply;

use crate::broker::Broker;
use crate::options::OUTBOX_BYTES_MAX;
use crate::refusal::{Refusal, Step};
use crate::session::Session;

pub const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";
/// Of all names of consumers.
const PREFIX: &[u8] = b"amq.rabbitmq.reply-to.";

/// A channel's consumer of direct replies.
pub struct ReplyConsumer {
    pub tag: Box<[u8]>,
    pub address: u128,
}

fn name_of(address: u128) -> String {
    format!("{PSEUDO_QUEUE}.{address:032x}")
}

/// The address that a name stands for, if it is one that we give.
pub fn address_of(name: &[u8]) -> Option<u128> {
    let digits = std::str::from_utf8(name.strip_prefix(PREFIX)?).ok()?;
    let address = u128::from_str_radix(digits, 16).ok()?;
    (name_of(address).as_bytes() == name).then_some(address)
}

/// Whether a routing key is meant for a consumer of direct replies; it may have gone, or never have been.
#[inline]
pub fn is_address(routing_key: &[u8]) -> bool {
    routing_key.starts_with(PREFIX)
}

/// Names that stand for no queue: nobody may bind them.
pub fn refuse_bound(queue: &str) -> Step {
    if queue == PSEUDO_QUEUE || queue.as_bytes().starts_with(PREFIX) {
        return Err(Refusal::new(
            ReplyCode::AccessRefused,
            format!("queue '{queue}' takes direct replies and cannot be bound"),
        ));
    }
    Ok(())
}

impl Session {
    pub(crate) fn consume_replies(
        &mut self,
        number: u16,
        method: &BasicConsume<'_>,
        tag: Box<[u8]>,
        broker: &mut dyn Broker,
    ) -> Step {
        let Some(channel) = self.channel_mut(number) else { return Ok(()) };
        if channel.replies.is_some() {
            return Err(Refusal::precondition("reply consumer already set"));
        }
        if !method.no_ack {
            return Err(Refusal::precondition("reply consumer cannot acknowledge"));
        }
        let address = broker.open_replies();
        channel.replies = Some(ReplyConsumer { tag: tag.clone(), address });
        self.reply_channels.insert(address, number);
        let consumer_tag = ShortStr::new(&tag).unwrap_or_default();
        self.reply_unless(method.no_wait, number, BasicConsumeOk { consumer_tag });
        Ok(())
    }

    /// Ends the channel's consumer of replies, if it has this tag (or whatever tag). True if it did.
    pub(crate) fn end_replies(&mut self, number: u16, tag: Option<&[u8]>, broker: &mut dyn Broker) -> bool {
        let Some(channel) = self.channel_mut(number) else { return false };
        let ends = |consumer: &mut ReplyConsumer| tag.is_none_or(|tag| *consumer.tag == *tag);
        let Some(consumer) = channel.replies.take_if(ends) else { return false };
        self.reply_channels.remove(&consumer.address);
        broker.close_replies(consumer.address);
        true
    }

    /// What the `reply-to` of a question on this channel becomes.
    pub(crate) fn own_reply_to(&mut self, number: u16) -> Step<String> {
        let replies = self.channel_mut(number).and_then(|channel| channel.replies.as_ref());
        match replies {
            Some(consumer) => Ok(name_of(consumer.address)),
            None => Err(Refusal::precondition("fast reply consumer does not exist")),
        }
    }

    /// queue.declare of the pseudo-queue or of a consumer's name, active or passive: whether somebody listens.
    /// False if the name is an ordinary one.
    pub(crate) fn declare_replies(
        &mut self,
        number: u16,
        name: &str,
        no_wait: bool,
        broker: &mut dyn Broker,
    ) -> Step<bool> {
        if name != PSEUDO_QUEUE {
            if !name.as_bytes().starts_with(PREFIX) {
                return Ok(false);
            }
            if !address_of(name.as_bytes()).is_some_and(|address| broker.takes_replies(address)) {
                return Err(Refusal::not_found("queue", &self.vhost, name));
            }
        }
        self.declared(number, name.to_string(), (0, 1), no_wait);
        Ok(true)
    }

    /// A reply has come. It is dropped if the client does not read, and if its consumer has gone.
    pub(crate) fn take_reply(&mut self, reply: &DirectReply) {
        let Some(&number) = self.reply_channels.get(&reply.to) else { return };
        if self.out.len() >= OUTBOX_BYTES_MAX {
            tracing::debug!(peer = %self.peer.address, "a direct reply is dropped: the client does not read");
            return;
        }
        let Some(Some(channel)) = self.channels.get_mut(usize::from(number)) else { return };
        let Some(consumer) = &channel.replies else { return };
        let head = DeliverHead {
            channel: number,
            consumer_tag: ShortStr::new(&consumer.tag).unwrap_or_default(),
            delivery_tag: channel.unacked.push_settled(),
            redelivered: false,
            exchange: ShortStr::default(),
            routing_key: ShortStr::new(&reply.routing_key).unwrap_or_default(),
            properties: &reply.properties,
            body_size: reply.body.len() as u64,
        };
        head.encode(self.out.staged());
        encode_body_frames(self.out.staged(), number, &reply.body, self.frame_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for address in [0, 1, u128::MAX] {
            assert_eq!(address_of(name_of(address).as_bytes()), Some(address));
        }
        for forged in ["amq.rabbitmq.reply-to", "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.1"] {
            assert_eq!(address_of(forged.as_bytes()), None, "{forged}");
        }
        let signed = format!("amq.rabbitmq.reply-to.+{:031x}", 1);
        assert_eq!(address_of(signed.as_bytes()), None);
    }
}
