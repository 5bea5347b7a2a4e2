//! Methods that wait for their reply, and the buffered ones that have none.

use std::time::Instant;

use bowline_codec_amqp::frame::encode_body_frames;
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{
    ContentHeader, EncodeMethod, FieldTable, Method, OwnedProperties, ShortStr, TableRef,
};

use super::Connection;
use super::template::put_publish;
use crate::error::{Error, Result};

/// A queue to declare.
#[derive(Clone, Debug, Default)]
pub struct Queue<'a> {
    /// Empty: the broker invents a name.
    pub name: &'a str,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

/// What queue.declare-ok tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCounts {
    pub name: String,
    pub messages: u32,
    pub consumers: u32,
}

/// An exchange to declare.
#[derive(Clone, Debug, Default)]
pub struct Exchange<'a> {
    pub name: &'a str,
    pub kind: &'a str,
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: FieldTable,
}

/// A consumer to start.
#[derive(Clone, Debug, Default)]
pub struct Consume<'a> {
    pub queue: &'a str,
    /// Empty: the broker invents one.
    pub consumer_tag: &'a str,
    pub no_ack: bool,
    pub exclusive: bool,
    pub arguments: FieldTable,
}

/// Where and how to publish.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    pub mandatory: bool,
    pub properties: &'a OwnedProperties,
}

/// A message got by basic.get.
#[derive(Clone, Debug, PartialEq)]
pub struct Got {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: String,
    pub routing_key: String,
    /// Ready messages left in the queue.
    pub message_count: u32,
    pub properties: OwnedProperties,
    pub body: Vec<u8>,
}

impl Connection {
    pub fn open_channel(&mut self) -> Result<u16> {
        let channel = self
            .channels_opened
            .checked_add(1)
            .ok_or_else(|| Error::Protocol("no channel numbers left".into()))?;
        self.channels_opened = channel;
        self.call(channel, &ChannelOpen, |reply| matches!(reply, Method::ChannelOpenOk(_)).then_some(()))?;
        Ok(channel)
    }

    pub fn close_channel(&mut self, channel: u16) -> Result<()> {
        let close = ChannelClose {
            reply_code: 200,
            reply_text: ShortStr::truncated("done"),
            class_id: 0,
            method_id: 0,
        };
        self.call(channel, &close, |reply| matches!(reply, Method::ChannelCloseOk(_)).then_some(()))
    }

    pub fn declare_queue(&mut self, channel: u16, queue: &Queue<'_>) -> Result<QueueCounts> {
        let arguments = queue.arguments.to_bytes();
        let method = QueueDeclare {
            queue: ShortStr::truncated(queue.name),
            passive: queue.passive,
            durable: queue.durable,
            exclusive: queue.exclusive,
            auto_delete: queue.auto_delete,
            no_wait: false,
            arguments: TableRef::parse(&arguments)?,
        };
        self.call(channel, &method, |reply| match reply {
            Method::QueueDeclareOk(ok) => Some(QueueCounts {
                name: ok.queue.to_string(),
                messages: ok.message_count,
                consumers: ok.consumer_count,
            }),
            _ => None,
        })
    }

    pub fn declare_exchange(&mut self, channel: u16, exchange: &Exchange<'_>) -> Result<()> {
        let arguments = exchange.arguments.to_bytes();
        let method = ExchangeDeclare {
            exchange: ShortStr::truncated(exchange.name),
            exchange_type: ShortStr::truncated(exchange.kind),
            passive: false,
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: false,
            no_wait: false,
            arguments: TableRef::parse(&arguments)?,
        };
        self.call(channel, &method, |reply| matches!(reply, Method::ExchangeDeclareOk(_)).then_some(()))
    }

    pub fn delete_exchange(&mut self, channel: u16, name: &str) -> Result<()> {
        let method = ExchangeDelete { exchange: ShortStr::truncated(name), if_unused: false, no_wait: false };
        self.call(channel, &method, |reply| matches!(reply, Method::ExchangeDeleteOk(_)).then_some(()))
    }

    pub fn bind_queue(
        &mut self,
        channel: u16,
        queue: &str,
        exchange: &str,
        key: &str,
        arguments: &FieldTable,
    ) -> Result<()> {
        let arguments = arguments.to_bytes();
        let method = QueueBind {
            queue: ShortStr::truncated(queue),
            exchange: ShortStr::truncated(exchange),
            routing_key: ShortStr::truncated(key),
            no_wait: false,
            arguments: TableRef::parse(&arguments)?,
        };
        self.call(channel, &method, |reply| matches!(reply, Method::QueueBindOk(_)).then_some(()))
    }

    /// Returns how many messages were purged.
    pub fn purge_queue(&mut self, channel: u16, name: &str) -> Result<u32> {
        let method = QueuePurge { queue: ShortStr::truncated(name), no_wait: false };
        self.call(channel, &method, |reply| match reply {
            Method::QueuePurgeOk(ok) => Some(ok.message_count),
            _ => None,
        })
    }

