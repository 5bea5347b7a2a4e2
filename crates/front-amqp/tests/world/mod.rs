//! A whole broker in one thread: real sessions, the real topology and real data shards over a log that is a list.
//!
//! A [`Client`] says methods and hears frames as text, so a test reads like a conversation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use bowline_broker::{Effects, Shard};
use bowline_codec_amqp::frame::{PROTOCOL_HEADER, encode_body_frames, encode_header_frame};
use bowline_codec_amqp::methods::*;
use bowline_codec_amqp::{
    ContentHeader, EncodeMethod, FieldTable, FrameKind, OwnedProperties, ShortStr, TableRef, split_frame,
};
use bowline_front_amqp::{Broker, Now, Options, Peer, Session};
use bowline_model::event::{DirectReply, Event, MetaEvent};
use bowline_model::extras::Extras;
use bowline_model::meta::{ApplyTo, Command, MetaRequest, Outcome, PermissionSpec, PolicySpec, Table, Value};
use bowline_model::record;
use bowline_model::request::{Provision, Request};
use bowline_model::settings::{Overflow, QueueSettings};
use bowline_model::{Block, Lsn, QueueId, SessionId, ShardId, Token};
use bowline_topology::{Applied, Check, Defaults, Topology};

pub struct World {
    topology: Topology,
    version: u64,
    shards: Vec<Shard>,
    outboxes: BTreeMap<SessionId, Vec<Event>>,
    /// Asked and not yet taken up: data shards, then the meta shard.
    requests: Vec<(ShardId, SessionId, Request)>,
    questions: Vec<(SessionId, Token, MetaRequest)>,
    declaring: Vec<(QueueId, SessionId, Token)>,
    deleting: Vec<(QueueId, SessionId, Token)>,
    creating: Vec<(SessionId, Token, Outcome)>,
    next_lsn: u32,
    next_session: u64,
    /// Who takes direct replies at which address.
    replies: BTreeMap<u128, SessionId>,
    next_reply_address: u128,
    usage: Arc<bowline_front_amqp::Usage>,
    /// While false, nothing that was proposed becomes durable.
    pub disk_works: bool,
    /// How many records each proposal had.
    proposed: Vec<u32>,
    /// The records of the last one.
    last_proposed: bytes::Bytes,
    pub now: Now,
}

pub type Shared = Rc<RefCell<World>>;

/// One session's line, as `Link` is.
pub struct Line {
    world: Shared,
    id: SessionId,
}

impl Broker for Line {
    fn session_id(&self) -> SessionId {
        self.id
    }

    fn data_shards(&self) -> u16 {
        self.world.borrow().shards.len() as u16
    }

    fn topology_version(&self) -> u64 {
        self.world.borrow().version
    }

    fn read_topology(&self, read: &mut dyn FnMut(&Topology)) {
        read(&self.world.borrow().topology);
    }

    fn usage(&self) -> Arc<bowline_front_amqp::Usage> {
        self.world.borrow().usage.clone()
    }

    fn send(&mut self, shard: ShardId, request: Request) {
        self.world.borrow_mut().requests.push((shard, self.id, request));
    }

    fn ask_meta(&mut self, token: Token, request: MetaRequest) {
        self.world.borrow_mut().questions.push((self.id, token, request));
    }

    fn open_replies(&mut self) -> u128 {
        let mut world = self.world.borrow_mut();
        let address = world.next_reply_address;
        world.next_reply_address += 1;
        world.replies.insert(address, self.id);
        address
    }

    fn close_replies(&mut self, address: u128) {
        self.world.borrow_mut().replies.remove(&address);
    }

    fn takes_replies(&self, address: u128) -> bool {
        self.world.borrow().replies.contains_key(&address)
    }

    fn send_reply(&mut self, reply: Box<DirectReply>) -> bool {
        let mut world = self.world.borrow_mut();
        let Some(session) = world.replies.get(&reply.to).copied() else { return false };
        world.tell(session, Event::Reply(reply));
        true
    }
}

