//! Exchanges that give a message to one of their bindings: consistent hash, modulus hash, random.
//!
//! Consistent hashing is by weighted rendezvous: every binding draws a number from what is hashed and from its
//! destination, scaled by its weight, and the highest wins. A binding that comes takes its share from all the others,
//! one that goes gives its share to all, and nothing else moves. Destinations enter with numbers that outlive a
//! restart, so that the same message finds the same queue afterwards.

use crate::arguments::get;
use crate::bindings::Target;
use crate::value;
use bowline_model::meta::{Table, Value};

/// RabbitMQ counts weights in buckets; nobody needs more than this.
pub(crate) const WEIGHT_MAX: u32 = 1_000_000;

#[derive(Debug)]
struct Share {
    binding: u32,
    /// Of the destination.
    seed: u64,
    weight: u32,
    target: Target,
}

#[derive(Debug)]
pub(crate) struct Spread {
    by: By,
    /// By seed, then binding key: the same on every replica.
    shares: Vec<(Box<[u8]>, Share)>,
}

/// What decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// Rendezvous over the routing key, a header, or a property.
    Key,
    Header(String),
    Property(Property),
    /// The routing key's hash modulo the number of destinations.
    Modulus,
    Chance,
}

/// Properties that a consistent hash exchange may look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property {
    MessageId,
    CorrelationId,
    Timestamp,
}

impl By {
    /// `hash-header` and `hash-property` of a consistent hash exchange; what is wrong with them otherwise.
    pub fn of(arguments: &Table) -> Result<By, String> {
        let text = |name: &str| match get(arguments, name) {
            None => Ok(None),
            Some(Value::Str(text)) => Ok(Some(String::from_utf8_lossy(text).into_owned())),
            Some(other) => Err(format!("invalid type '{}' for arg '{name}'", value::type_name(other))),
        };
        match (text("hash-header")?, text("hash-property")?) {
            (Some(_), Some(_)) => Err("hash-header and hash-property are mutually exclusive".to_owned()),
            (Some(header), None) => Ok(By::Header(header)),
            (None, Some(property)) => Ok(By::Property(match property.as_str() {
                "message_id" => Property::MessageId,
                "correlation_id" => Property::CorrelationId,
                "timestamp" => Property::Timestamp,
                other => return Err(format!("Unsupported property: {other}")),
            })),
            (None, None) => Ok(By::Key),
        }
    }

    /// More than exchange and routing key decide.
    pub fn looks_into_the_message(&self) -> bool {
        !matches!(self, By::Key | By::Modulus)
    }
}

/// The weight that a binding key of a consistent hash exchange stands for; RabbitMQ's words otherwise.
pub(crate) fn weight(key: &str) -> Result<u32, String> {
    match key.parse::<i64>() {
        Ok(n) if n < 1 => Err(format!("The binding key must be greater than 0, got {n}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX).min(WEIGHT_MAX)),
        Err(_) => Err(format!("The binding key must be an integer: {key}")),
    }
}

impl Spread {
    pub fn new(by: By) -> Spread {
        Spread { by, shares: Vec::new() }
    }

    pub fn by(&self) -> &By {
        &self.by
    }

    pub fn add(&mut self, binding: u32, key: &str, seed: u64, target: Target) {
        let weight = weight(key).unwrap_or(1);
        let entry = (key.as_bytes().into(), Share { binding, seed, weight, target });
        let at = self.shares.partition_point(|(k, share)| (share.seed, &**k) < (seed, key.as_bytes()));
        self.shares.insert(at, entry);
    }

    pub fn remove(&mut self, binding: u32) {
        self.shares.retain(|(_, share)| share.binding != binding);
    }

    /// One of the destinations; `hashed` is what decides.
    pub fn pick(&self, hashed: u64) -> Option<Target> {
        match self.by {
            By::Modulus | By::Chance => {
                let at = hashed.checked_rem(self.shares.len() as u64)?;
                self.shares.get(at as usize).map(|(_, share)| share.target)
            }
            _ => {
                let drawn = |(key, share): &(Box<[u8]>, Share)| {
                    // In (0, 1]; -ln of it over the weight is the time until the first of `weight` many comes.
                    let mixed = mix(hashed ^ mix(share.seed ^ hash(key)));
                    let uniform = ((mixed >> 11) + 1) as f64 / (1u64 << 53) as f64;
                    -uniform.ln() / f64::from(share.weight)
                };
                let first = self.shares.iter().min_by(|a, b| drawn(a).total_cmp(&drawn(b)))?;
                Some(first.1.target)
            }
        }
    }
}

/// FNV-1a, mixed: stable across versions and platforms.
pub(crate) fn hash(octets: &[u8]) -> u64 {
    mix(octets
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h: u64, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)))
}

/// SplitMix64's last steps.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_model::QueueId;

    fn to(queue: u32) -> Target {
        Target::Queue { queue: QueueId(queue), durable: true }
    }

    fn shares(spread: &Spread, n: u32) -> Vec<Target> {
        (0..n).filter_map(|i| spread.pick(hash(format!("key-{i}").as_bytes()))).collect()
    }

    #[test]
    fn shares_follow_the_weights_and_little_moves() {
        let mut spread = Spread::new(By::Key);
        assert_eq!(spread.pick(1), None);
        for (queue, weight) in [(1, "1"), (2, "2"), (3, "1")] {
            spread.add(queue, weight, u64::from(queue), to(queue));
        }
        let before = shares(&spread, 10_000);
        let count = |found: &[Target], queue| found.iter().filter(|t| **t == to(queue)).count();
        assert!((2300..2700).contains(&count(&before, 1)), "{}", count(&before, 1));
        assert!((4800..5200).contains(&count(&before, 2)), "{}", count(&before, 2));
        spread.add(4, "4", 4, to(4));
        let after = shares(&spread, 10_000);
        assert!(before.iter().zip(&after).all(|(a, b)| a == b || *b == to(4)), "only to the new one");
        assert!((4800..5200).contains(&count(&after, 4)));
        spread.remove(4);
        assert_eq!(shares(&spread, 10_000), before);
    }

    #[test]
    fn modulus_does_not_depend_on_the_order_of_binding() {
        let spread = |queues: [u32; 3]| {
            let mut spread = Spread::new(By::Modulus);
            queues.into_iter().for_each(|queue| spread.add(queue, "", queue.into(), to(queue)));
            shares(&spread, 100)
        };
        assert_eq!(spread([1, 2, 3]), spread([3, 1, 2]));
    }

    #[test]
    fn weights() {
        assert_eq!(weight("10"), Ok(10));
        assert_eq!(weight("x").unwrap_err(), "The binding key must be an integer: x");
        assert!(weight("0").is_err() && weight("-1").is_err() && weight("").is_err());
    }
}
