//! After the attacks: everything that was promised must come out now.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bowline_client::Result;
use bowline_client::amqp::Connection;
use indicatif::ProgressBar;

use crate::payload;
use crate::world::{World, Wrong};
use crate::{amqp_work, kafka_work};

/// Queues count as empty when nothing has come for so long and the broker says so too.
const QUIET: Duration = Duration::from_secs(2);
/// Messages of a client that vanished come back when its heartbeats were missed, at the latest.
const QUEUE_STALL: Duration = Duration::from_secs(30);
/// A group may have to wait for the session of a vanished member first.
const GROUP_STALL: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// A question is asked again for so long before the broker counts as unable to answer.
const ASK_MAX: Duration = Duration::from_secs(60);

/// Waits until the consumers have emptied the queues.
pub fn queues(
    world: &World,
    queues: &[String],
    progress: &ProgressBar,
    look_after: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (mut last, mut last_change) = (world.deliveries.load(Ordering::Relaxed), Instant::now());
    loop {
        thread::sleep(POLL);
        look_after()?;
        let deliveries = world.deliveries.load(Ordering::Relaxed);
        if deliveries != last {
            (last, last_change) = (deliveries, Instant::now());
            continue;
        }
        if last_change.elapsed() < QUIET {
            continue;
        }
        let waiting = retry(|| amqp_work::waiting(world, queues))?;
        progress.set_message(format!("draining queues: {waiting} left"));
        if waiting == 0 || last_change.elapsed() > QUEUE_STALL {
            return Ok(());
        }
    }
}

/// After the consumers have gone: what they did not get is fetched message by message.
pub fn leftovers(world: &World, queues: &[String]) -> Result<()> {
    let mut connection = retry(|| Connection::open(&world.amqp_options("leftovers")))?;
    let channel = connection.open_channel()?;
    for queue in queues {
        let mut left = 0_u64;
        while let Some(got) = connection.get(channel, queue, false)? {
            left += 1;
            match payload::read(world.run, &got.body) {
                Ok(id) => {
                    let account =
                        world.producers.get(usize::from(id.producer)).map(|producer| &producer.account);
                    if !account.is_some_and(|account| account.deliver(id.sequence, got.redelivered)) {
                        world.wrong(Wrong::Invented, || format!("{id:?}"));
                    }
                }
                Err(_) => world.wrong(Wrong::Corrupt, || format!("left in {queue}")),
            }
            connection.ack(channel, got.delivery_tag, false);
        }
        if left > 0 {
            world.note(format!("{left} messages were left in {queue} when its consumers had nothing to do"));
        }
    }
    connection.close()
}

/// Waits until the group has read everything; gives the ends of the partitions.
pub fn group(
    world: &World,
    progress: &ProgressBar,
    look_after: &mut dyn FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<(i32, i64)>> {
    let ends = retry(|| kafka_work::ends(world, &world.config.topic))?;
    let (mut last, mut last_change) = (u64::MAX, Instant::now());
    loop {
        let missing: u64 = ends
            .iter()
            .filter_map(|(partition, end)| {
                let log = world.topic_log.get(*partition as usize)?;
                Some(log.lock().group_misses_and_repeats((*end).max(0) as usize).0)
            })
            .sum();
        if missing != last {
            (last, last_change) = (missing, Instant::now());
        }
        progress.set_message(format!("draining the topic: {missing} records to read"));
        if missing == 0 || last_change.elapsed() > GROUP_STALL {
            return Ok(ends);
        }
        thread::sleep(POLL);
        look_after()?;
    }
}

/// Compares the logs from end to end.
pub fn logs(world: &World, topic: bool, stream: bool) -> Result<()> {
    if topic {
        let logs: Vec<_> = world.topic_log.iter().collect();
        kafka_work::final_read(world, &world.config.topic, &logs)?;
    }
    if stream {
        kafka_work::final_read(world, &world.config.stream, &[&world.stream_log])?;
    }
    Ok(())
}

/// Asks again while the broker is only just starting.
pub fn retry<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if start.elapsed() > ASK_MAX => return Err(error),
            Err(_) => thread::sleep(POLL),
        }
    }
}
