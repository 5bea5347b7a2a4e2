//! Starting and stopping a node: opens the log, recovers the shards, starts the threads.

use crate::data::DataShard;
use crate::link::{Inbox, Internal, Message, Node, Shared};
use crate::meta::{MetaShard, MetaThread};
use crate::relocate::Rewriting;
use crate::thread::{DataThread, ReadJob, now};
use crate::{compact, relocate, snapshot};
use bowline_broker::{Effects, Shard};
use bowline_model::record::{self, Kind};
use bowline_model::{Block, BlockRef, ShardId};
use bowline_raft::{SingleNode, Slot};
use bowline_storage::{Fatal, Identity, Log, RealDisk};
use bowline_topology::Topology;
use bowline_topology::config::started;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Threads that read blocks that are not in memory. Two overlap well with a disk's own parallelism.
const READERS: usize = 2;
/// Whether old content is moved to cold files ([`crate::relocate`]).
const RELOCATION: bool = true;

/// What a node needs to know to start.
#[derive(Clone, Debug)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Number of data shards of a new data directory; an existing one keeps its own. `None`: one for every two cores.
    pub shards: Option<u16>,
    /// Memory for recently written blocks, over all shards; half as much again is for blocks read back.
    pub cache_bytes: usize,
    /// Memory for transient messages, over all shards.
    pub transient_bytes: usize,
    pub segment_bytes: u64,
    /// Publishers are refused below this much free space.
    pub disk_reserve_bytes: u64,
    /// Confirm when the operating system has the data rather than the disk.
    pub relaxed_flush: bool,
    /// Go on without damaged acknowledged data (it is set aside and reported).
    pub accept_loss: bool,
    /// Partitions of a topic for which nobody said how many.
    pub num_partitions: u32,
    /// Memory for the keys of compacted topics, while they are compacted: see [`compact::KEYS_BYTES`].
    pub compaction_bytes: usize,
    pub groups: bowline_stream::group::Options,
    /// Settings of the broker by Kafka's names: see [`started`].
    pub started: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Open(#[from] bowline_storage::OpenError),
    #[error("replaying the log: {0}")]
    Replay(#[from] bowline_storage::ReplayError),
    #[error("the checkpoint of shard {shard} cannot be read: {reason}")]
    Checkpoint { shard: ShardId, reason: String },
    #[error("the log does not take the first block: {0}")]
    Begin(#[from] bowline_storage::AppendError),
    #[error("starting a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What recovery found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    pub blocks_replayed: u64,
    pub took: Duration,
    pub fresh: bool,
    /// Acknowledged data that was damaged and is left out, by the operator's leave: where, and why.
    pub losses: Vec<String>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fresh {
            true => f.write_str("new"),
            false => write!(
                f,
                "recovered in {} ms, {} blocks replayed",
                self.took.as_millis(),
                self.blocks_replayed
            ),
        }
    }
}

/// The running node's owner. Sessions use [`Node`].
pub struct Engine {
    shared: Arc<Shared>,
    log: Log,
    shards: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    /// Dropped to end the background threads.
    stop: Option<Sender<()>>,
    reads: Option<Sender<ReadJob>>,
    recovery: Recovery,
}

/// Opens the data directory and starts the node. Returns when it is ready to serve. A failed write or sync later
/// ends the process: it can promise nothing any more.
///
/// # Errors
/// The directory is in use, of another format, or damaged; a thread cannot be started.
pub fn start(options: Options) -> Result<(Node, Engine), StartError> {
    let began = Instant::now();
    let disk = RealDisk::open(&options.data_dir)?;
    let disk = Arc::new(if options.relaxed_flush { disk.relaxed() } else { disk });
    let (log, recovered) = Log::open(disk, storage_options(&options))?;
    let data_shards = log.format().identity.data_shards;
    let defaults = bowline_topology::Defaults {
        partitions: options.num_partitions,
        started: options.started.clone(),
        ..Default::default()
    };
    let States { topology, meta_applied, shards, mut recovery } =
        recover(recovered, data_shards, defaults, |id| shard_options(&options, data_shards, id))?;

    let shared = Arc::new(Shared {
        topology: RwLock::new(topology),
        topology_version: AtomicU64::new(1),
        inboxes: (0..=data_shards).map(|_| Inbox::new()).collect(),
        next_session: AtomicU64::new(crate::META_SESSION.0 + 1),
        replies: crate::replies::Replies::default(),
        usage: Arc::default(),
        cluster_id: cluster_id(&log.format().identity.node),
        meta_index: AtomicU64::new(meta_applied.1),
        free_bytes: AtomicU64::new(0),
        volume_bytes: AtomicU64::new(0),
    });
    let commits = shared.clone();
    let on_complete = move |shard: ShardId, result: Result<_, Fatal>| match result {
        Ok(block) => commits.inboxes[shard.0 as usize].push(Message::Internal(Internal::Committed(block))),
        Err(fatal) => die(&fatal),
    };
    log.start(Arc::new(on_complete))?;

    let (reads, read_jobs) = crossbeam_channel::unbounded();
    let (stop, stopped) = crossbeam_channel::bounded(0);
    let mut engine = Engine {
        shared: shared.clone(),
        log: log.clone(),
        shards: Vec::new(),
        background: Vec::new(),
        stop: Some(stop),
        reads: Some(reads.clone()),
        recovery: Recovery::default(),
    };
    let slot = |shard: ShardId, applied: (u64, u64)| {
        let (term, index) = log.last(shard).unwrap_or(applied).max(applied);
        SingleNode::new(log.clone(), shard, Slot { term, index })
    };
    let owners = shared.inboxes.len();
    let (ready, readies) = crossbeam_channel::bounded(owners);
    let mut meta = MetaShard::new(shared.clone(), slot(ShardId::META, meta_applied), meta_applied);
    meta.begin(now())?;
    for (id, shard) in shards {
        let replication = slot(id, shard.applied());
        let mut shard = DataShard::new(shard, replication);
        shard.begin(now())?;
        let thread = DataThread {
            id,
            shared: shared.clone(),
            shard,
            reads: reads.clone(),
            ready: Some(ready.clone()),
            router: Default::default(),
            unburied: Default::default(),
        };
        engine.shards.push(spawn(format!("shard-{id}"), move || thread.run())?);
    }
    let thread = MetaThread { shared: shared.clone(), shard: meta, ready: Some(ready) };
    engine.shards.push(spawn("meta".to_owned(), move || thread.run())?);
    for n in 0..READERS {
        let (log, shared, jobs) = (log.clone(), shared.clone(), read_jobs.clone());
        engine.background.push(spawn(format!("reader-{n}"), move || read(&log, &shared, &jobs))?);
    }
    let turn = Arc::new(Mutex::new(()));
    if RELOCATION {
        let (shared, log, stop, turn) = (shared.clone(), log.clone(), stopped.clone(), turn.clone());
        let relocate = move || relocate::watch(Rewriting::new(&shared, log, stop, &turn));
        engine.background.push(spawn("relocate".to_owned(), relocate)?);
    }
    let (compacted, compacted_log, stop) = (shared.clone(), log.clone(), stopped.clone());
    let keys_bytes = options.compaction_bytes;
    let rest = Duration::from_millis(started::number(&options.started, started::COMPACTION_REST));
    let compact =
        move || compact::watch(Rewriting::new(&compacted, compacted_log, stop, &turn), keys_bytes, rest);
    engine.background.push(spawn("compact".to_owned(), compact)?);
    let watched = shared.clone();
    engine.background.push(spawn("checkpoint".to_owned(), move || snapshot::watch(watched, log, stopped))?);
    // The meta shard answers when it has told every data shard what there is, a data shard when it has followed and
    // knows that what was delivered before this start was.
    for _ in readies.iter().take(owners) {}
    recovery.took = began.elapsed();
    engine.recovery = recovery;
    Ok((Node { shared }, engine))
}

impl Engine {
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Tells every session that the node is about to stop.
    pub fn announce_shutdown(&self) {
        self.shared.inboxes[0].push(Message::Internal(Internal::AnnounceShutdown));
    }

    /// Finishes what was accepted, writes a checkpoint, and ends all threads.
    ///
    /// # Errors
    /// The final checkpoint could not be written. Nothing is lost: the next start replays more.
    pub fn stop(mut self) -> Result<(), bowline_storage::CheckpointError> {
        let (done, dones) = crossbeam_channel::bounded(self.shared.inboxes.len());
        for inbox in &self.shared.inboxes {
            inbox.push(Message::Internal(Internal::Drain(done.clone())));
        }
        for _ in dones.iter().take(self.shared.inboxes.len()) {}
        self.stop = None;
        let result = snapshot::take(&self.shared, &self.log);
        for inbox in &self.shared.inboxes {
            inbox.push(Message::Internal(Internal::Stop));
        }
        for thread in self.shards.drain(..) {
            let _ = thread.join();
        }
        self.reads = None;
        for thread in self.background.drain(..) {
            let _ = thread.join();
        }
        if let Err(fatal) = self.log.close() {
            die(&fatal);
        }
        result.map(drop)
    }
}

/// The shards as the log has them.
pub struct States {
    pub topology: Topology,
    /// Term and index of the last entry of the meta shard that `topology` contains.
    pub meta_applied: (u64, u64),
    /// Data shards, ascending from 1.
    pub shards: Vec<(ShardId, Shard)>,
    /// Without the time it took.
    pub recovery: Recovery,
}

/// Brings the shards to the end of the log: checkpoint, then replay. For [`start`] and the simulation.
///
/// # Errors
/// The checkpoint is of another version or damaged, or acknowledged data is.
pub fn recover(
    recovered: bowline_storage::Recovered,
    data_shards: u16,
    defaults: bowline_topology::Defaults,
    shard_options: impl Fn(ShardId) -> bowline_broker::Options,
) -> Result<States, StartError> {
    let bowline_storage::Recovered { checkpoint, mut replay } = recovered;
    let fresh = checkpoint.is_none();
    let saved = |shard: ShardId| checkpoint.iter().flat_map(|c| &c.shards).find(|s| s.shard == shard);
    let broken =
        |shard, reason: &dyn fmt::Display| StartError::Checkpoint { shard, reason: reason.to_string() };

    let (mut topology, mut meta_applied) = match saved(ShardId::META) {
        Some(part) => {
            let topology = Topology::restore(&part.state, defaults).map_err(|e| broken(ShardId::META, &e))?;
            (topology, (part.applied_term, part.applied_index))
        }
        None => (Topology::new(data_shards, defaults), (0, 0)),
    };
    let mut shards = Vec::new();
    for id in (1..=data_shards).map(ShardId) {
        let options = shard_options(id);
        let shard = match saved(id) {
            Some(part) => Shard::restore(options, &part.state).map_err(|e| broken(id, &e))?,
            None => Shard::new(options),
        };
        shards.push((id, shard));
    }
    let mut ignored = Effects::default();
    let mut blocks_replayed = 0;
    while let Some(block) = replay.next() {
        let mut block = block?;
        if !replay.report().losses.is_empty() {
            block = without_settles(&block);
        }
        if block.shard == ShardId::META {
            if block.index > meta_applied.1 {
                crate::meta::replay(&mut topology, &block);
                meta_applied = (block.term, block.index);
                blocks_replayed += 1;
            }
        } else if let Some((_, shard)) = shards.get_mut(usize::from(block.shard.0) - 1)
            && block.index > shard.applied().1
        {
            shard.apply(&block, Vec::new(), &mut ignored);
            ignored = Effects::default();
            blocks_replayed += 1;
        }
    }
    let losses = replay.report().losses.iter().map(|loss| {
        let kept = loss.quarantine.as_deref().unwrap_or("nowhere");
        format!("{} from byte {} on: {} (kept in {kept})", loss.path, loss.position, loss.reason)
    });
    let losses = losses.collect();
    let recovery =
        Recovery { blocks_replayed, took: Duration::ZERO, fresh: fresh && blocks_replayed == 0, losses };
    Ok(States { topology, meta_applied, shards, recovery })
}

fn storage_options(options: &Options) -> bowline_storage::Options {
    let cores = std::thread::available_parallelism().map_or(2, |n| n.get());
    let data_shards = options.shards.unwrap_or((cores / 2).clamp(1, 16) as u16);
    let defaults = bowline_storage::Options::default();
    bowline_storage::Options {
        identity: Identity { data_shards, ..defaults.identity },
        segment_bytes: options.segment_bytes as u32,
        free_bytes_min: options.disk_reserve_bytes,
        accept_loss: options.accept_loss,
        ..defaults
    }
}

fn shard_options(options: &Options, data_shards: u16, shard: ShardId) -> bowline_broker::Options {
    let n = usize::from(data_shards);
    bowline_broker::Options {
        cache_bytes: options.cache_bytes / n,
        readahead_bytes: options.cache_bytes / n / 2,
        volatile_bytes: options.transient_bytes / n,
        data_shards,
        stream: bowline_stream::Options { groups: options.groups.clone(), ..Default::default() },
        ..bowline_broker::Options::new(shard)
    }
}

fn read(log: &Log, shared: &Shared, jobs: &Receiver<ReadJob>) {
    for ReadJob { shard, read } in jobs {
        let result =
            log.read_run(read.lsn, read.max_bytes as usize, read.max_blocks as usize).map_err(|error| {
                tracing::error!(%error, "a block cannot be read");
            });
        shared.inboxes[shard.0 as usize]
            .push(Message::Internal(Internal::Loaded { asked: read.lsn, result }));
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || {
        // A shard whose state may be wrong must not confirm anything any more.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            eprintln!("bowline: a bug stopped a thread that the node cannot do without; the node stops");
            std::process::exit(70);
        }
    })
}