impl World {
    pub fn new(data_shards: u16) -> Shared {
        let shard = |at| Shard::new(bowline_broker::Options::new(ShardId(at + 1)));
        let mut world = World {
            topology: Topology::new(data_shards, Defaults::default()),
            version: 1,
            shards: (0..data_shards).map(shard).collect(),
            outboxes: BTreeMap::new(),
            requests: Vec::new(),
            questions: Vec::new(),
            declaring: Vec::new(),
            deleting: Vec::new(),
            creating: Vec::new(),
            next_lsn: 4096,
            next_session: 1,
            replies: BTreeMap::new(),
            next_reply_address: 1,
            usage: Arc::default(),
            disk_works: true,
            proposed: Vec::new(),
            last_proposed: bytes::Bytes::new(),
            now: Now { elapsed_ms: 0, unix_ms: 1_700_000_000_000 },
        };
        world.provision_all(|_| Provision::Reconcile { queues: Vec::new(), partitions: Vec::new() });
        Rc::new(RefCell::new(world))
    }

    pub fn alarm(&mut self, reason: Option<&'static str>) {
        self.announce(|| Event::Alarm { reason });
    }

    /// So much time passes, ms, and shards do what is due.
    pub fn pass(&mut self, ms: u64) {
        self.now.elapsed_ms += ms;
        self.now.unix_ms += ms;
        for at in 0..self.shards.len() {
            let mut fx = Effects::default();
            self.shards[at].tick(self.now.unix_ms, &mut fx);
            self.perform(fx);
        }
        while self.turn() {}
    }

    /// Tells every session.
    pub fn announce(&mut self, event: impl Fn() -> Event) {
        for events in self.outboxes.values_mut() {
            events.push(event());
        }
    }

    /// Changes the topology as a management tool would. The world carries out nothing of it.
    pub fn apply(&mut self, command: &Command) {
        self.version += 1;
        self.topology.apply(self.now.unix_ms, command).expect("tests know what they do");
    }

    /// A user of the node's configuration.
    pub fn configure_user(&mut self, name: &str, password: &str) {
        let hash = bowline_topology::password::sha256([0; 4], password.as_bytes());
        self.topology.set_configured_users([(name.to_string(), hash)].into_iter().collect());
        self.version += 1;
    }

    /// Gives a user all permissions in a vhost.
    pub fn let_in(&mut self, user: &str, vhost: &str) {
        let all = || ".*".to_string();
        self.apply(&Command::PermissionPut(PermissionSpec {
            user: user.to_string(),
            vhost: vhost.to_string(),
            configure: all(),
            write: all(),
            read: all(),
        }));
    }

    /// Makes a queue enforce this, as a policy would.
    pub fn configure_queue(&mut self, name: &str, settings: QueueSettings) {
        let policy = definition(&settings);
        self.apply(&Command::PolicyPut(PolicySpec {
            vhost: "/".to_string(),
            name: name.to_string(),
            operator: false,
            pattern: format!("^{name}$"),
            apply_to: ApplyTo::Queues,
            priority: 1,
            definition: policy,
        }));
        let queue = self.topology.queue("/", name).expect("it is declared");
        let (queue, shard, settings) = (queue.id, queue.shard, queue.settings.clone());
        self.provision(shard, Provision::Settings { queue, settings });
        while self.turn() {}
    }

    /// What the messages of the last proposal carried.
    pub fn published(&self) -> Vec<Extras> {
        let records = record::iter(&self.last_proposed).map(|record| record.unwrap());
        records.map(|record| record::Publish::decode(record.body).unwrap().extras).collect()
    }

    /// How many records each request to log something had, so far.
    pub fn proposed_counts(&self) -> Vec<u32> {
        self.proposed.clone()
    }

    fn provision_all(&mut self, provision: impl Fn(ShardId) -> Provision) {
        for at in 0..self.shards.len() {
            let shard = ShardId(at as u16 + 1);
            self.provision(shard, provision(shard));
        }
    }

    fn provision(&mut self, shard: ShardId, provision: Provision) {
        self.requests.push((shard, SessionId(0), Request::Provision(provision)));
    }