    /// Returns how many messages were deleted with it.
    pub fn delete_queue(&mut self, channel: u16, name: &str) -> Result<u32> {
        let method = QueueDelete {
            queue: ShortStr::truncated(name),
            if_unused: false,
            if_empty: false,
            no_wait: false,
        };
        self.call(channel, &method, |reply| match reply {
            Method::QueueDeleteOk(ok) => Some(ok.message_count),
            _ => None,
        })
    }

    pub fn qos(&mut self, channel: u16, prefetch_count: u16) -> Result<()> {
        let method = BasicQos { prefetch_size: 0, prefetch_count, global: false };
        self.call(channel, &method, |reply| matches!(reply, Method::BasicQosOk(_)).then_some(()))
    }

    pub fn confirm_select(&mut self, channel: u16) -> Result<()> {
        let method = ConfirmSelect { no_wait: false };
        self.call(channel, &method, |reply| matches!(reply, Method::ConfirmSelectOk(_)).then_some(()))
    }

    /// From now on what the channel publishes and settles takes effect when it is committed.
    pub fn tx_select(&mut self, channel: u16) -> Result<()> {
        self.call(channel, &TxSelect, |reply| matches!(reply, Method::TxSelectOk(_)).then_some(()))
    }

    pub fn tx_commit(&mut self, channel: u16) -> Result<()> {
        self.call(channel, &TxCommit, |reply| matches!(reply, Method::TxCommitOk(_)).then_some(()))
    }

    pub fn tx_rollback(&mut self, channel: u16) -> Result<()> {
        self.call(channel, &TxRollback, |reply| matches!(reply, Method::TxRollbackOk(_)).then_some(()))
    }

    /// Returns the consumer's tag.
    pub fn consume(&mut self, channel: u16, consume: &Consume<'_>) -> Result<String> {
        let arguments = consume.arguments.to_bytes();
        let method = BasicConsume {
            queue: ShortStr::truncated(consume.queue),
            consumer_tag: ShortStr::truncated(consume.consumer_tag),
            no_local: false,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            no_wait: false,
            arguments: TableRef::parse(&arguments)?,
        };
        self.call(channel, &method, |reply| match reply {
            Method::BasicConsumeOk(ok) => Some(ok.consumer_tag.to_string()),
            _ => None,
        })
    }

    pub fn cancel(&mut self, channel: u16, consumer_tag: &str) -> Result<()> {
        let method = BasicCancel { consumer_tag: ShortStr::truncated(consumer_tag), no_wait: false };
        self.call(channel, &method, |reply| matches!(reply, Method::BasicCancelOk(_)).then_some(()))
    }

    /// One message, if one is ready.
    pub fn get(&mut self, channel: u16, queue: &str, no_ack: bool) -> Result<Option<Got>> {
        self.send_method(channel, &BasicGet { queue: ShortStr::truncated(queue), no_ack });
        let Some([method, header, body]) = self.await_get(channel, Instant::now() + self.timeout)? else {
            return Ok(None);
        };
        let Method::BasicGetOk(ok) = Method::decode(&method)? else {
            return Err(Error::Protocol("basic.get-ok expected".into()));
        };
        Ok(Some(Got {
            delivery_tag: ok.delivery_tag,
            redelivered: ok.redelivered,
            exchange: ok.exchange.to_string(),
            routing_key: ok.routing_key.to_string(),
            message_count: ok.message_count,
            properties: ContentHeader::decode(&header)?.properties.to_owned(),
            body,
        }))
    }

    /// Buffers a message.
    pub fn publish(&mut self, channel: u16, publish: &Publish<'_>, body: &[u8]) {
        let frame_max = self.frame_max();
        let properties = publish.properties.to_bytes();
        let out = self.out();
        put_publish(out, channel, publish, body.len() as u64, &properties);
        encode_body_frames(out, channel, body, frame_max);
    }

    /// Buffers an ack.
    pub fn ack(&mut self, channel: u16, delivery_tag: u64, multiple: bool) {
        self.send_method(channel, &BasicAck { delivery_tag, multiple });
    }

    /// Buffers a nack.
    pub fn nack(&mut self, channel: u16, delivery_tag: u64, multiple: bool, requeue: bool) {
        self.send_method(channel, &BasicNack { delivery_tag, multiple, requeue });
    }

    /// Buffers a reject.
    pub fn reject(&mut self, channel: u16, delivery_tag: u64, requeue: bool) {
        self.send_method(channel, &BasicReject { delivery_tag, requeue });
    }

    fn call<T>(
        &mut self,
        channel: u16,
        method: &impl EncodeMethod,
        pick: impl FnMut(&Method<'_>) -> Option<T>,
    ) -> Result<T> {
        self.send_method(channel, method);
        self.flush()?;
        self.await_method(channel, Instant::now() + self.timeout, pick)
    }
}
