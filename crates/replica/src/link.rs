//! What a front end holds: [`Node`], the running broker, and [`Link`], one session's line to its shards.
//!
//! A session collects what one socket read brought ([`Link::send`]), then hands it over with one
//! [`Link::flush`]: one lock and at most one wake-up a shard, however many messages there were. Answers
//! and deliveries gather in the session's outbox; [`Link::wait`] sleeps until there are some.

use crate::replies::{REPLIES_BYTES_MAX, Replies};
use crate::snapshot::ShardSnapshot;
use crate::usage::Usage;
use bowline_broker::{Candidate, Compacted, Moved, Plan, Relocation, Survey, Transfer, TxnStep};
use bowline_model::event::{DirectReply, Event, MetaEvent};
use bowline_model::meta::MetaRequest;
use bowline_model::request::{Provision, Request};
use bowline_model::{BlockRef, Lsn, PartitionId, QueueId, SessionId, ShardId, Token};
use bowline_topology::scram::ScramUsers;
use bowline_topology::{Topology, password};
use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The running broker, as front ends know it. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// Written by the meta shard only, when it applies a command. Read under a short lock by sessions that
    /// have to route; they keep what they learn and ask again when [`Node::topology_version`] has moved.
    pub topology: RwLock<Topology>,
    pub topology_version: AtomicU64,
    /// Index 0 is the meta shard.
    pub inboxes: Vec<Inbox>,
    pub next_session: AtomicU64,
    pub replies: Replies,
    pub usage: Arc<Usage>,
    pub cluster_id: String,
    /// Index of the last entry of the meta shard's log that was applied.
    pub meta_index: AtomicU64,
    /// Room on the disk as it was seen last (every second): free, and in all; 0 before that.
    pub free_bytes: AtomicU64,
    pub volume_bytes: AtomicU64,
}

impl Shared {
    /// Of no running node: nobody reads the inboxes.
    pub fn detached(topology: Topology) -> Shared {
        Shared {
            inboxes: (0..=topology.data_shards()).map(|_| Inbox::new()).collect(),
            topology: RwLock::new(topology),
            topology_version: AtomicU64::new(1),
            next_session: AtomicU64::new(crate::META_SESSION.0 + 1),
            replies: Replies::default(),
            usage: Arc::default(),
            cluster_id: String::new(),
            meta_index: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            volume_bytes: AtomicU64::new(0),
        }
    }
}

/// A shard's inbox: batches from sessions, completions from the log. Many writers, one reader.
pub(crate) struct Inbox {
    queue: Mutex<Vec<Message>>,
    /// The owner is (about to be) parked and wants an unpark.
    parked: AtomicBool,
    owner: Mutex<Option<std::thread::Thread>>,
}

pub(crate) enum Message {
    Open(SessionId, Arc<Outbox>),
    Requests(SessionId, Vec<Request>),
    Meta(SessionId, Vec<(Token, MetaRequest)>),
    Closed(SessionId),
    /// From the log, the readers, another shard, or the node's control.
    Internal(Internal),
}

/// What is to be rewritten now, how far that goes in each partition, and whether that is its end.
pub(crate) type Piece = (Relocation, Vec<(PartitionId, u64, bool)>);

/// What is not from a session.
pub(crate) enum Internal {
    /// The block that was proposed first of those under way is durable.
    Committed(BlockRef),
    /// Answer to a read.
    Loaded {
        asked: Lsn,
        result: Result<Vec<BlockRef>, ()>,
    },
    /// From the meta shard.
    Provision(Provision),
    /// Messages from a queue of another data shard.
    Transfer(Transfer),
    /// The other shard has what went under this ticket.
    Received(u64),
    /// A step of a transaction that another data shard coordinates.
    TxnStep(TxnStep),
    /// The other shard has what went under this ticket.
    TxnTaken(u64),
    /// What a queue of another shard numbered below does not come again.
    Transferred(QueueId, u64),
    /// To the meta shard.
    Meta(MetaEvent),
    Checkpoint(Sender<ShardSnapshot>),
    /// Everything up to this index is in a checkpoint.
    Compacted(u64),
    /// What each file holds: for the relocator, as are the next two.
    Survey(Sender<Survey>),
    PlanRelocation(BTreeSet<Lsn>, Sender<Relocation>),
    /// Answered with how many runs were taken.
    Relocated(Moved, Sender<usize>),
    /// For the compactor, as are the next three: see the functions of [`bowline_broker::Shard`].
    CompactionDue(Sender<Vec<Candidate>>),
    PlanCompaction(Vec<PartitionId>, u64, Sender<Vec<Plan>>),
    PlanRewriting(Vec<(PartitionId, u64, u64)>, u64, Sender<Piece>),
    Rewritten(Moved, Vec<Compacted>, Sender<BTreeSet<PartitionId>>),
    /// The disk is full, or has room again.
    Full(bool),
    /// To the meta shard: a data shard has a dead record of a share group, and the topic for it is to be made.
    MakeDeadLetterTopic(ShardId, String),
    /// From the meta shard: that topic is there, or cannot be made.
    DeadLetterTopicMade(String),
    /// To the meta shard: tell every session that the node stops.
    AnnounceShutdown,
    /// Finish what is open, then answer.
    Drain(Sender<()>),
    /// End the thread.
    Stop,
}