    /// Lets shards work until nothing moves. True if anything did.
    fn turn(&mut self) -> bool {
        let mut moved = false;
        for (session, token, question) in std::mem::take(&mut self.questions) {
            moved = true;
            self.meta(session, token, question);
        }
        for (shard, session, request) in std::mem::take(&mut self.requests) {
            moved = true;
            if let Request::Propose(propose) = &request {
                self.proposed.push(propose.count);
                self.last_proposed = propose.records.clone();
            }
            let mut fx = Effects::default();
            let now = self.now.unix_ms;
            self.shards[usize::from(shard.0) - 1].handle(now, session, request, &mut fx);
            self.perform(fx);
        }
        for at in 0..self.shards.len() {
            let mut fx = Effects::default();
            if self.disk_works
                && let Some(proposal) = self.shards[at].seal(self.now.unix_ms)
            {
                moved = true;
                let index = u64::from(self.next_lsn);
                let block = Block {
                    lsn: Lsn::new(1, self.next_lsn),
                    shard: ShardId(at as u16 + 1),
                    term: 1,
                    index,
                    stamp: self.now.unix_ms,
                    payload: bytes::Bytes::copy_from_slice(proposal.buf.payload()),
                };
                self.next_lsn += 4096;
                self.shards[at].apply(&Arc::new(block), proposal.waiters, &mut fx);
            }
            self.shards[at].dispatch(self.now.unix_ms, &mut fx);
            moved |= !fx.is_empty();
            self.perform(fx);
        }
        moved
    }

    fn perform(&mut self, fx: Effects) {
        for (session, event) in fx.events {
            if let Some(outbox) = self.outboxes.get_mut(&session) {
                outbox.push(event);
            }
        }
        for event in fx.meta {
            self.provisioned(event);
        }
        assert!(fx.reads.is_empty(), "everything fits the cache");
        for (to, transfer) in fx.transfers {
            self.shards[usize::from(to.0) - 1].receive(self.now.unix_ms, transfer);
        }
        for receipt in fx.received {
            let mut fx = Effects::default();
            self.shards[usize::from(receipt.shard.0) - 1].arrived(receipt.ticket, &mut fx);
            self.perform(fx);
        }
    }

    fn tell(&mut self, session: SessionId, event: Event) {
        if let Some(outbox) = self.outboxes.get_mut(&session) {
            outbox.push(event);
        }
    }

    fn meta(&mut self, session: SessionId, token: Token, request: MetaRequest) {
        let command = match request {
            MetaRequest::Propose(command) => command,
            MetaRequest::QueueDelete { vhost, name, if_unused, if_empty } => {
                let queue = self.topology.queue(&vhost, &name).map(|queue| (queue.id, queue.shard));
                let Some((queue, shard)) = queue else {
                    let result = Ok(Outcome::QueueDeleted { messages: 0 });
                    return self.tell(session, Event::Meta { token, result });
                };
                self.deleting.push((queue, session, token));
                return self.provision(shard, Provision::DropQueue { queue, if_unused, if_empty });
            }
        };
        let applied = match self.topology.check(&command, session) {
            Check::Refuse(rejection) => {
                return self.tell(session, Event::Meta { token, result: Err(rejection) });
            }
            Check::Done(applied) => applied,
            Check::Log => {
                self.version += 1;
                self.topology.apply(self.now.unix_ms, &command).expect("it was checked")
            }
        };
        self.carry_out(session, token, applied);
    }

    fn carry_out(&mut self, session: SessionId, token: Token, applied: Applied) {
        let outcome = match applied {
            Applied::NewQueue(spec) => {
                self.declaring.push((spec.queue, session, token));
                let shard = ShardId::of(spec.queue.0, self.shards.len() as u16);
                return self.provision(shard, Provision::Queue(spec));
            }
            Applied::ExistingQueue { queue, shard, .. } => {
                self.declaring.push((queue, session, token));
                let declared = self.topology.specs(shard).0;
                let spec = declared.into_iter().find(|spec| spec.queue == queue).expect("it exists");
                return self.provision(shard, Provision::Queue(spec));
            }
            Applied::NewTopic { id, partitions } => {
                let outcome =
                    Outcome::Topic { id, partitions: partitions.iter().map(|spec| spec.partition).collect() };
                self.creating.push((session, token, outcome));
                for spec in partitions {
                    let shard = ShardId::of(spec.partition.0, self.shards.len() as u16);
                    self.provision(shard, Provision::Partition(spec));
                }
                return;
            }
            Applied::ExistingTopic { id, partitions } => Outcome::Topic { id, partitions },
            Applied::TopicRemoved { partitions, .. } => {
                for partition in partitions {
                    let shard = ShardId::of(partition.0, self.shards.len() as u16);
                    self.provision(shard, Provision::DropPartition { partition });
                }
                Outcome::Ok
            }
            _ => Outcome::Ok,
        };
        self.tell(session, Event::Meta { token, result: Ok(outcome) });
    }

