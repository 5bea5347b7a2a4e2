//! Deliveries from shards: basic.deliver and basic.get-ok.

use bowline_codec_amqp::EncodeMethod;
use bowline_codec_amqp::frame::{
    DeliverHead, FRAME_END, FRAME_OVERHEAD, body_frame_head, body_frame_max, encode_body_frames,
    encode_header_frame,
};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{FieldTable, FieldValue, Properties, ShortStr};
use bowline_model::BlockRef;
use bowline_model::event::{Deliveries, Delivery, Got};
use bowline_model::record::{self, Publish};

use crate::channel::Held;
use crate::consumers::Consumer;
use crate::options::COPY_BODY_BYTES_MAX;
use crate::outbox::Outbox;
use crate::queues::clamp;
use crate::session::Session;
use crate::unacked::Slot;

impl Session {
    pub(crate) fn deliver(&mut self, deliveries: &Deliveries) {
        let Some(shard) = deliveries.blocks.first().map(|block| block.shard) else { return };
        let mut bytes = 0;
        for delivery in &deliveries.items {
            bytes += u64::from(delivery.len);
            match deliveries.blocks.get(delivery.block as usize) {
                Some(block) => self.deliver_one(block, delivery, false),
                None => debug_assert!(false, "delivery refers to block {}", delivery.block),
            }
        }
        self.windows.delivered(shard, bytes, self.out.queued_total());
    }

    /// Writes one delivery, or holds it back if the channel-wide prefetch does not allow it.
    #[inline]
    pub(crate) fn deliver_one(&mut self, block: &BlockRef, delivery: &Delivery, was_held: bool) {
        let id = delivery.consumer.0;
        // A consumer or channel that has gone: its shard knows by now and has taken the message back.
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let Some(Some(channel)) = self.channels.get_mut(usize::from(consumer.channel)) else { return };
        if channel.prefetch_global != 0
            && !consumer.no_ack
            && (!channel.has_room() || !channel.held.is_empty() && !was_held)
        {
            let held = Held { block: block.clone(), delivery: *delivery };
            channel.held.push_back(held);
            return;
        }
        let Some(message) = message_at(block, delivery.offset) else { return };
        let delivery_tag = if consumer.no_ack {
            channel.unacked.push_settled()
        } else {
            consumer.outstanding += 1;
            channel.unacked.push(Slot { consumer: id, number: delivery.number })
        };
        let told = with_told(&message, delivery, self.frame_max);
        let properties = told.as_deref().unwrap_or(message.properties);
        let tag = (delivery_tag, delivery.redelivered);
        write_message(&mut self.out, consumer, tag, block, &message, properties, self.frame_max);
    }

    /// The answer to basic.get. `got.delivery` counts as delivered to pseudo-consumer `id`.
    pub(crate) fn got(&mut self, number: u16, id: u32, no_ack: bool, got: &Got) {
        let Some(message) = message_at(&got.block, got.delivery.offset) else {
            return self.reply(number, BasicGetEmpty);
        };
        let Some(channel) = self.channels.get_mut(usize::from(number)).and_then(Option::as_mut) else {
            return;
        };
        let delivery_tag = if no_ack {
            channel.unacked.push_settled()
        } else {
            if let Some(getter) = self.consumers.get_mut(&id) {
                getter.outstanding += 1;
            }
            channel.unacked.push(Slot { consumer: id, number: got.delivery.number })
        };
        BasicGetOk {
            delivery_tag,
            redelivered: got.delivery.redelivered,
            exchange: ShortStr::new(message.exchange).unwrap_or_default(),
            routing_key: ShortStr::new(message.routing_key).unwrap_or_default(),
            message_count: clamp(got.remaining),
        }
        .encode_frame(number, self.out.staged());
        let told = with_told(&message, &got.delivery, self.frame_max);
        let properties = told.as_deref().unwrap_or(message.properties);
        encode_header_frame(self.out.staged(), number, message.body.len() as u64, properties);
        put_body(&mut self.out, &got.block, message.body, number, self.frame_max);
    }
}

/// Writes basic.deliver with its content. `tag`: the delivery tag, and whether it is a redelivery.
#[inline]
pub(crate) fn write_message(
    out: &mut Outbox,
    consumer: &Consumer,
    tag: (u64, bool),
    block: &BlockRef,
    message: &Publish<'_>,
    properties: &[u8],
    frame_max: u32,
) {
    let head = DeliverHead {
        channel: consumer.channel,
        consumer_tag: ShortStr::new(&consumer.tag).unwrap_or_default(),
        delivery_tag: tag.0,
        redelivered: tag.1,
        exchange: ShortStr::new(message.exchange).unwrap_or_default(),
        routing_key: ShortStr::new(message.routing_key).unwrap_or_default(),
        properties,
        body_size: message.body.len() as u64,
    };
    head.encode(out.staged());
    put_body(out, block, message.body, consumer.channel, frame_max);
}

