//! The verdict: promises against what was seen.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::args::Workload;
use crate::attack::Tally;
use crate::ledger::Stopwatch;
use crate::world::World;

/// Everything that a test has found out.
#[derive(Debug, Serialize)]
pub struct Report {
    pub seed: u64,
    pub seconds: f64,
    /// Every promise was kept.
    pub kept: bool,
    pub workloads: Vec<Verdict>,
    /// Queues that enforce something, by what they do.
    pub rules: Vec<crate::rules::judge::Verdict>,
    /// Kafka transactions.
    pub transactions: Option<crate::transactions::judge::Verdict>,
    /// Broken promises of all workloads, by kind.
    pub wrong: BTreeMap<&'static str, u64>,
    pub attacks: Option<Tally>,
    pub recovery: Vec<Recovery>,
    /// Smallest and largest share of a consumer, relative to an even share of its queue or group.
    pub shares: Vec<Share>,
    /// What was unusual, with the number of times, broken promises included.
    pub notes: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub struct Verdict {
    pub workload: &'static str,
    pub published: u64,
    pub confirmed: u64,
    /// The broker said no.
    pub refused: u64,
    /// No word: the connection ended first.
    pub in_doubt: u64,
    /// Different messages that arrived.
    pub received: u64,
    pub deliveries: u64,
    /// Confirmed and never seen again.
    pub lost: u64,
    /// Came more than once although nobody gave them back. Forbidden in a topic; in a queue allowed when flagged.
    pub duplicated: u64,
    /// Came twice with `redelivered` false.
    pub wrongly_flagged: u64,
    /// Came again after an ack for them was sent: allowed, because a crash may take the last acks with it.
    pub again_after_ack: u64,
    /// Flagged `redelivered` at their first arrival here: allowed, the first delivery may have been lost.
    pub flagged_unseen: u64,
    /// Records that the group has not read, and read more than once (allowed after a crash).
    pub group_missed: u64,
    pub group_repeated: u64,
    pub probability: Probability,
}

/// Measured relative frequencies.
#[derive(Debug, Serialize)]
pub struct Probability {
    /// Of what was confirmed, how much was there in the end.
    pub durable_if_confirmed: Option<f64>,
    /// With nothing lost, the true probability of loss is below this at 95 % confidence (the rule of three).
    pub loss_below_at_95: Option<f64>,
    /// Of everything published, confirmed or not.
    pub delivered: Option<f64>,
    /// Of what arrived.
    pub duplicate: Option<f64>,
}

/// How long the broker was away.
#[derive(Debug, Serialize)]
pub struct Recovery {
    pub what: &'static str,
    pub times: usize,
    pub median_ms: f64,
    pub p90_ms: f64,
    pub max_ms: f64,
}

#[derive(Debug, Serialize)]
pub struct Share {
    pub destination: String,
    pub consumers: usize,
    pub min: f64,
    pub max: f64,
}

impl Verdict {
    /// Judges one workload. `group_end`: records of each partition that the group should have read.
    pub fn of(world: &World, workload: Workload, group_ends: &[(i32, i64)]) -> Verdict {
        let mut verdict = Verdict {
            workload: match workload {
                Workload::Amqp => "amqp",
                Workload::Kafka => "kafka",
                Workload::Stream => "stream",
                Workload::Rules => "rules",
                Workload::Transactions => "transactions",
            },
            published: 0,
            confirmed: 0,
            refused: 0,
            in_doubt: 0,
            received: 0,
            deliveries: 0,
            lost: 0,
            duplicated: 0,
            wrongly_flagged: 0,
            again_after_ack: 0,
            flagged_unseen: 0,
            group_missed: 0,
            group_repeated: 0,
            probability: Probability {
                durable_if_confirmed: None,
                loss_below_at_95: None,
                delivered: None,
                duplicate: None,
            },
        };
        for (index, producer) in
            world.producers.iter().enumerate().filter(|(_, one)| one.workload == workload)
        {
            let mut lost = Vec::new();
            producer.account.for_each(|sequence, entry| {
                let seen = entry.deliveries() > 0;
                verdict.published += 1;
                verdict.confirmed += u64::from(entry.confirmed);
                verdict.refused += u64::from(entry.refused);
                verdict.in_doubt += u64::from(!entry.confirmed && !entry.refused);
                verdict.received += u64::from(seen);
                verdict.deliveries += u64::from(entry.deliveries());
                verdict.duplicated += u64::from(entry.deliveries() > 1 && !entry.given_back);
                verdict.wrongly_flagged +=
                    u64::from(workload == Workload::Amqp && entry.first_deliveries > 1);
                verdict.again_after_ack += u64::from(entry.after_ack > 0);
                verdict.flagged_unseen += u64::from(seen && entry.first_deliveries == 0);
                if entry.confirmed && !seen {
                    lost.push(sequence);
                }
            });
            if !lost.is_empty() {
                verdict.lost += lost.len() as u64;
                world.note(format!(
                    "lost: {} of producer {index}: messages {}",
                    verdict.workload,
                    ranges(&lost)
                ));
            }
        }
        if workload == Workload::Kafka {
            for (partition, end) in group_ends {
                let Some(log) = world.topic_log.get(*partition as usize) else { continue };
                let (missed, repeated) = log.lock().group_misses_and_repeats((*end).max(0) as usize);
                verdict.group_missed += missed;
                verdict.group_repeated += repeated;
            }
        }
        verdict.probability = Probability {
            durable_if_confirmed: ratio(verdict.confirmed - verdict.lost, verdict.confirmed),
            loss_below_at_95: (verdict.lost == 0 && verdict.confirmed > 0)
                .then(|| 3.0 / verdict.confirmed as f64),
            delivered: ratio(verdict.received, verdict.published),
            duplicate: ratio(verdict.duplicated, verdict.received),
        };
        verdict
    }

