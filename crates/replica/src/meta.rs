//! The meta shard joined to its replication, and its thread.
//!
//! A command is logged, applied to the topology, and then carried to the data shards it concerns
//! ([`Provision`]); the session hears of it when they are ready. Deleting a queue goes the other way round: its data
//! shard checks and drops first, so that if-unused and if-empty are decided where messages and consumers are.
//!
//! What waits for a data shard is volatile: after a crash the client got no answer, and `Reconcile` makes the data
//! shards follow whatever was logged.

use crate::data::IN_FLIGHT_MAX;
use crate::dead_records;
use crate::link::{Internal, Message, Shared};
use crate::snapshot::ShardSnapshot;
use crate::thread::{Sessions, now, sleep};
use bowline_model::event::{DropRefused, Event, MetaEvent, QueueInfo, Revoked};
use bowline_model::meta::{Command, ConfigKind, MetaRequest, Outcome, Reason, Rejection};
use bowline_model::record::{self, Kind};
use bowline_model::request::{PartitionSpec, Provision, QueueSpec};
use bowline_model::{
    AlignedBuf, Block, BlockRef, Lsn, Millis, PartitionId, QueueId, SessionId, ShardId, Token, TopicId,
};
use bowline_raft::{Entry, Replication, SingleNode};
use bowline_storage::{AppendError, ShardCheckpoint};
use bowline_topology::{Applied, Check, Queue, Topology};
use crossbeam_channel::Sender;
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the log had no room for is tried again after this long, ms.
const RETRY_MS: u64 = 20;

/// The virtual host whose topics Kafka's clients, and so groups, can name.
const TOPICS_VHOST: &str = "/";

/// Who waits for an answer: a session and its token.
type Asker = (SessionId, Token);

/// Applies a committed block of before this start.
pub fn replay(topology: &mut Topology, block: &Block) {
    for command in commands(block) {
        match command {
            Logged::Command(command) => {
                // A refusal was a refusal then, too.
                let _ = topology.apply(block.stamp, &command);
            }
            Logged::NodeStarted => {
                topology.node_started();
            }
        }
    }
}

enum Logged {
    Command(Command),
    NodeStarted,
}

fn commands(block: &Block) -> impl Iterator<Item = Logged> + '_ {
    record::iter(&block.payload).filter_map(|record| {
        let record = record.expect("the block's checksum vouches for its records");
        match record.kind {
            Kind::Meta => Some(Logged::Command(
                postcard::from_bytes(record.body).expect("this build can read the commands it accepted"),
            )),
            Kind::NodeStarted => Some(Logged::NodeStarted),
            _ => None,
        }
    })
}

/// What the meta shard asks of the outside.
#[derive(Default)]
pub struct MetaEffects {
    pub events: Vec<(SessionId, Event)>,
    pub provisions: Vec<(ShardId, Provision)>,
    /// For every session.
    pub revoked: Vec<Revoked>,
}

pub struct MetaShard<R> {
    shared: Arc<Shared>,
    pub replication: R,
    applied: (u64, u64),
    replay_floor: Lsn,
    open: Vec<u8>,
    /// One asker a command in the open block, in order; `None` where nobody waits.
    askers: Vec<Option<Asker>>,
    in_flight: VecDeque<Vec<Option<Asker>>>,
    /// Answered when the data shard has the queue.
    declaring: HashMap<QueueId, Vec<Asker>>,
    /// Answered when the data shard has dropped the queue and the topology has forgotten it.
    dropping: HashMap<QueueId, Dropping>,
    /// Commands that name a queue that is being dropped.
    deferred: Vec<(SessionId, Token, MetaRequest)>,
    creating: HashMap<PartitionId, TopicId>,
    topics: HashMap<TopicId, TopicWait>,
    /// Exchanges that remember: answered when the data shard has the queue that they do it in.
    histories: HashMap<QueueId, Option<Asker>>,
    /// Bindings to exchanges that remember, by ticket: answered when the copies are on their way.
    copying: HashMap<u64, Option<Asker>>,
    next_ticket: u64,
    closed: HashSet<SessionId>,
    /// The log had no room: not before this.
    retry_at: Option<Millis>,
    started: bool,
}

#[derive(Default)]
struct Dropping {
    askers: Vec<Asker>,
    messages: u64,
}

