//! basic.publish: from frames to records, returns and confirms.

use bowline_codec_amqp::frame::{
    BASIC_CLASS, FRAME_OVERHEAD, encode_body_frames, encode_header_frame, frame_len,
};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{
    ContentHeader, FieldTable, FieldValue, Frame, FrameKind, Properties, ReplyCode, ShortStr, TableRef,
    Value, split_frame,
};
use bowline_convert::{Of, to_value};
use bowline_model::ShardId;
use bowline_model::event::DirectReply;
use bowline_model::extras::Extras;
use bowline_model::record::{self, PUBLISH_PERSISTENT, Publish};
use bowline_topology::Access;
use bowline_topology::access::DEFAULT_EXCHANGE;
use bowline_topology::history::NO_STORE;
use bowline_topology::refusal::Resource;
use bowline_topology::value::type_name;
use smallvec::SmallVec;
use std::borrow::Cow;

use crate::broker::{Broker, look_up};
use crate::channel::{Channel, Confirm, Partial, PartialContent, Pending, Prepared};
use crate::extras::{Asked, DELAY};
use crate::options::{PARTIAL_BYTES_MAX, WHOLE_CONTENT_BYTES_MAX};
use crate::publisher::{Completed, Content, Publisher};
use crate::refusal::{Refusal, Step};
use crate::replies;
use crate::routes::{Keys, Route, Special, Verdict};
use crate::session::Session;

/// A whole message as it came.
pub(crate) struct Message<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub mandatory: bool,
    pub properties: Properties<'a>,
    pub pieces: &'a [&'a [u8]],
}

impl<'a> Message<'a> {
    /// To route by, but for CC and BCC.
    fn keys(&self) -> Keys<'a> {
        let Message { exchange, routing_key, properties, .. } = *self;
        Keys { exchange, routing_key, copies: &[], properties }
    }

    #[inline]
    fn content(&self, treatment: &'a Treatment<'_>) -> Content<'a> {
        Content {
            exchange: self.exchange,
            routing_key: self.routing_key,
            properties: treatment.properties.unwrap_or(self.properties.as_bytes()),
            pieces: self.pieces,
            extras: treatment.extras.as_ref(),
        }
    }
}

/// How a message goes to the shards of its queues.
struct Aim {
    logged: bool,
    flags: u8,
}

impl Aim {
    #[inline]
    fn of(message: &Message<'_>, treatment: &Treatment<'_>, route: &Route) -> Aim {
        let persistent = message.properties.is_persistent();
        let logged = persistent && route.durable
            || !route.topics.is_empty()
            || must_be_logged(treatment.extras.as_ref());
        Aim { logged, flags: if persistent { PUBLISH_PERSISTENT } else { 0 } }
    }
}

/// What is done with a message beyond routing and keeping it as it came. Nothing, for most.
#[derive(Default)]
struct Treatment<'a> {
    extras: Option<Extras>,
    /// More routing keys: of CC and BCC.
    copies: Pieces<'a>,
    /// The property block to keep instead of the one that came.
    properties: Option<&'a [u8]>,
}

/// Room taken at once for a body that is gathered; more comes with more frames.
const GATHER_ROOM_BYTES_MAX: usize = 1024 * 1024;
/// Room for what a record has before the body, usually.
const GATHER_HEAD_BYTES: usize = 1024;

type QueuesByShard = [(ShardId, Vec<u32>)];

/// Pieces of a body: nearly always one.
type Pieces<'a> = SmallVec<[&'a [u8]; 4]>;

impl Channel {
    /// Octets of content that this channel holds in part.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .and_then(|partial| partial.content.as_ref())
            .map_or(0, |content| content.body().len())
    }
}