    /// Whether this workload's promises were kept.
    pub fn kept(&self) -> bool {
        let duplicates_forbidden = self.workload != "amqp";
        self.lost == 0
            && self.wrongly_flagged == 0
            && self.group_missed == 0
            && !(duplicates_forbidden && self.duplicated > 0)
    }
}

/// Ascending numbers as ranges; the first few.
fn ranges(numbers: &[u64]) -> String {
    const SHOWN: usize = 8;
    let runs: Vec<String> = numbers
        .chunk_by(|a, b| a + 1 == *b)
        .map(|run| match run {
            [one] => one.to_string(),
            _ => format!("{}–{}", run[0], run[run.len() - 1]),
        })
        .collect();
    let more = if runs.len() > SHOWN { format!(" … in {} places", runs.len()) } else { String::new() };
    runs[..runs.len().min(SHOWN)].join(", ") + &more
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Recovery {
    pub fn of(what: &'static str, mut times: Vec<Duration>) -> Option<Recovery> {
        times.sort();
        let last = times.len().checked_sub(1)?;
        let at = |quantile: f64| times[(last as f64 * quantile).round() as usize].as_secs_f64() * 1e3;
        Some(Recovery { what, times: times.len(), median_ms: at(0.5), p90_ms: at(0.9), max_ms: at(1.0) })
    }

    pub fn all(world: &World, starts: Vec<Duration>) -> Vec<Recovery> {
        let of = |what, watch: &Stopwatch| Recovery::of(what, watch.times());
        [
            Recovery::of("start to ready", starts),
            of("start to first AMQP confirm", &world.amqp_recovery.confirm),
            of("start to first AMQP delivery", &world.amqp_recovery.delivery),
            of("start to first Kafka confirm", &world.kafka_recovery.confirm),
            of("start to first Kafka record", &world.kafka_recovery.delivery),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The consumers' shares, destination by destination.
pub fn shares(world: &World) -> Vec<Share> {
    let mut by_destination: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for consumer in &world.consumers {
        let received = consumer.received.load(Ordering::Relaxed);
        by_destination.entry(&consumer.destination).or_default().push(received);
    }
    let mut shares = Vec::new();
    for (destination, counts) in by_destination {
        let even = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        if counts.len() > 1 && even > 0.0 {
            shares.push(Share {
                destination: destination.to_owned(),
                consumers: counts.len(),
                min: counts.iter().min().copied().unwrap_or(0) as f64 / even,
                max: counts.iter().max().copied().unwrap_or(0) as f64 / even,
            });
        }
    }
    shares
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ledger::Account;
    use crate::world::{Config, Producer};
    use bowline_client::address::{AmqpAddress, KafkaAddress};
    use std::sync::atomic::AtomicU64;

    pub(crate) fn world(workload: Workload) -> World {
        let config = Config {
            amqp: AmqpAddress::at("localhost:1"),
            kafka: KafkaAddress::at("localhost:1"),
            queue_type: None,
            rate: 0,
            size: 100,
            window: 1,
            prefetch: 1,
            topic: "t".into(),
            partitions: 1,
            stream: "s".into(),
            group: "g".into(),
            read_uncommitted: false,
        };
        static LIFE: AtomicU64 = AtomicU64::new(0);
        let mut world = World::new(1, 1, config, &LIFE);
        let account = Account::default();
        world.producers.push(Producer { workload, destination: "q".into(), account });
        world
    }

    /// Plays a message's life: c confirm, r refuse, d delivery, D redelivery, b give back, a ack.
    fn play(world: &World, life: &str) {
        let account = &world.producers[0].account;
        let sequence = account.publish();
        for step in life.chars() {
            match step {
                'c' => account.confirm(sequence),
                'r' => account.refuse(sequence),
                'd' => assert!(account.deliver(sequence, false)),
                'D' => assert!(account.deliver(sequence, true)),
                'b' => account.give_back(sequence),
                'a' => account.ack(sequence),
                _ => unreachable!(),
            }
        }
    }

    #[test]
    fn losses_are_told_in_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1–3, 7, 9–10");
        let holes: Vec<u64> = (0..20).map(|n| n * 2).collect();
        assert!(ranges(&holes).ends_with("14 … in 20 places"));
    }

    #[test]
    fn a_good_queue() {
        let world = world(Workload::Amqp);
        for life in ["cda", "cdD", "cdbDa", "d", "", "r", "cD", "cdaD"] {
            play(&world, life);
        }
        let verdict = Verdict::of(&world, Workload::Amqp, &[]);
        assert!(verdict.kept());
        assert_eq!((verdict.published, verdict.confirmed, verdict.refused, verdict.in_doubt), (8, 5, 1, 2));
        assert_eq!((verdict.received, verdict.duplicated), (6, 2));
        assert_eq!((verdict.again_after_ack, verdict.flagged_unseen), (1, 1));
        assert_eq!(verdict.probability.durable_if_confirmed, Some(1.0));
    }

    #[test]
    fn each_sin_of_a_queue_is_found() {
        for (life, lost, flagged) in [("c", 1, 0), ("cdd", 0, 1), ("dd", 0, 1)] {
            let world = world(Workload::Amqp);
            play(&world, life);
            let verdict = Verdict::of(&world, Workload::Amqp, &[]);
            assert!(!verdict.kept(), "{life}");
            assert_eq!((verdict.lost, verdict.wrongly_flagged), (lost, flagged), "{life}");
        }
    }

    #[test]
    fn a_topic_holds_a_record_once() {
        let world = world(Workload::Kafka);
        play(&world, "cd");
        world.topic_log[0].lock().group_read(0);
        assert!(Verdict::of(&world, Workload::Kafka, &[(0, 1)]).kept());
        play(&world, "cdd");
        let verdict = Verdict::of(&world, Workload::Kafka, &[(0, 3)]);
        assert_eq!((verdict.duplicated, verdict.group_missed), (1, 2));
        assert!(!verdict.kept());
    }
}