#[derive(Default)]
pub(crate) struct Outbox {
    events: Mutex<Vec<Event>>,
    notify: Notify,
    /// Bytes of direct replies in `events`.
    reply_bytes: AtomicUsize,
}

impl Outbox {
    /// Makes room for a reply. False if there is none.
    pub fn reserve_replies(&self, bytes: usize) -> bool {
        let reserve = |waiting: usize| Some(waiting + bytes).filter(|sum| *sum <= REPLIES_BYTES_MAX);
        self.reply_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    /// Appends all of `events` (leaving it empty) and wakes the session if it had nothing to do.
    pub fn push_all(&self, events: &mut Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let was_empty = {
            let mut queue = self.events.lock();
            let was_empty = queue.is_empty();
            if was_empty {
                std::mem::swap(&mut *queue, events);
            } else {
                queue.append(events);
            }
            was_empty
        };
        if was_empty {
            self.notify.notify_one();
        }
    }
}

impl Inbox {
    pub fn new() -> Inbox {
        Inbox { queue: Mutex::new(Vec::new()), parked: AtomicBool::new(false), owner: Mutex::new(None) }
    }

    pub fn push(&self, message: Message) {
        self.queue.lock().push(message);
        if self.parked.swap(false, Ordering::SeqCst)
            && let Some(owner) = &*self.owner.lock()
        {
            owner.unpark();
        }
    }

    /// The calling thread is the reader from now on.
    pub fn own(&self) {
        *self.owner.lock() = Some(std::thread::current());
    }

    /// Moves everything into `out` (which must be empty).
    pub fn take(&self, out: &mut Vec<Message>) {
        std::mem::swap(&mut *self.queue.lock(), out);
    }