impl Session {
    /// A basic.publish. If the whole content follows in the same read, it is used where it lies; a small one is
    /// waited for, a large one is gathered. Tells how many octets of `following` were used.
    pub(crate) fn publish_method(
        &mut self,
        frame: &Frame<'_>,
        method: &BasicPublish<'_>,
        following: &[u8],
        broker: &mut dyn Broker,
    ) -> Step<usize> {
        let number = frame.channel;
        if method.immediate {
            return Err(Refusal::not_implemented("immediate=true"));
        }
        if self.alarm.is_some() {
            self.block_publisher(frame);
            return Ok(0);
        }
        match content_in(number, following, self.frame_max) {
            Following::Whole { header, pieces, used } => {
                self.check_size(header.body_size)?;
                let message = Message {
                    exchange: method.exchange.as_bytes(),
                    routing_key: method.routing_key.as_bytes(),
                    mandatory: method.mandatory,
                    properties: header.properties,
                    pieces: &pieces,
                };
                // The content is used even if the message is refused: the channel is then closing and would
                // ignore it anyhow.
                self.publish(number, &message, broker)?;
                return Ok(used);
            }
            Following::Incomplete { wanted } if self.may_wait_for_content => {
                let wanted = wanted.saturating_add((frame.payload.len() + FRAME_OVERHEAD) as u64);
                if wanted <= WHOLE_CONTENT_BYTES_MAX as u64 {
                    self.may_wait_for_content = false;
                    self.wanted = wanted as usize;
                    return Ok(0);
                }
            }
            Following::Incomplete { .. } | Following::Irregular => {}
        }
        let Some(channel) = self.channel_mut(number) else { return Ok(0) };
        channel.partial = Some(Box::new(Partial {
            exchange: method.exchange.as_bytes().into(),
            routing_key: method.routing_key.as_bytes().into(),
            mandatory: method.mandatory,
            content: None,
        }));
        Ok(0)
    }

    pub(crate) fn content_header(&mut self, number: u16, payload: &[u8], broker: &mut dyn Broker) -> Step {
        let Some(partial) = self.channel_mut(number).and_then(|channel| channel.partial.as_mut()) else {
            return Err(unexpected("expected a method frame, got a content header instead"));
        };
        if partial.content.is_some() {
            return Err(unexpected("expected content body, got a second content header instead"));
        }
        let header = ContentHeader::decode(payload)?;
        let mut content = PartialContent {
            properties: header.properties.as_bytes().into(),
            body_size: header.body_size,
            record: Vec::new(),
            body_at: 0,
            prepared: None,
        };
        if header.body_size == 0 {
            partial.content = Some(content);
            return self.publish_partial(number, broker);
        }
        let (exchange, routing_key) = (partial.exchange.clone(), partial.routing_key.clone());
        let in_tx = self.channel_mut(number).is_some_and(|channel| channel.tx.is_some());
        if header.body_size <= self.options.message_bytes_max && !in_tx {
            self.prepare(&mut content, &exchange, &routing_key, &header.properties, broker);
        }
        if let Some(partial) = self.channel_mut(number).and_then(|channel| channel.partial.as_mut()) {
            partial.content = Some(content);
        }
        self.check_size(header.body_size)
    }

    /// If the message goes to queues of one shard only and nothing is special about it, begins its record, so that
    /// the body can be gathered where it will be sent from. What is refused is refused when the body is complete.
    fn prepare(
        &mut self,
        content: &mut PartialContent,
        exchange: &[u8],
        routing_key: &[u8],
        properties: &Properties<'_>,
        broker: &mut dyn Broker,
    ) {
        let mut extras = None;
        if properties.ask_for_something() {
            match Asked::read(properties, &self.client.user, self.client.may_impersonate) {
                Ok(asked) if asked.changes_nothing() => extras = Some(asked.extras),
                _ => return,
            }
        }
        let version = self.routes.version();
        let keys = Keys { exchange, routing_key, copies: &[], properties: *properties };
        let route = self.routes.find(&keys, broker);
        let [(shard, queues)] = &route.queues[..] else { return };
        let is_plain = route.topics.is_empty() && route.special.is_empty() && route.history.is_empty();
        if route.verdict != Verdict::Allowed || !is_plain {
            return;
        }
        let persistent = properties.is_persistent();
        let flags = if persistent { PUBLISH_PERSISTENT } else { 0 };
        // Room for what the header announced, but no more than a few frames ahead of what has come.
        let room = (content.body_size as usize).min(GATHER_ROOM_BYTES_MAX) + GATHER_HEAD_BYTES;
        content.record = self.publisher.buffer(room);
        Publish::encode_with(
            &mut content.record,
            flags,
            queues.iter().copied(),
            exchange,
            routing_key,
            properties.as_bytes(),
            &extras.unwrap_or_default(),
            std::iter::empty(),
        );
        content.body_at = content.record.len();
        let logged = persistent && route.durable || must_be_logged(extras.as_ref());
        content.prepared = Some(Prepared { shard: *shard, logged, version });
    }