    fn provisioned(&mut self, event: MetaEvent) {
        match event {
            MetaEvent::HistoryCopied { .. } => {}
            MetaEvent::QueueReady { queue, info } => {
                let Some(at) = self.declaring.iter().position(|(declared, ..)| *declared == queue) else {
                    return;
                };
                let (_, session, token) = self.declaring.remove(at);
                let name = self.topology.queue_by_id(queue).map(|queue| queue.declared.name.clone());
                let result = Ok(Outcome::Queue {
                    queue,
                    name: name.unwrap_or_default(),
                    ready: info.ready,
                    consumers: info.consumers,
                });
                self.tell(session, Event::Meta { token, result });
            }
            MetaEvent::QueueDropped { queue, result } => {
                let asker = self.deleting.iter().position(|(deleted, ..)| *deleted == queue);
                let asker = asker.map(|at| self.deleting.remove(at));
                let result = match result {
                    Ok(messages) => {
                        self.version += 1;
                        let command = Command::QueueRemove { queue };
                        self.topology.apply(self.now.unix_ms, &command).expect("it exists");
                        Ok(Outcome::QueueDeleted { messages })
                    }
                    Err(refused) => Err(bowline_topology::Rejection {
                        reason: bowline_topology::Reason::InUse,
                        text: format!("{refused:?}"),
                    }),
                };
                if let Some((_, session, token)) = asker {
                    self.tell(session, Event::Meta { token, result });
                }
            }
            MetaEvent::Expired { queue } | MetaEvent::AutoDelete { queue } => {
                let shard = ShardId::of(queue.0, self.shards.len() as u16);
                self.provision(shard, Provision::DropQueue { queue, if_unused: true, if_empty: false });
            }
            MetaEvent::PartitionReady { .. } => {
                if let Some((session, token, outcome)) = self.creating.pop() {
                    self.tell(session, Event::Meta { token, result: Ok(outcome) });
                }
            }
            MetaEvent::PartitionDropped { .. } => {}
        }
    }
}

pub struct Client {
    pub session: Session,
    pub line: Line,
    world: Shared,
    /// Octets to the broker, not yet sent.
    pub pending: Vec<u8>,
    /// Octets sent that the session has not used.
    unread: Vec<u8>,
    /// Octets from the broker.
    received: Vec<u8>,
    /// How many octets a read brings. 0: all.
    pub chunk: usize,
    pub frame_max: u32,
    pub vhost: &'static str,
}

impl Client {
    /// A client that has said nothing yet.
    pub fn new(world: &Shared) -> Client {
        Client::with(world, Options::default(), true)
    }

    pub fn with(world: &Shared, options: Options, is_loopback: bool) -> Client {
        let mut inner = world.borrow_mut();
        let id = SessionId(inner.next_session);
        inner.next_session += 1;
        inner.outboxes.insert(id, Vec::new());
        let peer = Peer { address: "test".to_string(), is_loopback, certified: None };
        let session = Session::new(Arc::new(options), peer, inner.shards.len() as u16, [id.0, 99], inner.now);
        drop(inner);
        Client {
            session,
            line: Line { world: world.clone(), id },
            world: world.clone(),
            pending: Vec::new(),
            unread: Vec::new(),
            received: Vec::new(),
            chunk: 0,
            frame_max: 131_072,
            vhost: "/",
        }
    }

    /// A client whose connection is open and that has channel 1.
    pub fn open(world: &Shared) -> Client {
        let mut client = Client::new(world);
        client.handshake("guest", "guest");
        client.say(1, ChannelOpen);
        client.hear();
        client
    }