/// Reads the Publish record at `offset` of a block. The block's checksum was verified when it was read, so
/// anything else there is a bug; then the message is withheld rather than served wrong.
#[inline]
pub(crate) fn message_at(block: &BlockRef, offset: u32) -> Option<Publish<'_>> {
    let message = match record::at(&block.payload, offset) {
        Ok(record) if record.kind == record::Kind::Publish => Publish::decode(record.body),
        _ => None,
    };
    if message.is_none() {
        tracing::error!(lsn = %block.lsn, offset, "no message where a delivery says one is; it is withheld");
    }
    message
}

/// The message's properties with what the broker tells about it, if there is something to tell: the headers
/// `x-acquired-count` and `x-delivery-count` if its queue counts, `x-scheduled-for` if a schedule made it. `None`: as
/// they are.
#[inline]
fn with_told(message: &Publish<'_>, delivery: &Delivery, frame_max: u32) -> Option<Vec<u8>> {
    if delivery.acquired == 0 && delivery.failures == 0 && message.extras.made_by.is_none() {
        return None;
    }
    put_told(message, delivery, frame_max)
}

#[cold]
fn put_told(message: &Publish<'_>, delivery: &Delivery, frame_max: u32) -> Option<Vec<u8>> {
    let mut ours: Vec<(&str, Option<FieldValue>)> = Vec::new();
    if delivery.acquired > 0 || delivery.failures > 0 {
        ours.push(("x-acquired-count", Some(FieldValue::I64(delivery.acquired.into()))));
        ours.push(("x-delivery-count", Some(FieldValue::I64(delivery.failures.into()))));
    }
    if let Some((_, due)) = message.extras.made_by {
        ours.push(("x-scheduled-for", Some(FieldValue::I64(due as i64))));
        // Whoever passes a copy on does not mean to begin another schedule.
        ours.extend(["x-schedule", "x-schedule-count", "x-schedule-until"].map(|name| (name, None)));
    }
    with_headers_but(message.properties, &ours, frame_max)
}

/// Properties with these headers, instead of what a client may have said under their names. `None` if they do not
/// fit a frame then.
pub(crate) fn with_headers(
    properties: &[u8],
    ours: &[(&str, FieldValue)],
    frame_max: u32,
) -> Option<Vec<u8>> {
    let ours: Vec<(&str, Option<FieldValue>)> =
        ours.iter().map(|(name, value)| (*name, Some(value.clone()))).collect();
    with_headers_but(properties, &ours, frame_max)
}

/// The same; headers without a value are taken out.
#[cold]
fn with_headers_but(
    properties: &[u8],
    ours: &[(&str, Option<FieldValue>)],
    frame_max: u32,
) -> Option<Vec<u8>> {
    let mut owned = Properties::parse(properties).ok()?.to_owned();
    let mut headers = FieldTable::new();
    for (name, value) in owned.headers.iter().flat_map(FieldTable::iter) {
        if !ours.iter().any(|(own, _)| own.as_bytes() == name) {
            headers.push_bytes(name, value.clone());
        }
    }
    for (name, value) in ours {
        if let Some(value) = value {
            headers.push(name, value.clone());
        }
    }
    owned.headers = Some(headers);
    let block = owned.to_bytes();
    // A content header has to fit one frame, with twelve octets of its own.
    let fits = frame_max == 0 || block.len() + FRAME_OVERHEAD + 12 <= frame_max as usize;
    fits.then_some(block)
}

/// Small bodies are copied behind their head; large ones are written from the block itself.
#[inline]
fn put_body(out: &mut Outbox, block: &BlockRef, body: &[u8], channel: u16, frame_max: u32) {
    if body.len() <= COPY_BODY_BYTES_MAX {
        return encode_body_frames(out.staged(), channel, body, frame_max);
    }
    for part in body.chunks(body_frame_max(frame_max)) {
        out.staged().extend_from_slice(&body_frame_head(channel, part.len() as u32));
        out.push_shared(block.payload.slice_ref(part));
        out.staged().push(FRAME_END);
    }
}