    pub(crate) fn content_body(&mut self, number: u16, payload: &[u8], broker: &mut dyn Broker) -> Step {
        let partial = self.channel_mut(number).and_then(|channel| channel.partial.as_mut());
        let Some(content) = partial.and_then(|partial| partial.content.as_mut()) else {
            return Err(unexpected("expected a method or content header frame, got a content body instead"));
        };
        let size = content.body().len() + payload.len();
        if size as u64 > content.body_size {
            return Err(Refusal::new(
                ReplyCode::FrameError,
                format!(
                    "content body of {size} octets exceeds the {} that its header announced",
                    content.body_size
                ),
            ));
        }
        content.record.extend_from_slice(payload);
        let complete = size as u64 == content.body_size;
        self.partial_bytes += payload.len();
        if complete {
            return self.publish_partial(number, broker);
        }
        // One message that is allowed may always be finished.
        let max = PARTIAL_BYTES_MAX.max(self.options.message_bytes_max as usize);
        if self.partial_bytes > max {
            return Err(Refusal::new(
                ReplyCode::ResourceError,
                format!("more than {max} octets of unfinished messages on one connection"),
            ));
        }
        Ok(())
    }

    fn publish_partial(&mut self, number: u16, broker: &mut dyn Broker) -> Step {
        let Some(channel) = self.channel_mut(number) else { return Ok(()) };
        let bytes = channel.partial_bytes();
        let Some(partial) = channel.partial.take() else { return Ok(()) };
        self.partial_bytes -= bytes;
        let Some(mut content) = partial.content else { return Ok(()) };
        if let Some(prepared) = content.prepared
            && prepared.version == broker.topology_version()
        {
            record::end(&mut content.record, 0);
            note_publish(&mut self.channels, &mut self.publisher, number);
            self.publisher.publish_gathered(broker, prepared.shard, prepared.logged, content.record);
            return Ok(());
        }
        let message = Message {
            exchange: &partial.exchange,
            routing_key: &partial.routing_key,
            mandatory: partial.mandatory,
            properties: Properties::parse(&content.properties)?,
            pieces: &[content.body()],
        };
        self.publish(number, &message, broker)
    }

    fn check_size(&self, size: u64) -> Step {
        let max = self.options.message_bytes_max;
        if size > max {
            return Err(Refusal::precondition(format!(
                "message size {size} is larger than configured max size {max}"
            )));
        }
        Ok(())
    }

    /// Takes a message: into the open batch, or into the channel's transaction.
    fn publish(&mut self, number: u16, message: &Message<'_>, broker: &mut dyn Broker) -> Step {
        if self.channel_mut(number).is_some_and(|channel| channel.tx.is_some()) {
            return self.hold_publish(number, message, broker);
        }
        self.publish_now(number, message, broker)
    }

    /// Routes a message and adds its records to the open batch.
    pub(crate) fn publish_now(
        &mut self,
        number: u16,
        message: &Message<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        if message.properties.ask_for_something() {
            return self.publish_asking(number, message, broker);
        }
        self.publish_routed(number, message, &Treatment::default(), broker)
    }