/// After a failed write or sync nothing may be confirmed, and the only safe thing is to start over from the disk.
pub(crate) fn die(fatal: &Fatal) -> ! {
    tracing::error!(%fatal, "the log failed; the node stops");
    eprintln!("bowline: {fatal}; the node stops without confirming anything more");
    std::process::exit(74);
}

/// Kafka wants 22 characters of url-safe base64 of 16 bytes.
fn cluster_id(node: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = u128::from_be_bytes(*node);
    let digit = |i: u32| if i < 21 { (value >> (122 - 6 * i)) & 63 } else { (value & 3) << 4 };
    (0..22).map(|i| DIGITS[digit(i) as usize] as char).collect()
}

/// A block behind a loss, with its settles made void. They name messages by number, and behind a loss the numbers
/// of a queue may have moved: what they would remove could be another message. So messages that were settled come
/// back instead, which at-least-once allows.
fn without_settles(block: &BlockRef) -> BlockRef {
    let mut payload = block.payload.to_vec();
    let settles: Vec<usize> = record::iter(&block.payload)
        .map_while(Result::ok)
        .filter(|record| record.kind == Kind::Settle)
        .map(|record| record.offset as usize + record::FRAME_BYTES)
        .collect();
    for kind in settles {
        payload[kind] = Kind::Noop as u8;
    }
    let Block { lsn, shard, term, index, stamp, .. } = **block;
    Arc::new(Block { lsn, shard, term, index, stamp, payload: payload.into() })
}
