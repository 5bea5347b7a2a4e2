//! Any octets into the AMQP decoders: protocol header, frames, methods, content headers, field tables.
#![no_main]

use bowline_fuzz as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bowline_codec_amqp::fuzz_decode_any(data));