    /// A message whose properties may ask for more than to be kept.
    fn publish_asking(&mut self, number: u16, message: &Message<'_>, broker: &mut dyn Broker) -> Step {
        let asked = self.asked(message, broker)?;
        let headers = message.properties.headers().unwrap_or_default();
        let copies = if asked.has_copies { copy_keys_of(headers)? } else { Pieces::new() };
        let reply_to = if asked.fast_reply { Some(self.own_reply_to(number)?) } else { None };
        let told_delay = asked.extras.delay_ms.filter(|_| self.is_delayed(message.exchange, broker));
        let has_bcc = asked.has_copies && headers.get(BCC).is_some();
        let changed = (has_bcc || reply_to.is_some() || told_delay.is_some()).then(|| {
            let mut owned = message.properties.to_owned();
            if let Some(reply_to) = reply_to {
                owned.reply_to = Some(reply_to.into_bytes());
            }
            if let Some(fields) = owned.headers.take() {
                owned.headers = Some(headers_to_keep(&fields, told_delay));
            }
            owned.to_bytes()
        });
        let treatment = Treatment { extras: Some(asked.extras), copies, properties: changed.as_deref() };
        if let Some(handle) = asked.cancel {
            return self.publish_cancel(number, message, &treatment.copies, handle, broker);
        }
        self.publish_routed(number, message, &treatment, broker)
    }

    fn is_delayed(&self, exchange: &[u8], broker: &dyn Broker) -> bool {
        let name = std::str::from_utf8(exchange).unwrap_or_default();
        look_up(broker, |topology| {
            topology.exchange(&self.vhost, name).is_some_and(|exchange| exchange.delayed())
        })
    }

    /// What the message's properties ask for, or why not. What is wrong with its exchange comes first, as in RabbitMQ.
    #[cold]
    fn asked(&mut self, message: &Message<'_>, broker: &mut dyn Broker) -> Step<Asked> {
        let asked = Asked::read(&message.properties, &self.client.user, self.client.may_impersonate);
        if asked.is_err() {
            self.check_exchange(message, broker)?;
        }
        asked
    }

    /// Everything that would refuse the message, but nothing of it is kept.
    pub(crate) fn check_publish(
        &mut self,
        number: u16,
        message: &Message<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        if message.properties.ask_for_something() {
            let asked = self.asked(message, broker)?;
            if asked.has_copies
                && let Some(headers) = message.properties.headers()
            {
                copy_keys_of(headers)?;
            }
            if asked.fast_reply {
                self.own_reply_to(number)?;
            }
        }
        self.check_exchange(message, broker)
    }

    /// Whether the exchange is there and takes the message from this user.
    fn check_exchange(&mut self, message: &Message<'_>, broker: &mut dyn Broker) -> Step {
        let verdict = self.routes.find(&message.keys(), broker).verdict;
        refuse_verdict(verdict, &self.vhost, &self.client.user, message)
    }

    fn publish_routed(
        &mut self,
        number: u16,
        message: &Message<'_>,
        treatment: &Treatment<'_>,
        broker: &mut dyn Broker,
    ) -> Step {
        let mut keys = Keys { copies: &treatment.copies, ..message.keys() };
        let mut is_answer = false;
        if message.exchange.is_empty() && keys.all().any(replies::is_address) {
            is_answer = self.send_replies(message, treatment, &mut keys, broker)?;
        }
        let route = self.routes.find(&keys, broker);
        refuse_verdict(route.verdict, &self.vhost, &self.client.user, message)?;
        let keyless = route.wants_key && message.routing_key.is_empty();
        if !route.special.is_empty() || !route.history.is_empty() || keyless {
            let route = route.clone();
            return self.publish_special(number, message, treatment, &route, broker);
        }

        note_publish(&mut self.channels, &mut self.publisher, number);
        let (aim, content) = (Aim::of(message, treatment, route), message.content(treatment));
        for (shard, queues) in &route.queues {
            self.publisher.publish(broker, *shard, queues, aim.logged, aim.flags, &content);
        }
        if !route.topics.is_empty() {
            let topics: SmallVec<[_; 2]> = route.topics.iter().cloned().collect();
            for topic in &topics {
                self.append_to_stream(topic, &content, broker)?;
            }
        } else if route.is_empty() && message.mandatory && !is_answer {
            self.return_message(number, message, content.properties);
        }
        Ok(())
    }