struct TopicWait {
    asker: Option<Asker>,
    partitions: Vec<PartitionId>,
    left: usize,
}

impl<R: Replication> MetaShard<R> {
    pub(crate) fn new(shared: Arc<Shared>, replication: R, applied: (u64, u64)) -> MetaShard<R> {
        MetaShard {
            shared,
            applied,
            replay_floor: replication.position(),
            replication,
            open: Vec::new(),
            askers: Vec::new(),
            in_flight: VecDeque::new(),
            declaring: HashMap::new(),
            dropping: HashMap::new(),
            deferred: Vec::new(),
            creating: HashMap::new(),
            topics: HashMap::new(),
            histories: HashMap::new(),
            copying: HashMap::new(),
            next_ticket: 0,
            closed: HashSet::new(),
            retry_at: None,
            started: false,
        }
    }

    /// A meta shard without a node around it, for the simulation: whoever drives it carries its effects to the
    /// data shards and the sessions.
    pub fn detached(topology: Topology, replication: R, applied: (u64, u64)) -> MetaShard<R> {
        MetaShard::new(Arc::new(Shared::detached(topology)), replication, applied)
    }

    pub fn topology(&self) -> parking_lot::RwLockReadGuard<'_, Topology> {
        self.shared.topology.read()
    }

    /// As [`crate::data::DataShard::begin`].
    ///
    /// # Errors
    /// When the log does not take the block.
    pub fn begin(&mut self, now: Millis) -> Result<(), AppendError> {
        record::put(&mut self.open, Kind::NodeStarted, &[]);
        self.propose(now)
    }

    /// The start's record is applied and the data shards were told what there is.
    pub fn is_started(&self) -> bool {
        self.started
    }

    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.in_flight.is_empty() && self.dropping.is_empty()
    }

    pub fn request(&mut self, session: SessionId, token: Token, request: MetaRequest, fx: &mut MetaEffects) {
        match &request {
            MetaRequest::Propose(command) => {
                if let Command::QueueDeclare(declaration) = command
                    && let Some(queue) = self.queue_id(&declaration.vhost, &declaration.name)
                    && self.dropping.contains_key(&queue)
                {
                    self.deferred.push((session, token, request));
                    return;
                }
                let check = self.shared.topology.read().check(command, session);
                match check {
                    Check::Log => self.log(command, Some((session, token))),
                    Check::Done(applied) => self.carry_out(applied, Some((session, token)), fx),
                    Check::Refuse(rejection) => {
                        fx.events.push((session, Event::Meta { token, result: Err(rejection) }))
                    }
                }
            }
            MetaRequest::QueueDelete { vhost, name, if_unused, if_empty } => {
                self.delete(session, token, vhost, name, (*if_unused, *if_empty), fx);
            }
        }
    }

    /// A connection has gone: its exclusive queues go with it.
    pub fn closed(&mut self, session: SessionId, fx: &mut MetaEffects) {
        let queues = self.shared.topology.read().exclusive_queues_of(session);
        for queue in queues {
            self.drop_queue(queue, None, (false, false), fx);
        }
        if self.has_declarations_under_way() {
            self.closed.insert(session);
        }
    }

    /// Sessions may go before what they declared is there.
    fn has_declarations_under_way(&self) -> bool {
        !(self.in_flight.is_empty() && self.open.is_empty() && self.deferred.is_empty())
    }

    pub fn committed(&mut self, block: &BlockRef, fx: &mut MetaEffects) {
        let mut askers =
            self.in_flight.pop_front().expect("commits come in the order of proposals").into_iter();
        self.replay_floor = block.lsn;
        self.applied = (block.term, block.index);
        self.shared.meta_index.store(block.index, Ordering::Release);
        for logged in commands(block) {
            match logged {
                Logged::NodeStarted => {
                    self.shared.topology.write().node_started();
                    self.reconcile(fx);
                    self.started = true;
                }
                Logged::Command(command) => {
                    let asker = askers.next().flatten();
                    let (result, histories) = {
                        let mut topology = self.shared.topology.write();
                        let result = topology.apply(block.stamp, &command);
                        if result.as_ref().is_ok_and(Applied::changes_topology) {
                            self.shared.topology_version.fetch_add(1, Ordering::AcqRel);
                        }
                        (result, topology.take_histories_gone())
                    };
                    for queue in histories {
                        answer(self.histories.remove(&queue).flatten(), Err(unavailable()), fx);
                        let provision = Provision::DropQueue { queue, if_unused: false, if_empty: false };
                        fx.provisions.push((self.shard_of(queue.0), provision));
                    }
                    match result {
                        // Another declared it meanwhile, and somebody deletes it: as if it had been asked only now.
                        Ok(Applied::ExistingQueue { queue, .. }) if self.dropping.contains_key(&queue) => {
                            if let Some((session, token)) = asker {
                                self.deferred.push((session, token, MetaRequest::Propose(command)));
                            }
                        }
                        Ok(applied) => {
                            if let (Applied::TopicRemoved { .. }, Command::TopicDelete { vhost, name }) =
                                (&applied, &command)
                                && vhost == TOPICS_VHOST
                            {
                                self.forget_topic(name, fx);
                            }
                            self.carry_out(applied, asker, fx);
                        }
                        Err(rejection) => answer(asker, Err(rejection), fx),
                    }
                }
            }
        }
        if !self.has_declarations_under_way() {
            self.closed.clear();
        }
    }

    pub fn provisioned(&mut self, event: MetaEvent, fx: &mut MetaEffects) {
        match event {
            MetaEvent::QueueReady { queue, info } => {
                if let Some(asker) = self.histories.remove(&queue) {
                    answer(asker, Ok(Outcome::Ok), fx);
                }
                let name = self.shared.topology.read().queue_by_id(queue).map(|q| q.declared.name.clone());
                for asker in self.declaring.remove(&queue).unwrap_or_default() {
                    let QueueInfo { ready, consumers, .. } = info;
                    let name = name.clone().unwrap_or_default();
                    answer(Some(asker), Ok(Outcome::Queue { queue, name, ready, consumers }), fx);
                }
            }
            MetaEvent::QueueDropped { queue, result } => self.dropped(queue, result, fx),
            MetaEvent::Expired { queue } | MetaEvent::AutoDelete { queue } => {
                self.drop_queue(queue, None, (true, false), fx)
            }
            MetaEvent::PartitionReady { partition } => self.partition_ready(partition, fx),
            MetaEvent::PartitionDropped { .. } => {}
            MetaEvent::HistoryCopied { ticket } => {
                answer(self.copying.remove(&ticket).flatten(), Ok(Outcome::Ok), fx);
            }
        }
    }

    /// Proposes what has gathered. If the log does not take it, those who asked are told; what nobody asked for has
    /// to be logged later.
    pub fn advance(&mut self, now: Millis, fx: &mut MetaEffects) {
        self.retry_at = self.retry_at.filter(|at| now < *at);
        if self.open.is_empty() || self.in_flight.len() >= IN_FLIGHT_MAX || self.retry_at.is_some() {
            return;
        }
        if let Err(error) = self.propose(now) {
            let open = std::mem::take(&mut self.open);
            tracing::error!(%error, "the log refuses a block of the meta shard");
            let rejection = Rejection { reason: Reason::Unavailable, text: error.to_string() };
            let stopped = matches!(error, AppendError::Fatal(_) | AppendError::NotStarted);
            for (asker, record) in std::mem::take(&mut self.askers).into_iter().zip(record::iter(&open)) {
                match (asker, record) {
                    (None, Ok(record)) if !stopped => {
                        let from = record.offset as usize;
                        self.open.extend_from_slice(&open[from..from + record.len as usize]);
                        self.askers.push(None);
                        self.retry_at = Some(now + RETRY_MS);
                    }
                    (asker, _) => answer(asker, Err(rejection.clone()), fx),
                }
            }
        }
    }

    /// When [`MetaShard::advance`] has to be called even if nothing arrives.
    pub fn next_deadline(&self) -> Option<Millis> {
        self.retry_at
    }

    /// As [`crate::data::DataShard::snapshot`].
    pub fn snapshot(&self) -> ShardSnapshot {
        let (applied_term, applied_index) = self.applied;
        let replay_from =
            if self.in_flight.is_empty() { self.replication.position() } else { self.replay_floor };
        let state = self.shared.topology.read().checkpoint();
        ShardSnapshot {
            checkpoint: ShardCheckpoint {
                shard: ShardId::META,
                applied_term,
                applied_index,
                replay_from,
                state,
            },
            live_segments: BTreeSet::new(),
            live_cold: BTreeSet::new(),
        }
    }

    fn log(&mut self, command: &Command, asker: Option<Asker>) {
        record::put_value(&mut self.open, Kind::Meta, command);
        self.askers.push(asker);
    }

    fn propose(&mut self, now: Millis) -> Result<(), AppendError> {
        let mut buf = AlignedBuf::with_payload_capacity(self.open.len());
        buf.extend_from_slice(&self.open);
        let n_records = record::iter(&self.open).count() as u32;
        let position = self.replication.position();
        self.replication.propose(Entry { stamp: now, n_records, buf })?;
        self.open.clear();
        if self.in_flight.is_empty() {
            // As in a data shard.
            self.replay_floor = position;
        }
        self.in_flight.push_back(std::mem::take(&mut self.askers));
        Ok(())
    }

    fn carry_out(&mut self, applied: Applied, asker: Option<Asker>, fx: &mut MetaEffects) {
        match applied {
            Applied::Unchanged | Applied::Changed => answer(asker, Ok(Outcome::Ok), fx),
            Applied::ProducerId(id) => answer(asker, Ok(Outcome::ProducerId(id)), fx),
            Applied::NewHistory(spec) => {
                self.histories.insert(spec.queue, asker);
                self.provision_queue(spec, None, fx);
            }
            Applied::BoundToHistory { history, shard, destination: to } => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.copying.insert(ticket, asker);
                fx.provisions.push((shard, Provision::CopyHistory { history, to, ticket }));
            }
            Applied::NewQueue(spec) => {
                let orphan =
                    spec.exclusive && asker.is_some_and(|(session, _)| self.closed.contains(&session));
                let queue = spec.queue;
                self.provision_queue(spec, asker, fx);
                if orphan {
                    self.drop_queue(queue, None, (false, false), fx);
                }
            }
            Applied::ExistingQueue { queue, .. } => {
                let spec = self.shared.topology.read().queue_by_id(queue).map(Queue::spec);
                match spec {
                    Some(spec) => {
                        if spec.settings.expires_ms.is_some() {
                            fx.provisions.push((self.shard_of(queue.0), Provision::Touched { queue }));
                        }
                        self.provision_queue(spec, asker, fx);
                    }
                    None => answer(asker, Err(unavailable()), fx),
                }
            }
            Applied::QueueRemoved { queue } => self.forgotten(queue, fx),
            Applied::NewTopic { id, partitions } => {
                let all = partitions.iter().map(|p| p.partition).collect();
                self.provision_partitions(id, partitions, all, asker, fx);
                self.tell_topic(&id, fx);
            }
            Applied::ExistingTopic { id, partitions } => {
                answer(asker, Ok(Outcome::Topic { id, partitions }), fx)
            }
            Applied::PartitionsAdded { id, added } => {
                let all = self.partitions_of(&id);
                self.provision_partitions(id, added, all, asker, fx);
                self.tell_topic(&id, fx);
            }
            Applied::TopicConfigured { id, partitions } => {
                let all = self.partitions_of(&id);
                self.provision_partitions(id, partitions, all, asker, fx);
            }
            Applied::Reconfigured { queues, partitions } => {
                for (queue, shard, settings) in queues {
                    fx.provisions.push((shard, Provision::Settings { queue, settings }));
                }
                for spec in partitions {
                    fx.provisions.push((self.shard_of(spec.partition.0), Provision::Partition(spec)));
                }
                answer(asker, Ok(Outcome::Ok), fx);
            }
            Applied::Configured { kind, name, configs } => {
                if kind == ConfigKind::Group {
                    let configs = vec![(name, configs)];
                    self.tell_all(|| Provision::GroupConfigs(configs.clone()), fx);
                }
                answer(asker, Ok(Outcome::Ok), fx);
            }
            Applied::VhostRemoved { name, queues, partitions } => {
                if &*name == TOPICS_VHOST {
                    self.tell_all(|| Provision::Topics { topics: Vec::new(), all: true }, fx);
                }
                fx.revoked.push(Revoked::Vhost(name));
                for queue in queues {
                    // Nothing waits for it: the topology has forgotten it already.
                    let provision = Provision::DropQueue { queue, if_unused: false, if_empty: false };
                    fx.provisions.push((self.shard_of(queue.0), provision));
                    self.forgotten(queue, fx);
                }
                for partition in partitions {
                    let provision = Provision::DropPartition { partition };
                    fx.provisions.push((self.shard_of(partition.0), provision));
                }
                answer(asker, Ok(Outcome::Ok), fx);
            }
            Applied::UserRemoved { name } => {
                fx.revoked.push(Revoked::User(name));
                answer(asker, Ok(Outcome::Ok), fx);
            }
            Applied::TopicRemoved { partitions, .. } => {
                for partition in partitions {
                    let provision = Provision::DropPartition { partition };
                    fx.provisions.push((self.shard_of(partition.0), provision));
                }
                answer(asker, Ok(Outcome::Ok), fx);
            }
        }
    }

    fn provision_queue(&mut self, spec: QueueSpec, asker: Option<Asker>, fx: &mut MetaEffects) {
        self.declaring.entry(spec.queue).or_default().extend(asker);
        fx.provisions.push((self.shard_of(spec.queue.0), Provision::Queue(spec)));
    }

    fn provision_partitions(
        &mut self,
        id: TopicId,
        specs: Vec<PartitionSpec>,
        partitions: Vec<PartitionId>,
        asker: Option<Asker>,
        fx: &mut MetaEffects,
    ) {
        self.topics.insert(id, TopicWait { asker, partitions, left: specs.len() });
        for spec in specs {
            self.creating.insert(spec.partition, id);
            fx.provisions.push((self.shard_of(spec.partition.0), Provision::Partition(spec)));
        }
    }

    fn partition_ready(&mut self, partition: PartitionId, fx: &mut MetaEffects) {
        let Some(id) = self.creating.remove(&partition) else { return };
        let Some(wait) = self.topics.get_mut(&id) else { return };
        wait.left -= 1;
        if wait.left == 0 {
            let wait = self.topics.remove(&id).expect("it was there just now");
            answer(wait.asker, Ok(Outcome::Topic { id, partitions: wait.partitions }), fx);
        }
    }

    fn delete(
        &mut self,
        session: SessionId,
        token: Token,
        vhost: &str,
        name: &str,
        conditions: (bool, bool),
        fx: &mut MetaEffects,
    ) {
        let asker = Some((session, token));
        let found = {
            let topology = self.shared.topology.read();
            if topology.topic(vhost, name).is_some() {
                Ok(None)
            } else {
                topology.queue_for(vhost, name, session).map(|q| Some(q.id))
            }
        };
        match found {
            // A stream: its conditions do not apply (RabbitMQ ignores them), its messages are not counted.
            Ok(None) => {
                self.log(&Command::TopicDelete { vhost: vhost.to_owned(), name: name.to_owned() }, asker)
            }
            Ok(Some(queue)) => self.drop_queue(queue, asker, conditions, fx),
            // Deleting what is not there succeeds (RabbitMQ since 3.2).
            Err(rejection) if rejection.reason == Reason::NotFound => {
                answer(asker, Ok(Outcome::QueueDeleted { messages: 0 }), fx);
            }
            Err(rejection) => answer(asker, Err(rejection), fx),
        }
    }

    fn drop_queue(
        &mut self,
        queue: QueueId,
        asker: Option<Asker>,
        (if_unused, if_empty): (bool, bool),
        fx: &mut MetaEffects,
    ) {
        if let Some(dropping) = self.dropping.get_mut(&queue) {
            dropping.askers.extend(asker);
            return;
        }
        if self.shared.topology.read().queue_by_id(queue).is_none() {
            return;
        }
        self.dropping.insert(queue, Dropping { askers: asker.into_iter().collect(), messages: 0 });
        fx.provisions.push((self.shard_of(queue.0), Provision::DropQueue { queue, if_unused, if_empty }));
    }

    /// The data shard has dropped the queue or refused to.
    fn dropped(&mut self, queue: QueueId, result: Result<u64, DropRefused>, fx: &mut MetaEffects) {
        let Some(dropping) = self.dropping.get_mut(&queue) else { return };
        match result {
            Ok(messages) => {
                dropping.messages = messages;
                self.log(&Command::QueueRemove { queue }, None);
            }
            Err(refused) => {
                let askers = self.dropping.remove(&queue).map(|d| d.askers).unwrap_or_default();
                let rejection = {
                    let topology = self.shared.topology.read();
                    let Some(queue) = topology.queue_by_id(queue) else { return };
                    let declared = &queue.declared;
                    let (reason, what) = match refused {
                        DropRefused::InUse => (Reason::InUse, "in use"),
                        DropRefused::NotEmpty => (Reason::NotEmpty, "not empty"),
                    };
                    let text = format!("queue '{}' in vhost '{}' {what}", declared.name, declared.vhost);
                    Rejection { reason, text }
                };
                for asker in askers {
                    answer(Some(asker), Err(rejection.clone()), fx);
                }
                self.resume_deferred(fx);
            }
        }
    }

    /// The topology has forgotten the queue.
    fn forgotten(&mut self, queue: QueueId, fx: &mut MetaEffects) {
        for asker in self.declaring.remove(&queue).unwrap_or_default() {
            answer(Some(asker), Err(unavailable()), fx);
        }
        let Some(dropping) = self.dropping.remove(&queue) else { return };
        for asker in dropping.askers {
            answer(Some(asker), Ok(Outcome::QueueDeleted { messages: dropping.messages }), fx);
        }
        self.resume_deferred(fx);
    }

    fn resume_deferred(&mut self, fx: &mut MetaEffects) {
        for (session, token, request) in std::mem::take(&mut self.deferred) {
            self.request(session, token, request, fx);
        }
    }

    fn reconcile(&mut self, fx: &mut MetaEffects) {
        let topology = self.shared.topology.read();
        for shard in (1..=topology.data_shards()).map(ShardId) {
            let (queues, partitions) = topology.specs(shard);
            fx.provisions.push((shard, Provision::Reconcile { queues, partitions }));
        }
        let topics = topology.topic_metas();
        let configured = topology.configured(ConfigKind::Group);
        let configs: Vec<_> = configured.map(|(name, configs)| (name.to_owned(), configs.to_vec())).collect();
        self.tell_all(|| Provision::Topics { topics: topics.clone(), all: true }, fx);
        self.tell_all(|| Provision::GroupConfigs(configs.clone()), fx);
    }

    /// The topic is new, or has grown. Groups live on any shard, wherever its partitions are.
    fn tell_topic(&self, id: &TopicId, fx: &mut MetaEffects) {
        let meta = {
            let topology = self.shared.topology.read();
            topology.topic_by_id(id).filter(|topic| topic.vhost == TOPICS_VHOST).map(|topic| topic.meta())
        };
        if let Some(meta) = meta {
            self.tell_all(|| Provision::Topics { topics: vec![meta.clone()], all: false }, fx);
        }
    }

    fn tell_all(&self, provision: impl Fn() -> Provision, fx: &mut MetaEffects) {
        let shards = (1..self.shared.inboxes.len()).map(|shard| ShardId(shard as u16));
        fx.provisions.extend(shards.map(|shard| (shard, provision())));
    }

    /// Groups live on any shard, wherever the topic's partitions are.
    fn forget_topic(&self, name: &str, fx: &mut MetaEffects) {
        self.tell_all(|| Provision::TopicDeleted { topic: name.to_owned() }, fx);
    }

    fn shard_of(&self, id: u32) -> ShardId {
        ShardId::of(id, (self.shared.inboxes.len() - 1) as u16)
    }

    fn queue_id(&self, vhost: &str, name: &str) -> Option<QueueId> {
        self.shared.topology.read().queue(vhost, name).map(|q| q.id)
    }

    fn partitions_of(&self, id: &TopicId) -> Vec<PartitionId> {
        self.shared.topology.read().topic_by_id(id).map(|t| t.partitions.to_vec()).unwrap_or_default()
    }
}

