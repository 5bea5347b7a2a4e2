//! Any octets into any message of the Kafka protocol in any version: two octets choose, the rest is the message.
#![no_main]

use bowline_fuzz as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bowline_codec_kafka::fuzz_decode_any(data));