    /// A message for queues of which some want to know more of it, or may refuse it. If one may, the message is a
    /// batch of its own, so that a refusal tells of it alone.
    #[cold]
    fn publish_special(
        &mut self,
        number: u16,
        message: &Message<'_>,
        treatment: &Treatment<'_>,
        route: &Route,
        broker: &mut dyn Broker,
    ) -> Step {
        let (queues, apart) = self.with_histories(route, message, treatment);
        let keyless = route.wants_key && message.routing_key.is_empty();
        let may_refuse = keyless || route.special.iter().any(|special| special.wants.checked);
        let alone = may_refuse && !self.publisher.is_atomic();
        if alone {
            self.close_batch(broker);
        }
        note_publish(&mut self.channels, &mut self.publisher, number);
        let (Aim { logged, flags }, content) =
            (Aim::of(message, treatment, route), message.content(treatment));
        for (shard, queues) in queues.iter() {
            self.publisher.publish(broker, *shard, queues, logged, flags, &content);
        }
        for (shard, history) in apart {
            let content = Content { extras: None, ..content };
            self.publisher.publish(broker, shard, &[history], logged, flags, &content);
        }
        for topic in &route.topics {
            self.append_to_stream(topic, &content, broker)?;
        }
        for Special { shard, queue, wants } in &route.special {
            let mut extras = treatment.extras.unwrap_or_default();
            let of = Of {
                routing_key: message.routing_key,
                properties: &message.properties,
                user: Some(&self.client.user),
            };
            wants.add(&of, &mut extras);
            let logged = logged || extras.must_be_logged();
            let content = Content { extras: Some(&extras), ..content };
            if wants.checked {
                self.publisher.publish_checked(broker, *shard, *queue, logged, flags, &content);
            } else {
                self.publisher.publish(broker, *shard, &[*queue], logged, flags, &content);
            }
        }
        if alone {
            self.close_batch(broker);
        }
        if route.is_empty() && message.mandatory {
            self.return_message(number, message, content.properties);
        }
        Ok(())
    }

