//! Consuming over Kafka: by oneself, or as a member of a group.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use bowline_client::address::KafkaAddress;
use bowline_client::interrupt::Interrupt;
use bowline_client::kafka::{
    Beat, Cluster, ConnectOptions, EARLIEST, FetchLimits, Fetched, Fetcher, GroupOptions, LATEST, Member,
    Position, error_name, for_each_record, is_retriable, list_offsets, wait_any,
};
use serde_json::{Map, Value, json};

use super::output::Output;
use super::{Args, From};
use crate::json::put_bytes;
use crate::pace::Pace;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const TICK: Duration = Duration::from_millis(100);
/// As short as a broker allows, so that the group notices soon when a reader was killed.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const COMMIT_EVERY: Duration = Duration::from_secs(1);

pub fn consume(
    address: &KafkaAddress,
    args: &Args,
    output: &mut Output,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let amqp_only = args.queue.is_some() || args.exchange.is_some() || args.reject || args.auto_ack;
    ensure!(!amqp_only, "queues, exchanges, --reject and --auto-ack are for amqp://; say --topic");
    let Some(topic) = &args.topic else { bail!("from where? --topic NAME") };
    if args.count == Some(0) {
        return Ok(());
    }
    let options = ConnectOptions { timeout: args.timeout, ..ConnectOptions::new(address.clone()) };
    let cluster = Cluster::connect(&options)?;
    let mut reader = Reader {
        args,
        topic,
        cluster,
        member: None,
        fetchers: Vec::new(),
        consumed: Vec::new(),
        uncommitted: false,
        last_commit: Instant::now(),
    };
    let outcome = reader.start().and_then(|()| reader.run(output, interrupt));
    output.flush()?;
    reader.stop(outcome.is_ok());
    outcome
}

struct Reader<'a> {
    args: &'a Args,
    topic: &'a str,
    cluster: Cluster,
    member: Option<Member>,
    fetchers: Vec<Fetcher>,
    /// Behind the last record that was written out, by partition.
    consumed: Vec<Position>,
    uncommitted: bool,
    last_commit: Instant,
}