    pub fn handshake(&mut self, user: &str, password: &str) {
        self.pending.extend_from_slice(&PROTOCOL_HEADER);
        let capabilities = FieldTable::new()
            .with("consumer_cancel_notify", true)
            .with("connection.blocked", true)
            .with("authentication_failure_close", true);
        let properties = FieldTable::new().with("capabilities", capabilities).to_bytes();
        let response = format!("\0{user}\0{password}");
        self.say(
            0,
            ConnectionStartOk {
                client_properties: TableRef::parse(&properties).unwrap(),
                mechanism: s("PLAIN"),
                response: response.as_bytes(),
                locale: s("en_US"),
            },
        );
        self.say(0, ConnectionTuneOk { channel_max: 2047, frame_max: self.frame_max, heartbeat: 0 });
        self.say(0, ConnectionOpen { virtual_host: s(self.vhost) });
        self.run();
    }

    pub fn say(&mut self, channel: u16, method: impl EncodeMethod) {
        method.encode_frame(channel, &mut self.pending);
    }

    pub fn publish(&mut self, channel: u16, exchange: &str, key: &str, body: &[u8]) {
        let properties = OwnedProperties { delivery_mode: Some(2), ..Default::default() };
        self.publish_with(channel, exchange, key, false, &properties, body);
    }

    pub fn publish_with(
        &mut self,
        channel: u16,
        exchange: &str,
        key: &str,
        mandatory: bool,
        properties: &OwnedProperties,
        body: &[u8],
    ) {
        self.say(
            channel,
            BasicPublish { exchange: s(exchange), routing_key: s(key), mandatory, immediate: false },
        );
        encode_header_frame(&mut self.pending, channel, body.len() as u64, &properties.to_bytes());
        encode_body_frames(&mut self.pending, channel, body, self.frame_max);
    }

    /// Sends what was said and lets the world work until it rests.
    pub fn run(&mut self) {
        loop {
            let mut moved = false;
            if self.session.wants_input() && (!self.pending.is_empty() || !self.unread.is_empty()) {
                let n = if self.chunk == 0 { self.pending.len() } else { self.chunk.min(self.pending.len()) };
                self.unread.extend(self.pending.drain(..n));
                let now = self.world.borrow().now;
                let used = self.session.input(&self.unread, now, &mut self.line);
                self.unread.drain(..used);
                moved = n > 0 || used > 0;
            }
            moved |= self.world.borrow_mut().turn();
            moved |= self.take_events();
            moved |= self.take_output();
            if !moved {
                return;
            }
        }
    }

    /// What came since the last time, one line a method.
    pub fn hear(&mut self) -> Vec<String> {
        self.run();
        let mut lines = Vec::new();
        let mut used = 0;
        let mut body_left = 0;
        while let Some((frame, n)) = split_frame(&self.received[used..], self.frame_max).unwrap() {
            used += n;
            assert!(frame.payload.len() + 8 <= self.frame_max as usize, "frame_max is kept");
            match frame.kind {
                FrameKind::Method => {
                    assert_eq!(body_left, 0, "content is complete");
                    let method = Method::decode(frame.payload).unwrap();
                    let text = format!("{method:?}");
                    // "Name(Struct { .. })" or "Name(Struct)": the struct is enough.
                    let inner = &text[text.find('(').unwrap() + 1..text.len() - 1];
                    lines.push(format!("{} {inner}", frame.channel));
                }
                FrameKind::Header => {
                    let header = ContentHeader::decode(frame.payload).unwrap();
                    body_left = header.body_size;
                    let line = lines.last_mut().unwrap();
                    if let Some(headers) = header.properties.headers() {
                        line.push_str(&format!(" {headers:?}"));
                    }
                    line.push_str(" = ");
                }
                FrameKind::Body => {
                    body_left -= frame.payload.len() as u64;
                    lines.last_mut().unwrap().push_str(&String::from_utf8_lossy(frame.payload));
                }
                FrameKind::Heartbeat => lines.push("heartbeat".to_string()),
            }
        }
        assert_eq!(body_left, 0);
        self.received.drain(..used);
        assert!(self.received.is_empty(), "whole frames only");
        lines
    }

    /// What was received, raw.
    pub fn take_raw(&mut self) -> Vec<u8> {
        self.run();
        std::mem::take(&mut self.received)
    }