    /// The route's queues together with those in which exchanges remember, unless the message is not to be remembered
    /// (`x-recent-history-no-store`). Where it has to wait or expires, that is not for the memory: then those come
    /// apart, second.
    fn with_histories<'a>(
        &self,
        route: &'a Route,
        message: &Message<'_>,
        treatment: &Treatment<'_>,
    ) -> (Cow<'a, QueuesByShard>, Vec<(ShardId, u32)>) {
        let forbids = |headers: TableRef<'_>| headers.get(NO_STORE).and_then(|value| value.as_bool());
        if route.history.is_empty() || message.properties.headers().and_then(forbids) == Some(true) {
            return (Cow::Borrowed(&route.queues), Vec::new());
        }
        if treatment.extras.is_some_and(|extras| extras != Extras::default()) {
            return (Cow::Borrowed(&route.queues), route.history.clone());
        }
        let mut queues = route.queues.clone();
        for (shard, history) in &route.history {
            match queues.iter_mut().find(|(other, _)| other == shard) {
                Some((_, queues)) => queues.push(*history),
                None => queues.push((*shard, vec![*history])),
            }
        }
        (Cow::Owned(queues), Vec::new())
    }

    /// A message that says what is not to wait any more. It goes nowhere itself, and is a batch of its own: it is
    /// nacked unless something was cancelled in every queue that it would have gone to.
    #[cold]
    fn publish_cancel(
        &mut self,
        number: u16,
        message: &Message<'_>,
        copies: &[&[u8]],
        handle: u128,
        broker: &mut dyn Broker,
    ) -> Step {
        let keys = Keys { copies, ..message.keys() };
        let route = self.routes.find(&keys, broker).clone();
        refuse_verdict(route.verdict, &self.vhost, &self.client.user, message)?;
        let alone = !self.publisher.is_atomic();
        if alone {
            self.close_batch(broker);
        }
        note_publish(&mut self.channels, &mut self.publisher, number);
        for (shard, queues) in &route.queues {
            self.publisher.cancel(broker, *shard, queues, handle);
        }
        for Special { shard, queue, .. } in &route.special {
            self.publisher.cancel(broker, *shard, &[*queue], handle);
        }
        // Streams have nothing that waits.
        if route.queues.is_empty() && route.special.is_empty() {
            self.publisher.fail();
        }
        if route.is_empty() && message.mandatory {
            self.return_message(number, message, message.properties.as_bytes());
        }
        if alone {
            self.close_batch(broker);
        }
        Ok(())
    }

    /// To those of a message's routing keys that are addresses of direct replies it goes from session to session, past
    /// all queues; no queue has such a name. True if somebody gets it. Routes of addresses are not worth remembering.
    #[cold]
    fn send_replies(
        &mut self,
        message: &Message<'_>,
        treatment: &Treatment<'_>,
        keys: &mut Keys<'_>,
        broker: &mut dyn Broker,
    ) -> Step<bool> {
        let all: Pieces<'_> = keys.all().collect();
        if replies::is_address(keys.routing_key) {
            keys.routing_key = b"";
        }
        let verdict = self.routes.find(keys, broker).verdict;
        refuse_verdict(verdict, &self.vhost, &self.client.user, message)?;
        let mut sent = false;
        for to in all.into_iter().filter_map(replies::address_of) {
            let reply = DirectReply {
                to,
                routing_key: message.routing_key.to_vec(),
                properties: message.content(treatment).properties.to_vec(),
                body: message.pieces.concat(),
            };
            sent |= broker.send_reply(Box::new(reply));
        }
        Ok(sent)
    }

    /// basic.return of a mandatory message that nobody gets; it precedes the confirm. Its properties are those that
    /// receivers would have seen, as in RabbitMQ: without BCC, and with the address of its direct replies.
    fn return_message(&mut self, number: u16, message: &Message<'_>, properties: &[u8]) {
        self.reply(
            number,
            BasicReturn {
                reply_code: ReplyCode::NoRoute.code(),
                reply_text: ShortStr::truncated("NO_ROUTE"),
                exchange: ShortStr::new(message.exchange).unwrap_or_default(),
                routing_key: ShortStr::new(message.routing_key).unwrap_or_default(),
            },
        );
        let size: usize = message.pieces.iter().map(|piece| piece.len()).sum();
        let out = self.out.staged();
        encode_header_frame(out, number, size as u64, properties);
        for piece in message.pieces {
            encode_body_frames(out, number, piece, self.frame_max);
        }
    }

    /// An alarm is on: the publish and what follows it on its channel waits until it is over, and the client is
    /// told once. Other channels of the connection go on, so that consumers can still acknowledge.
    fn block_publisher(&mut self, frame: &Frame<'_>) {
        self.wait(frame.channel, 0, 0, Pending::Alarm);
        self.park(frame);
        if let Some(reason) = self.alarm
            && self.client.capabilities.connection_blocked
            && !self.told_blocked
        {
            self.told_blocked = true;
            self.reply(0, ConnectionBlocked { reason: ShortStr::truncated(reason) });
        }
    }

    pub(crate) fn confirm_select(&mut self, number: u16, method: &ConfirmSelect) -> Step {
        if let Some(channel) = self.channel_mut(number) {
            if channel.tx.is_some() {
                return Err(Refusal::precondition("cannot switch from tx to confirm mode"));
            }
            channel.confirm.get_or_insert_with(Confirm::default);
        }
        self.reply_unless(method.no_wait, number, ConfirmSelectOk);
        Ok(())
    }

    /// Takes note of batches that all shards have answered, confirms them, and lets go on who waited for them.
    /// True if somebody did.
    pub(crate) fn complete_batches(&mut self, broker: &mut dyn Broker) -> bool {
        while let Some(completed) = self.publisher.next_completed() {
            self.confirm(&completed);
        }
        self.send_confirms();
        if self.behind_publishes.is_empty() {
            return false;
        }
        let mut resumed = false;
        let upto = self.publisher.completed_upto();
        let waiting = std::mem::take(&mut self.behind_publishes);
        for number in waiting {
            let Some(channel) = self.channel_mut(number) else { continue };
            let Some(waits) = &channel.waiting else { continue };
            let commits = matches!(waits.pending, Pending::Commit);
            if !commits && !matches!(waits.pending, Pending::Publishes) {
                continue;
            }
            if channel.last_batch <= upto {
                if commits {
                    self.committed(number, broker);
                }
                self.resume(number, broker);
                resumed = true;
            } else {
                self.behind_publishes.push(number);
            }
        }
        resumed
    }

    fn confirm(&mut self, completed: &Completed) {
        for mark in &completed.marks {
            let channel = self.channels.get_mut(usize::from(mark.channel)).and_then(Option::as_mut);
            let Some(channel) = channel else { continue };
            if channel.incarnation != mark.incarnation {
                continue;
            }
            if let Some(tx) = &mut channel.tx {
                tx.failed |= completed.failed;
            }
            let Some(confirm) = &mut channel.confirm else { continue };
            if completed.failed {
                let (told, due) = (confirm.told, confirm.due);
                confirm.told = confirm.told.max(mark.upto);
                confirm.due = confirm.told;
                self.confirm_range(mark.channel, told, due);
                if mark.upto > due {
                    let multiple = mark.upto - due > 1;
                    self.reply(mark.channel, BasicNack { delivery_tag: mark.upto, multiple, requeue: false });
                }
            } else if mark.upto > confirm.due {
                if confirm.due == confirm.told {
                    self.confirms_due.push(mark.channel);
                }
                confirm.due = mark.upto;
            }
        }
    }

    fn send_confirms(&mut self) {
        for at in 0..self.confirms_due.len() {
            let number = self.confirms_due[at];
            let Some(channel) = self.channel_mut(number) else { continue };
            let Some(confirm) = &mut channel.confirm else { continue };
            let (told, due) = (confirm.told, confirm.due);
            confirm.told = due;
            self.confirm_range(number, told, due);
        }
        self.confirms_due.clear();
    }

    /// Confirms the publishes behind `told` up to `due` with one frame.
    fn confirm_range(&mut self, number: u16, told: u64, due: u64) {
        if due > told {
            self.reply(number, BasicAck { delivery_tag: due, multiple: due - told > 1 });
        }
    }
}