fn answer(asker: Option<Asker>, result: Result<Outcome, Rejection>, fx: &mut MetaEffects) {
    if let Some((session, token)) = asker {
        fx.events.push((session, Event::Meta { token, result }));
    }
}

fn unavailable() -> Rejection {
    Rejection { reason: Reason::Unavailable, text: "the queue is being deleted".to_owned() }
}

pub(crate) struct MetaThread {
    pub shared: Arc<Shared>,
    pub shard: MetaShard<SingleNode>,
    /// Told once, when the node may serve.
    pub ready: Option<Sender<()>>,
}

impl MetaThread {
    pub fn run(mut self) {
        let shared = self.shared.clone();
        let inbox = &shared.inboxes[0];
        inbox.own();
        let mut sessions = Sessions::default();
        let mut messages = Vec::new();
        let mut fx = MetaEffects::default();
        let mut drained: Option<Sender<()>> = None;
        let mut alarm = None;
        // Dead-letter topics that data shards wait for, by token.
        let mut makings: BTreeMap<u64, (ShardId, String)> = BTreeMap::new();
        let mut next_making = 0;
        loop {
            inbox.take(&mut messages);
            let idle = messages.is_empty();
            for message in messages.drain(..) {
                match message {
                    Message::Open(id, outbox) => {
                        sessions.open(id, outbox);
                        if alarm.is_some() {
                            sessions.post(id, Event::Alarm { reason: alarm });
                        }
                    }
                    Message::Meta(id, requests) => {
                        for (token, request) in requests {
                            self.shard.request(id, token, request, &mut fx);
                        }
                    }
                    Message::Closed(id) => {
                        sessions.close(id);
                        self.shard.closed(id, &mut fx);
                    }
                    Message::Requests(..) => debug_assert!(false, "data requests go to data shards"),
                    Message::Internal(Internal::Committed(block)) => self.shard.committed(&block, &mut fx),
                    Message::Internal(Internal::Meta(event)) => self.shard.provisioned(event, &mut fx),
                    Message::Internal(Internal::Checkpoint(reply)) => {
                        let _ = reply.send(self.shard.snapshot());
                    }
                    Message::Internal(Internal::Compacted(index)) => self.shard.replication.compacted(index),
                    Message::Internal(Internal::Full(full)) => {
                        alarm = full.then_some("low on disk");
                        sessions
                            .ids()
                            .into_iter()
                            .for_each(|id| sessions.post(id, Event::Alarm { reason: alarm }));
                    }
                    Message::Internal(Internal::MakeDeadLetterTopic(shard, name)) => {
                        let command = dead_records::topic_made(&self.shard.topology(), &name);
                        makings.insert(next_making, (shard, name));
                        let (token, request) = (Token(next_making), MetaRequest::Propose(command));
                        self.shard.request(crate::META_SESSION, token, request, &mut fx);
                        next_making += 1;
                    }
                    Message::Internal(Internal::AnnounceShutdown) => {
                        sessions.ids().into_iter().for_each(|id| sessions.post(id, Event::Shutdown));
                    }
                    Message::Internal(Internal::Drain(done)) => drained = Some(done),
                    Message::Internal(Internal::Stop) => return,
                    Message::Internal(
                        Internal::Loaded { .. }
                        | Internal::Provision(_)
                        | Internal::Transfer(_)
                        | Internal::Received(_)
                        | Internal::DeadLetterTopicMade(_)
                        | Internal::TxnStep(_)
                        | Internal::TxnTaken(_)
                        | Internal::Transferred(..)
                        | Internal::Survey(_)
                        | Internal::PlanRelocation(..)
                        | Internal::Relocated(..)
                        | Internal::CompactionDue(_)
                        | Internal::PlanCompaction(..)
                        | Internal::PlanRewriting(..)
                        | Internal::Rewritten(..),
                    ) => debug_assert!(false, "for data shards"),
                }
            }
            self.shard.advance(now(), &mut fx);
            for (session, event) in fx.events.drain(..) {
                match event {
                    Event::Meta { token, .. } if session == crate::META_SESSION => {
                        let Some((shard, name)) = makings.remove(&token.0) else { continue };
                        let made = Internal::DeadLetterTopicMade(name);
                        shared.inboxes[shard.0 as usize].push(Message::Internal(made));
                    }
                    event => sessions.post(session, event),
                }
            }
            for revoked in fx.revoked.drain(..) {
                for id in sessions.ids() {
                    sessions.post(id, Event::Revoked(revoked.clone()));
                }
            }
            for (shard, provision) in fx.provisions.drain(..) {
                shared.inboxes[shard.0 as usize].push(Message::Internal(Internal::Provision(provision)));
            }
            if self.shard.is_started()
                && let Some(ready) = self.ready.take()
            {
                let _ = ready.send(());
            }
            sessions.flush();
            if self.shard.is_idle()
                && let Some(done) = drained.take()
            {
                let _ = done.send(());
            }
            if idle {
                sleep(inbox, self.shard.next_deadline());
            }
        }
    }
}
