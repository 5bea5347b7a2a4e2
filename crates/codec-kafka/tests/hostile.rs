//! Input that nobody meant well: no panic, no memory out of proportion.

use bowline_codec_kafka::messages::{MetadataRequest, catalog};
use bowline_codec_kafka::{DecodeError, Reader, fuzz_decode_any};
use bytes::Bytes;
use proptest::prelude::*;

#[test]
fn array_lengths_are_bounded_by_what_remains() {
    // Two billion topics in a body of five bytes.
    let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0x01]));
    let error = MetadataRequest::decode(&mut reader, 4).unwrap_err();
    assert_eq!(error, DecodeError::ArrayTooLong { length: i32::MAX as usize, remaining: 1 });
}

#[test]
fn arrays_share_a_memory_budget() {
    // A million empty names, two bytes each, would be more than 40 MB of structs.
    let count: u32 = 1_000_000;
    let mut body = count.to_be_bytes().to_vec();
    body.resize(4 + 2 * count as usize, 0);
    body.push(1);
    let body = Bytes::from(body);
    assert!(MetadataRequest::decode(&mut Reader::new(body.clone()), 4).is_ok());
    let mut small = Reader::with_memory_limit(body, 1 << 20);
    assert_eq!(MetadataRequest::decode(&mut small, 4), Err(DecodeError::MemoryLimit));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut data = vec![0, 0];
        data.extend(&body);
        for message in 0..=catalog::ALL.len() as u8 {
            for version in 0..20 {
                data[..2].copy_from_slice(&[message, version]);
                fuzz_decode_any(&data);
            }
        }
    }

    /// Mostly small numbers, as lengths and counts are: these get further into the messages.
    #[test]
    fn plausible_bytes_never_panic(body in proptest::collection::vec(prop_oneof![4 => 0u8..4, 1 => any::<u8>()], 0..400)) {
        let mut data = vec![0, 0];
        data.extend(&body);
        for message in 0..=catalog::ALL.len() as u8 {
            for version in 0..20 {
                data[..2].copy_from_slice(&[message, version]);
                fuzz_decode_any(&data);
            }
        }
    }
}