/// What queues remember of it is in the log, so it has to be there, too.
#[inline]
fn must_be_logged(extras: Option<&Extras>) -> bool {
    extras.is_some_and(Extras::must_be_logged)
}

/// The channel takes part in the open batch, and its sequence numbers go on.
#[inline]
fn note_publish(channels: &mut [Option<Box<Channel>>], publisher: &mut Publisher, number: u16) {
    let Some(Some(channel)) = channels.get_mut(usize::from(number)) else { return };
    if channel.last_batch != publisher.open_number() {
        channel.last_batch = publisher.open_number();
        publisher.mark(number, channel.incarnation);
    }
    if let Some(confirm) = &mut channel.confirm {
        confirm.published += 1;
    }
}

/// What stands behind a basic.publish.
enum Following<'a> {
    /// Content header and all body frames, one after the other.
    Whole { header: ContentHeader<'a>, pieces: Pieces<'a>, used: usize },
    /// That far it is regular; at least so many octets are needed.
    Incomplete { wanted: u64 },
    /// Left to the general path, which knows the right error, or how to interleave channels.
    Irregular,
}

#[inline]
fn content_in(number: u16, following: &[u8], payload_max: u32) -> Following<'_> {
    let (header, mut used) = match split_frame(following, payload_max) {
        Ok(Some((frame, used))) if frame.kind == FrameKind::Header && frame.channel == number => {
            match ContentHeader::decode(frame.payload) {
                Ok(header) => (header, used),
                Err(_) => return Following::Irregular,
            }
        }
        Ok(None) => {
            let wanted = frame_len(following).unwrap_or(following.len() + 1);
            return Following::Incomplete { wanted: wanted as u64 };
        }
        _ => return Following::Irregular,
    };
    let mut pieces = Pieces::new();
    let mut left = header.body_size;
    while left > 0 {
        match split_frame(&following[used..], payload_max) {
            Ok(Some((frame, consumed))) if frame.kind == FrameKind::Body && frame.channel == number => {
                let Some(rest) = left.checked_sub(frame.payload.len() as u64) else {
                    return Following::Irregular;
                };
                left = rest;
                used += consumed;
                pieces.push(frame.payload);
            }
            Ok(None) => {
                let wanted = left.saturating_add((used + FRAME_OVERHEAD) as u64);
                return Following::Incomplete { wanted };
            }
            _ => return Following::Irregular,
        }
    }
    Following::Whole { header, pieces, used }
}