    /// Sleeps until something is pushed or `timeout` passes. Only the owner may call it.
    pub fn park(&self, timeout: Option<std::time::Duration>) {
        self.parked.store(true, Ordering::SeqCst);
        if self.queue.lock().is_empty() {
            match timeout {
                Some(timeout) => std::thread::park_timeout(timeout),
                None => std::thread::park(),
            }
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

impl Node {
    /// Registers a session with all shards.
    pub fn connect(&self) -> Link {
        let id = SessionId(self.shared.next_session.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::default());
        for inbox in &self.shared.inboxes {
            inbox.push(Message::Open(id, outbox.clone()));
        }
        Link {
            node: self.clone(),
            id,
            outbox,
            batches: (0..self.shared.inboxes.len()).map(|_| Vec::new()).collect(),
            meta: Vec::new(),
            reply_addresses: Vec::new(),
        }
    }

    /// The topology, for reading. Do not hold the guard across an await or any long work.
    pub fn topology(&self) -> RwLockReadGuard<'_, Topology> {
        self.shared.topology.read()
    }

    /// Who may log in on this node besides the users of the topology: names and passwords. `salt` is random.
    pub fn configure_users(&self, users: impl IntoIterator<Item = (String, String)>, salt: [u8; 4]) {
        let hashed =
            users.into_iter().map(|(name, text)| (name, password::sha256(salt, text.as_bytes()))).collect();
        self.shared.topology.write().set_configured_users(hashed);
        self.shared.topology_version.fetch_add(1, Ordering::AcqRel);
    }

    /// The same users' credentials for SCRAM.
    pub fn configure_scram(&self, users: ScramUsers) {
        self.shared.topology.write().set_configured_scram(users);
    }

    /// Nobody may log in as guest, whose password everybody knows.
    pub fn keep_guest_out(&self) {
        self.shared.topology.write().keep_guest_out();
    }

    /// Who uses this node, for limits.
    pub fn usage(&self) -> &Arc<Usage> {
        &self.shared.usage
    }

    /// Moves whenever the topology has changed; what was learnt at another version must be learnt anew.
    pub fn topology_version(&self) -> u64 {
        self.shared.topology_version.load(Ordering::Acquire)
    }

    /// How many data shards there are (≥ 1). See [`ShardId::of`].
    pub fn data_shards(&self) -> u16 {
        (self.shared.inboxes.len() - 1) as u16
    }

    /// How far the meta shard's log is applied: grows with every command, over restarts too.
    pub fn meta_index(&self) -> u64 {
        self.shared.meta_index.load(Ordering::Acquire)
    }

    /// Bytes of the volume with the data directory, and how many of them are free, as seen a second ago.
    /// `None` if the system does not tell.
    pub fn volume(&self) -> Option<(u64, u64)> {
        let total = self.shared.volume_bytes.load(Ordering::Relaxed);
        (total > 0).then(|| (total, self.shared.free_bytes.load(Ordering::Relaxed)))
    }

    /// Stable for the life of the data directory: Kafka's cluster id.
    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }
}

/// One session's line to the shards. Dropping it closes the session everywhere.
pub struct Link {
    node: Node,
    id: SessionId,
    outbox: Arc<Outbox>,
    batches: Vec<Vec<Request>>,
    meta: Vec<(Token, MetaRequest)>,
    reply_addresses: Vec<u128>,
}

impl Link {
    pub fn id(&self) -> SessionId {
        self.id
    }

    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Adds a request for a data shard to the batch. Nothing goes out before [`Link::flush`].
    pub fn send(&mut self, shard: ShardId, request: Request) {
        debug_assert_ne!(shard, ShardId::META);
        self.batches[shard.0 as usize].push(request);
    }

    /// Adds a request for the meta shard to the batch; answered by `Event::Meta`.
    pub fn ask_meta(&mut self, token: Token, request: MetaRequest) {
        self.meta.push((token, request));
    }

    /// A new address at which other sessions reach this one with [`Link::send_reply`], until it is closed or the
    /// link dropped. Nobody can guess it.
    pub fn open_replies(&mut self) -> u128 {
        let address = self.node.shared.replies.open(&self.outbox);
        self.reply_addresses.push(address);
        address
    }

    pub fn close_replies(&mut self, address: u128) {
        self.reply_addresses.retain(|own| *own != address);
        self.node.shared.replies.close(address);
    }

    /// Whether somebody has that address.
    pub fn takes_replies(&self, address: u128) -> bool {
        self.node.shared.replies.is_open(address)
    }

    /// Hands a reply to the session with its address, as `Event::Reply`, at most once: it is dropped if too many
    /// wait there already. False if nobody has the address.
    pub fn send_reply(&self, reply: Box<DirectReply>) -> bool {
        self.node.shared.replies.send(reply)
    }

    /// Hands the batch over.
    pub fn flush(&mut self) {
        if !self.meta.is_empty() {
            self.node.shared.inboxes[0].push(Message::Meta(self.id, std::mem::take(&mut self.meta)));
        }
        for (inbox, batch) in self.node.shared.inboxes.iter().zip(&mut self.batches).skip(1) {
            if !batch.is_empty() {
                inbox.push(Message::Requests(self.id, std::mem::take(batch)));
            }
        }
    }

    /// Waits until there is at least one event. Cancel-safe.
    pub async fn wait(&self) {
        loop {
            if !self.outbox.events.lock().is_empty() {
                return;
            }
            self.outbox.notify.notified().await;
        }
    }

    /// Moves all waiting events into `out` (which must be empty). False if there were none.
    pub fn take(&self, out: &mut Vec<Event>) -> bool {
        debug_assert!(out.is_empty());
        std::mem::swap(&mut *self.outbox.events.lock(), out);
        if self.outbox.reply_bytes.load(Ordering::Relaxed) > 0 {
            // A reply that is just being handed over counts for nothing then, which is bound enough.
            self.outbox.reply_bytes.store(0, Ordering::Relaxed);
        }
        !out.is_empty()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.flush();
        for address in self.reply_addresses.drain(..) {
            self.node.shared.replies.close(address);
        }
        for inbox in &self.node.shared.inboxes {
            inbox.push(Message::Closed(self.id));
        }
    }
}
