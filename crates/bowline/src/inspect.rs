//! `bowline inspect`: reads a data directory offline and says what is in it and what is damaged. Writes nothing.

use anyhow::Context;
use bowline_broker::QueueStats;
use bowline_model::record::{self, APPEND_COMPACTED, Append, Kind};
use bowline_storage::inspect::{Summary, verify};
use bowline_storage::{Log, RealDisk};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Reads every segment, block and record, checks every checksum, and lists queues and topics.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 if all is well, 1 if something acknowledged is damaged.

Examples:
  bowline inspect ./bowline-data
  bowline inspect ./bowline-data --blocks          every block with its position, shard, term and index
  bowline inspect ./bowline-data --json")]
pub struct Args {
    /// The data directory. A running broker's may be read, too; its queues are not listed then.
    data_dir: PathBuf,
    /// List every block.
    #[arg(long)]
    blocks: bool,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.data_dir.is_dir(), "{} is not a directory", args.data_dir.display());
    let disk = RealDisk::open_read_only(&args.data_dir);
    let mut kinds: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut blocks = Vec::new();
    let summary = verify(&disk, &mut |found| {
        for record in record::iter(found.payload).flatten() {
            let compacted = record.kind == Kind::Append
                && Append::decode(record.body).is_some_and(|a| a.flags & APPEND_COMPACTED != 0);
            let name = if compacted { "append-compacted" } else { name(record.kind) };
            let kind = kinds.entry(name.to_owned()).or_default();
            kind.0 += 1;
            kind.1 += u64::from(record.len);
        }
        if args.blocks {
            let h = &found.header;
            blocks.push(format!(
                "{} at {}: shard {} term {} index {}, {} B",
                found.path,
                h.lsn.byte_position(),
                h.shard,
                h.term,
                h.index,
                found.payload.len()
            ));
        }
    })?;
    let contents = match summary.format {
        Some(_) => contents(&args.data_dir),
        None => Err("there is nothing here".to_owned()),
    };
    if args.json {
        print_json(&summary, &kinds, &blocks, &contents)?;
    } else {
        print_text(&args, &summary, &kinds, &blocks, &contents);
    }
    Ok(if summary.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Queues and topics as recovery would find them.
struct Contents {
    /// By name.
    queues: Vec<Listed>,
    /// Name, partitions.
    topics: Vec<(String, usize)>,
}

struct Listed {
    name: String,
    durable: bool,
    stats: QueueStats,
}

impl Listed {
    /// How logged messages left the queue, apart from acknowledgements.
    fn losses(&self) -> [(&'static str, u64); 5] {
        let QueueStats { rejected, purged, expired, too_many, failed, .. } = self.stats;
        [
            ("rejected", rejected),
            ("purged", purged),
            ("expired", expired),
            ("too many", too_many),
            ("failed too often", failed),
        ]
    }
}

fn contents(dir: &Path) -> Result<Contents, String> {
    if let Some(pid) = RealDisk::locked_by(dir) {
        return Err(format!("the directory is in use by process {pid}"));
    }
    list(dir).map_err(|error| format!("{error:#}"))
}

fn list(dir: &Path) -> anyhow::Result<Contents> {
    let disk = RealDisk::open(dir)?;
    let (log, recovered) = Log::open(Arc::new(disk), bowline_storage::Options::default())?;
    let shards = log.format().identity.data_shards;
    let defaults = bowline_topology::Defaults::default();
    let states = bowline_replica::recover(recovered, shards, defaults, bowline_broker::Options::new)
        .context("recovery")?;
    let topology = &states.topology;
    let mut queues = Vec::new();
    for stats in states.shards.iter().flat_map(|(_, shard)| shard.queue_stats()) {
        if let Some(queue) = topology.queue_by_id(stats.queue) {
            let declared = &queue.declared;
            let name = match queue.history_of() {
                Some(exchange) => format!("(history of exchange {exchange})"),
                None => declared.name.clone(),
            };
            queues.push(Listed { name, durable: declared.durable, stats });
        }
    }
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    let topics = topology.topics("/").map(|t| (t.name.clone(), t.partitions.len())).collect();
    Ok(Contents { queues, topics })
}

type Kinds = BTreeMap<String, (u64, u64)>;

fn print_text(
    args: &Args,
    summary: &Summary,
    kinds: &Kinds,
    blocks: &[String],
    contents: &Result<Contents, String>,
) {
    println!("{}", args.data_dir.display());
    match &summary.format {
        Some(format) => {
            println!("  format      version {}, {} data shards", format.version, format.identity.data_shards);
        }
        None => println!("  format      none: nothing was stored here yet"),
    }
    for (file, state) in &summary.checkpoints {
        match state {
            Ok(text) => println!("  checkpoint  {file}: {text}"),
            Err(why) => println!("  checkpoint  {file}: not usable ({why})"),
        }
    }
    println!("  files       {}", summary.files.len());
    println!(
        "  blocks      {} with {} records, {} B of payload",
        summary.blocks, summary.records, summary.payload_bytes
    );
    println!("  end         {}", summary.last);
    for (kind, (count, bytes)) in kinds {
        println!("  {kind:<18} {count:>10} records {bytes:>14} B");
    }
    match contents {
        Err(why) => println!("  queues and topics are not listed: {why}"),
        Ok(contents) => {
            for queue in &contents.queues {
                let Listed { name, durable, stats } = queue;
                let kind = if *durable { "durable" } else { "transient" };
                let QueueStats { ready, logged, acked, .. } = stats;
                print!("  queue {name}: {kind}, {ready} ready, {logged} logged, {acked} acknowledged");
                for (what, n) in queue.losses().into_iter().filter(|(_, n)| *n > 0) {
                    print!(", {n} {what}");
                }
                println!();
            }
            for (name, partitions) in &contents.topics {
                println!("  topic {name}: {partitions} partitions");
            }
        }
    }
    blocks.iter().for_each(|block| println!("  {block}"));
    summary.notes.iter().for_each(|note| println!("  note        {note}"));
    if summary.damage.is_empty() {
        println!("  whole       every checksum is right");
    } else {
        summary.damage.iter().for_each(|place| println!("  DAMAGE      {place}"));
    }
}

fn print_json(
    summary: &Summary,
    kinds: &Kinds,
    blocks: &[String],
    contents: &Result<Contents, String>,
) -> anyhow::Result<()> {
    let places = |list: &[bowline_storage::inspect::Place]| {
        list.iter()
            .map(|p| serde_json::json!({ "path": p.path, "position": p.position, "what": p.what }))
            .collect::<Vec<_>>()
    };
    let contents = match contents {
        Err(why) => serde_json::json!({ "not_listed": why }),
        Ok(c) => serde_json::json!({
            "queues": c.queues.iter().map(|queue| {
                let Listed { name, durable, stats } = queue;
                let mut json = serde_json::json!({
                    "name": name, "durable": durable, "ready": stats.ready, "logged": stats.logged,
                    "acknowledged": stats.acked,
                });
                for (what, n) in queue.losses() {
                    json[what.replace(' ', "_")] = n.into();
                }
                json
            }).collect::<Vec<_>>(),
            "topics": c.topics.iter().map(|(name, n)| serde_json::json!({ "name": name, "partitions": n })).collect::<Vec<_>>(),
        }),
    };
    let report = serde_json::json!({
        "format_version": summary.format.as_ref().map(|f| f.version),
        "files": summary.files.len(),
        "blocks": summary.blocks,
        "records": summary.records,
        "payload_bytes": summary.payload_bytes,
        "kinds": kinds.iter().map(|(k, (n, b))| (k.clone(), serde_json::json!({ "records": n, "bytes": b }))).collect::<serde_json::Map<_, _>>(),
        "damage": places(&summary.damage),
        "notes": places(&summary.notes),
        "contents": contents,
        "block_list": blocks,
    });
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Publish => "publish",
        Kind::Append => "append",
        Kind::Settle => "settle",
        Kind::Horizon => "horizon",
        Kind::QueueCreate => "queue-create",
        Kind::QueueDelete => "queue-delete",
        Kind::PartitionCreate => "partition-create",
        Kind::PartitionDelete => "partition-delete",
        Kind::PartitionTrim => "partition-trim",
        Kind::OffsetCommit => "offset-commit",
        Kind::OffsetDelete => "offset-delete",
        Kind::Meta => "meta",
        Kind::NodeStarted => "node-started",
        Kind::Truncate => "truncate",
        Kind::Noop => "noop",
        Kind::QueueSettings => "queue-settings",
        Kind::Failures => "failures",
        Kind::Delays => "delays",
        Kind::Transferred => "transferred",
        Kind::Txn => "txn",
        Kind::TxnAdmit => "txn-admit",
        Kind::TxnOffsets => "txn-offsets",
        Kind::TxnGroups => "txn-groups",
        Kind::ShareCreate => "share-create",
        Kind::ShareDelete => "share-delete",
        Kind::ShareSettle => "share-settle",
        Kind::ShareHorizon => "share-horizon",
        Kind::ShareCounts => "share-counts",
        Kind::Cancel => "cancel",
        Kind::Outbox => "outbox",
        Kind::OutboxDone => "outbox-done",
        Kind::ConsumerGroup => "consumer-group",
    }
}