fn unexpected(explanation: &str) -> Refusal {
    Refusal::new(ReplyCode::UnexpectedFrame, explanation)
}

/// Says no where a route's verdict is one.
#[inline]
fn refuse_verdict(verdict: Verdict, vhost: &str, user: &str, message: &Message<'_>) -> Step {
    if verdict == Verdict::Allowed { Ok(()) } else { refused_verdict(verdict, vhost, user, message) }
}

#[cold]
fn refused_verdict(verdict: Verdict, vhost: &str, user: &str, message: &Message<'_>) -> Step {
    let exchange = &String::from_utf8_lossy(message.exchange);
    Err(match verdict {
        Verdict::Allowed => return Ok(()),
        Verdict::NoExchange => Refusal::not_found("exchange", vhost, exchange),
        Verdict::Internal => Refusal::new(
            ReplyCode::AccessRefused,
            format!("cannot publish to internal exchange '{exchange}' in vhost '{vhost}'"),
        ),
        Verdict::NoPermission => {
            let shown = if exchange.is_empty() { DEFAULT_EXCHANGE } else { exchange };
            Access::Write.refusal(Resource::exchange(vhost, shown), user).into()
        }
        Verdict::NoTopicPermission => {
            let key = String::from_utf8_lossy(message.routing_key);
            Access::Write.topic_refusal(vhost, exchange, &key, user).into()
        }
    })
}

/// Adds routing keys that receivers are not to see.
const BCC: &str = "BCC";

/// The keys that the headers CC and BCC add (RabbitMQ's sender-selected distribution).
#[cold]
fn copy_keys_of(headers: TableRef<'_>) -> Step<Pieces<'_>> {
    let mut keys = Pieces::new();
    for name in ["CC", BCC] {
        let Some(value) = headers.get(name) else { continue };
        let Value::Array(values) = value else {
            return Err(invalid_copies(name, value));
        };
        // Elements of another type are passed over, as in RabbitMQ.
        for value in values.iter() {
            if let Value::LongStr(key) = value {
                keys.push(key);
            }
        }
    }
    Ok(keys)
}

/// RabbitMQ's words.
fn invalid_copies(name: &str, value: Value<'_>) -> Refusal {
    let kind = type_name(&to_value(value));
    Refusal::precondition(format!("invalid message: {{unacceptable_type_in_header,\"{name}\",{kind}}}"))
}

/// The headers without BCC. `told_delay`: an exchange of type `x-delayed-message` has read that delay, and shows so by
/// its negative, as RabbitMQ's plugin does: who publishes the message again does not delay it again.
#[cold]
fn headers_to_keep(headers: &FieldTable, told_delay: Option<u64>) -> FieldTable {
    let mut kept = FieldTable::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != BCC.as_bytes()) {
        let value =
            match told_delay.filter(|_| name == DELAY.as_bytes()).map(|ms| -(ms.min(i64::MAX as u64) as i64))
            {
                None => value.clone(),
                Some(negative) => i32::try_from(negative).map_or(FieldValue::I64(negative), FieldValue::I32),
            };
        kept.push_bytes(name, value);
    }
    kept
}

const _: () = assert!(BASIC_CLASS == (BasicPublish::ID >> 16) as u16);
