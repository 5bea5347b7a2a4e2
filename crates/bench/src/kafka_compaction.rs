//! Waits until a compacted topic is as small as it will be.
//!
//! Brokers do not say when they are through. But it is known what the last records of all keys take of what was
//! written, and DescribeLogDirs tells what a topic takes.

use std::time::Instant;

use anyhow::{Context, bail};
use bowline_client::kafka::codec::messages::DescribeLogDirsRequest;
use bowline_client::kafka::codec::messages::describe_log_dirs_request::DescribableLogDirTopic;
use bowline_client::kafka::{Cluster, Connection};

use crate::args::Settings;
use crate::kafka_load::connect;
use crate::report::{Stage, TopicBytes};
use crate::stage::{self, Plan};

/// Over what the last records take: batches that have become small, records behind the last look.
const SLACK: f64 = 1.1;
/// The segment that is written to, which Kafka spares.
const TAIL_BYTES: u64 = 16 << 20;

pub fn wait(plan: &Plan<'_>) -> anyhow::Result<Stage> {
    let settings = plan.settings;
    let (Some(keys), Some(count)) = (settings.keys, settings.count) else {
        bail!("keys and a count are needed")
    };
    let mut cluster = connect(settings)?;
    let mut connection = leader(&mut cluster, settings)?;
    // Some of it may be compacted by now: each record takes about what it does at the start.
    let before = topic_bytes(&mut connection, settings)?;
    let written = (count * (settings.size as u64 + KEYED_OVERHEAD)) as f64;
    let target = (written * keys as f64 / count as f64 * SLACK) as u64 + TAIL_BYTES;
    let (mut last, mut changed_at) = (before, Instant::now());
    stage::attend(plan, || {
        let after = topic_bytes(&mut connection, settings)?;
        if after != last {
            (last, changed_at) = (after, Instant::now());
        }
        if after > target && changed_at.elapsed() > settings.drain_timeout {
            bail!("not compacted: the topic takes {after} octets, more than {target}, and gets no smaller");
        }
        Ok((TopicBytes { before, after }, after <= target))
    })
}

/// What a record takes beside its value: a key of eight octets, lengths and deltas.
const KEYED_OVERHEAD: u64 = 16;

fn leader(cluster: &mut Cluster, settings: &Settings) -> anyhow::Result<Connection> {
    let topic = cluster.topic(&settings.name, false)?;
    let partition = topic.partitions.first().context("a topic without partitions")?;
    Ok(cluster.connect_to(partition.leader)?)
}

fn topic_bytes(connection: &mut Connection, settings: &Settings) -> anyhow::Result<u64> {
    let request = DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic { topic: settings.name.clone(), partitions: vec![0] }]),
    };
    let response = connection.call(&request)?;
    let topics = response.results.iter().flat_map(|directory| &directory.topics);
    let sizes = topics.filter(|topic| topic.name == settings.name).flat_map(|topic| &topic.partitions);
    Ok(sizes.map(|partition| partition.partition_size.max(0) as u64).sum())
}