    pub fn on_time(&mut self) {
        let now = self.world.borrow().now;
        self.session.on_time(now, &mut self.line);
        self.take_output();
    }

    fn take_events(&mut self) -> bool {
        let mut world = self.world.borrow_mut();
        let mut events = std::mem::take(world.outboxes.get_mut(&self.line.id).unwrap());
        let now = world.now;
        drop(world);
        if events.is_empty() {
            return false;
        }
        self.session.events(&mut events, now, &mut self.line);
        true
    }

    fn take_output(&mut self) -> bool {
        let mut moved = false;
        while !self.session.outbox().is_empty() {
            moved = true;
            let mut slices = [std::io::IoSlice::new(&[]); 16];
            let used = self.session.outbox().slices(&mut slices);
            let joined: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            self.received.extend_from_slice(&joined);
            self.session.outbox().advance(joined.len());
            let now = self.world.borrow().now;
            self.session.wrote(now, &mut self.line);
        }
        moved
    }
}

impl Drop for Client {
    /// As dropping a `Link`: the connection is gone.
    fn drop(&mut self) {
        let mut world = self.world.borrow_mut();
        world.outboxes.remove(&self.line.id);
        world.replies.retain(|_, session| *session != self.line.id);
        for at in 0..world.shards.len() {
            world.requests.push((ShardId(at as u16 + 1), self.line.id, Request::CloseSession));
        }
    }
}

/// A policy that amounts to the settings, as far as tests need it.
fn definition(settings: &QueueSettings) -> Table {
    let mut definition = Table::new();
    let mut add = |name: &str, value: Value| definition.push((name.to_string(), value));
    if settings.single_active_consumer {
        add("single-active-consumer", Value::Bool(true));
    }
    if let Some(length) = settings.max_length {
        add("max-length", Value::Int { tag: b'l', value: length.into() });
    }
    if settings.overflow == Overflow::RejectPublish {
        add("overflow", Value::Str(b"reject-publish".to_vec()));
    }
    definition
}

pub fn s(text: &str) -> ShortStr<'_> {
    ShortStr::new(text.as_bytes()).unwrap()
}

pub fn declare<'a>(queue: &'a str, arguments: &'a [u8]) -> QueueDeclare<'a> {
    QueueDeclare {
        queue: s(queue),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: false,
        no_wait: false,
        arguments: TableRef::parse(arguments).unwrap(),
    }
}

pub fn consume<'a>(queue: &'a str, tag: &'a str) -> BasicConsume<'a> {
    BasicConsume {
        queue: s(queue),
        consumer_tag: s(tag),
        no_local: false,
        no_ack: false,
        exclusive: false,
        no_wait: false,
        arguments: TableRef::EMPTY,
    }
}

pub fn get(queue: &str) -> BasicGet<'_> {
    BasicGet { queue: s(queue), no_ack: false }
}

pub fn ack(delivery_tag: u64, multiple: bool) -> BasicAck {
    BasicAck { delivery_tag, multiple }
}

pub fn nack(delivery_tag: u64, multiple: bool, requeue: bool) -> BasicNack {
    BasicNack { delivery_tag, multiple, requeue }
}

pub fn qos(prefetch_count: u16, global: bool) -> BasicQos {
    BasicQos { prefetch_size: 0, prefetch_count, global }
}

/// Properties of a persistent message with these headers.
pub fn headers(headers: FieldTable) -> OwnedProperties {
    OwnedProperties { headers: Some(headers), delivery_mode: Some(2), ..Default::default() }
}

/// Closes what a refusal has left half closed, and opens channel 1 again.
pub fn reopen(client: &mut Client) {
    client.say(1, ChannelCloseOk);
    client.say(1, ChannelOpen);
    client.hear();
}

/// The bodies of deliveries, in order, with `*` where they say redelivered.
pub fn bodies(lines: &[String]) -> Vec<String> {
    let deliveries = lines.iter().filter(|line| line.contains("BasicDeliver") || line.contains("BasicGetOk"));
    deliveries
        .map(|line| {
            let body = line.rsplit(" = ").next().unwrap();
            let flag = if line.contains("redelivered: true") { "*" } else { "" };
            format!("{body}{flag}")
        })
        .collect()
}
