//! The "consumer" embedded protocol: what members of a classic group write into JoinGroup metadata and
//! SyncGroup assignments. An int16 version, then the message in that version.

use bytes::Bytes;

use crate::message::Message;
use crate::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use crate::wire::{DecodeError, EncodeError, Reader, Writer};

/// The protocol type that consumers name in JoinGroup.
pub const PROTOCOL_TYPE: &str = "consumer";

pub fn decode_subscription(bytes: Bytes) -> Result<ConsumerProtocolSubscription, DecodeError> {
    decode(bytes)
}

pub fn encode_subscription(
    subscription: &ConsumerProtocolSubscription,
    version: i16,
) -> Result<Bytes, EncodeError> {
    encode(subscription, version)
}

pub fn decode_assignment(bytes: Bytes) -> Result<ConsumerProtocolAssignment, DecodeError> {
    decode(bytes)
}

pub fn encode_assignment(
    assignment: &ConsumerProtocolAssignment,
    version: i16,
) -> Result<Bytes, EncodeError> {
    encode(assignment, version)
}

/// Newer versions only append fields, so one from the future is read as the newest known; whatever
/// follows is ignored.
fn decode<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16()?.min(*M::VERSIONS.end());
    M::decode(&mut reader, version)
}

fn encode<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = Writer::new();
    out.put_i16(version);
    message.encode(&mut out, version)?;
    Ok(out.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::consumer_protocol_subscription::TopicPartition;

    #[test]
    fn subscription_reads_back_in_every_version() {
        let full = ConsumerProtocolSubscription {
            topics: vec!["a".into(), "b".into()],
            user_data: Some(Bytes::from_static(b"x")),
            owned_partitions: vec![TopicPartition { topic: "a".into(), partitions: vec![1, 2] }],
            generation_id: 7,
            rack_id: Some("r".into()),
        };
        for version in 0..=3 {
            let bytes = encode_subscription(&full, version).unwrap();
            let read = decode_subscription(bytes).unwrap();
            assert_eq!(read.topics, full.topics);
            assert_eq!(read.owned_partitions.is_empty(), version < 1);
            assert_eq!(read.rack_id.is_some(), version >= 3);
        }
    }

    #[test]
    fn future_versions_are_read_as_the_newest() {
        let mut bytes = encode_assignment(&ConsumerProtocolAssignment::default(), 3).unwrap().to_vec();
        bytes[1] = 9;
        bytes.extend_from_slice(b"fields of version 9");
        assert_eq!(decode_assignment(bytes.into()), Ok(ConsumerProtocolAssignment::default()));
        assert!(decode_assignment(Bytes::from_static(&[0xff, 0xff])).is_err());
    }
}
