//! One entry point for fuzzing every decoder of the crate.

use bytes::Bytes;

use crate::frame::RequestHead;
use crate::message::RecodeError;
use crate::messages::catalog;
use crate::protocol::consumer;
use crate::records::{Batches, RecordIter, verify_batch};
use crate::wire::Reader;

/// Small, so that a fuzzer sees amplification as an error and not as an exhausted machine.
const MEMORY_MAX: usize = 16 << 20;

/// Takes two bytes to choose a message and a version, and the rest for its body. Panics when what was
/// read cannot be written again, or reads differently the second time.
pub fn fuzz_decode_any(data: &[u8]) {
    let [message, version, body @ ..] = data else { return };
    let body = Bytes::copy_from_slice(body);
    let codecs = catalog::ALL;
    match codecs.get(usize::from(*message)) {
        Some(codec) => {
            let versions = codec.last_version - codec.first_version + 1;
            let version = codec.first_version + i16::from(*version) % versions;
            match codec.recode(body, version, MEMORY_MAX) {
                Ok(written) => {
                    let again = codec.recode(written.clone(), version, MEMORY_MAX);
                    assert_eq!(again.as_ref(), Ok(&written), "{} v{version}", codec.name);
                }
                Err(RecodeError::Decode(_)) => {}
                Err(RecodeError::Encode(error)) => panic!("{} v{version}: {error}", codec.name),
            }
        }
        None => fuzz_by_hand(*version, body),
    }
}

/// The decoders that are not generated.
fn fuzz_by_hand(which: u8, body: Bytes) {
    match which % 4 {
        0 => drop(RequestHead::decode(&mut Reader::new(body))),
        1 => drop(consumer::decode_subscription(body)),
        2 => drop(consumer::decode_assignment(body)),
        _ => {
            for batch in Batches::new(body) {
                let Ok(batch) = batch else { break };
                let _ = verify_batch(&batch.bytes);
                let Ok(records) = batch.records(MEMORY_MAX) else { continue };
                for record in RecordIter::new(&records, batch.header.records_count).map_while(Result::ok) {
                    let count = record.headers.len();
                    assert_eq!(record.headers.count(), count);
                }
            }
        }
    }
}