impl Reader<'_> {
    fn start(&mut self) -> anyhow::Result<()> {
        match &self.args.group {
            Some(group) => {
                let options = GroupOptions {
                    session_timeout: SESSION_TIMEOUT,
                    rebalance_timeout: Duration::from_secs(60),
                    ..GroupOptions::new(group.clone(), vec![self.topic.to_owned()])
                };
                // The topic must exist before it can be shared out.
                self.cluster.topic(self.topic, true)?;
                self.member = Some(Member::new(&mut self.cluster, options)?);
                self.rejoin()
            }
            None => {
                let topic = self.cluster.topic(self.topic, false)?;
                let wanted = |index: i32| self.args.partition.is_none_or(|partition| partition == index);
                let partitions: Vec<i32> = topic
                    .partitions
                    .iter()
                    .map(|partition| partition.index)
                    .filter(|index| wanted(*index))
                    .collect();
                ensure!(!partitions.is_empty(), "topic {} has no such partition", self.topic);
                let unknown = partitions.into_iter().map(|partition| self.position(partition, -1)).collect();
                self.read_from(unknown)
            }
        }
    }

    fn position(&self, partition: i32, offset: i64) -> Position {
        Position { topic: self.topic.to_owned(), partition, offset }
    }

    /// Joins the group (again) and begins where it has committed.
    fn rejoin(&mut self) -> anyhow::Result<()> {
        let Some(member) = &mut self.member else { return Ok(()) };
        self.fetchers.clear();
        member.join(&mut self.cluster)?;
        let committed = member.committed()?;
        self.read_from(committed)
    }

    /// Opens a fetcher for every leader. Offsets of −1 are looked up.
    fn read_from(&mut self, mut positions: Vec<Position>) -> anyhow::Result<()> {
        let topic = self.cluster.topic(self.topic, false)?;
        self.fetchers.clear();
        let leaders: std::collections::BTreeSet<i32> =
            topic.partitions.iter().map(|partition| partition.leader).collect();
        for leader in leaders {
            let leads = |index: i32| {
                topic.partitions.iter().any(|known| known.index == index && known.leader == leader)
            };
            let mut mine: Vec<Position> =
                positions.extract_if(.., |position| leads(position.partition)).collect();
            if mine.is_empty() {
                continue;
            }
            let mut connection = self.cluster.connect_to(leader)?;
            let unknown: Vec<i32> = mine
                .iter()
                .filter(|position| position.offset < 0)
                .map(|position| position.partition)
                .collect();
            if !unknown.is_empty() {
                let found = match self.args.from.unwrap_or(From::Earliest) {
                    From::Earliest => list_offsets(&mut connection, self.topic, &unknown, EARLIEST)?,
                    From::Latest => list_offsets(&mut connection, self.topic, &unknown, LATEST)?,
                    From::Offset(offset) => unknown.iter().map(|partition| (*partition, offset)).collect(),
                };
                for position in &mut mine {
                    if let Some((_, offset)) =
                        found.iter().find(|(partition, _)| *partition == position.partition)
                    {
                        position.offset = *offset;
                    }
                }
            }
            self.fetchers.push(Fetcher::new(connection, FetchLimits::default(), mine));
        }
        self.consumed = self.fetchers.iter().flat_map(|fetcher| fetcher.positions().to_vec()).collect();
        self.uncommitted = false;
        Ok(())
    }

    fn run(&mut self, output: &mut Output, interrupt: &Interrupt) -> anyhow::Result<()> {
        let mut pace = Pace::new(self.args.rate);
        let mut last = Instant::now();
        while !interrupt.is_set() {
            if let Some(member) = &mut self.member
                && member.beat()? == Beat::Rejoin
            {
                self.commit()?;
                self.rejoin()?;
            }
            for fetcher in &mut self.fetchers {
                fetcher.request()?;
            }
            if self.fetchers.is_empty() {
                std::thread::sleep(TICK);
            } else {
                wait_any(&self.fetchers, TICK)?;
            }
            let before = output.received();
            for index in 0..self.fetchers.len() {
                let Some(parts) = self.fetchers[index].receive(Duration::ZERO)? else { continue };
                for part in &parts {
                    self.take_part(index, part, output, &mut pace)?;
                }
            }
            if output.received() > before {
                last = Instant::now();
                output.flush()?;
            }
            if self.args.count.is_some_and(|count| output.received() >= count) {
                return Ok(());
            }
            if self.uncommitted && self.last_commit.elapsed() >= COMMIT_EVERY {
                self.commit()?;
            }
            if self.args.idle_limit().is_some_and(|idle| last.elapsed() >= idle) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        fetcher: usize,
        part: &Fetched,
        output: &mut Output,
        pace: &mut Pace,
    ) -> anyhow::Result<()> {
        match part.error_code {
            0 => {}
            OFFSET_OUT_OF_RANGE => return self.start_over(fetcher, part),
            code if is_retriable(code) => {
                // A leader has moved or is not there yet: look again from where we are.
                std::thread::sleep(TICK);
                let positions = self.consumed.clone();
                return self.read_from(positions);
            }
            code => bail!("partition {}: {}", part.partition, error_name(code)),
        }
        let mut failure = None;
        let mut next = None;
        for_each_record(part, |header, offset, record| {
            let enough = self.args.count.is_some_and(|count| output.received() >= count);
            if enough || failure.is_some() {
                return;
            }
            let wait = pace.take();
            if !wait.is_zero() {
                let _ = output.flush();
                std::thread::sleep(wait);
            }
            let about = || {
                let mut about = Map::new();
                about.insert("topic".into(), json!(part.topic));
                about.insert("partition".into(), json!(part.partition));
                about.insert("offset".into(), json!(offset));
                about.insert("timestamp".into(), json!(header.record_timestamp(record.timestamp_delta)));
                match record.key {
                    Some(key) => put_bytes(&mut about, "key", key),
                    None => drop(about.insert("key".into(), Value::Null)),
                }
                let mut headers = Map::new();
                for header in record.headers.clone() {
                    let name = String::from_utf8_lossy(header.key).into_owned();
                    match header.value {
                        Some(value) => put_bytes(&mut headers, &name, value),
                        None => drop(headers.insert(name, Value::Null)),
                    }
                }
                if !headers.is_empty() {
                    about.insert("headers".into(), Value::Object(headers));
                }
                about
            };
            match output.message(record.value.unwrap_or_default(), about) {
                Ok(()) => next = Some(offset + 1),
                Err(error) => failure = Some(error),
            }
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        if let Some(next) = next {
            self.uncommitted = true;
            for position in &mut self.consumed {
                if position.partition == part.partition {
                    position.offset = next;
                }
            }
        }
        Ok(())
    }

    /// The records that were asked for are no longer there, or not yet.
    fn start_over(&mut self, fetcher: usize, part: &Fetched) -> anyhow::Result<()> {
        let fetcher = &mut self.fetchers[fetcher];
        let to = if self.args.from == Some(From::Latest) { LATEST } else { EARLIEST };
        let found = list_offsets(fetcher.connection(), self.topic, &[part.partition], to)?;
        let Some((_, offset)) = found.first() else { bail!("partition {} has no offsets", part.partition) };
        eprintln!(
            "partition {}: offset {} is out of range, going on at {offset}",
            part.partition, part.offset
        );
        fetcher.seek(self.topic, part.partition, *offset);
        Ok(())
    }

    fn commit(&mut self) -> anyhow::Result<()> {
        self.last_commit = Instant::now();
        if self.args.requeue || !self.uncommitted {
            return Ok(());
        }
        let Some(member) = &mut self.member else { return Ok(()) };
        self.uncommitted = false;
        member.commit(&self.consumed)?;
        Ok(())
    }

    /// Commits if all went well, and leaves the group so that the others need not wait.
    fn stop(&mut self, commit: bool) {
        if commit && let Err(error) = self.commit() {
            eprintln!("the last commit failed: {error:#}");
        }
        if let Some(member) = self.member.take() {
            // The group notices by itself, only later.
            let _ = member.leave();
        }
    }
}
