//! Which topics a group's members subscribe to: the one thing that the coordinator reads in metadata that is
//! otherwise the clients' own affair. Deleting or expiring offsets under a living consumer's feet must not happen.

use super::state::Group;
use bowline_model::group::State;
use std::collections::BTreeSet;

/// Protocol type of consumers; others (Connect, Schema Registry) have other metadata.
const CONSUMER: &str = "consumer";

/// Which topics must be left alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subscribed {
    Topics(BTreeSet<String>),
    /// Somebody's metadata cannot be read: any.
    Unknown,
    /// The members are no consumers.
    NotConsumers,
}

impl Subscribed {
    pub fn contains(&self, topic: &str) -> bool {
        match self {
            Subscribed::Topics(topics) => topics.contains(topic),
            Subscribed::Unknown => true,
            Subscribed::NotConsumers => false,
        }
    }
}

impl Group {
    /// By the metadata of all present members.
    pub fn subscribed(&self) -> Subscribed {
        if self.state == State::Empty {
            return Subscribed::Topics(BTreeSet::new());
        }
        if self.protocol_type != CONSUMER {
            return Subscribed::NotConsumers;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for (_, metadata) in &member.protocols {
                match parse_topics(metadata) {
                    Some(all) => topics.extend(all),
                    None => return Subscribed::Unknown,
                }
            }
        }
        Subscribed::Topics(topics)
    }
}

/// Topics of a `ConsumerProtocolSubscription`, which begins in every version: version i16, topics [string].
fn parse_topics(mut metadata: &[u8]) -> Option<Vec<String>> {
    let input = &mut metadata;
    let version = i16::from_be_bytes(take(input)?);
    let n = i32::from_be_bytes(take(input)?);
    if version < 0 || n < 0 {
        return None;
    }
    let mut topics = Vec::new();
    for _ in 0..n {
        let len = usize::try_from(i16::from_be_bytes(take(input)?)).ok()?;
        let name = input.split_off(..len)?;
        topics.push(std::str::from_utf8(name).ok()?.to_owned());
    }
    Some(topics)
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (value, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_topics_and_nothing_else() {
        let metadata = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(parse_topics(metadata), Some(vec!["a".into(), "bc".into()]));
        for cut in 0..13 {
            assert_eq!(parse_topics(&metadata[..cut]), None, "{cut}");
        }
        assert_eq!(parse_topics(b"\0\0\xff\xff\xff\xff"), None);
        assert_eq!(parse_topics(b"\0\0\x7f\xff\xff\xff\0\0"), None);
    }
}
