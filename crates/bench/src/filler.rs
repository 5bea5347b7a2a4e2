//! What bodies consist of, behind their stamp.
//!
//! Without compression that does not matter, and every body is the same. With it bodies are a text of words that repeat
//! as those of log lines do, each from another place, so that lz4 and zstd find about what they find in practice.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::args::{CompressionArg, Settings};
use crate::stamp::{STAMP_BYTES, Stamp};

/// Longer than what compressors look back for.
const TEXT_BYTES: usize = 1 << 20;
const WORDS: usize = 2000;
const WORD_BYTES_MAX: usize = 12;
/// From body to body; odd, so that it takes long until one begins where another did.
const STEP: usize = 4_099;

pub struct Filler {
    value: Vec<u8>,
    /// Empty: bodies stay as they are.
    text: Vec<u8>,
    at: usize,
}

impl Filler {
    pub fn new(settings: &Settings) -> Filler {
        let text =
            if settings.compression == CompressionArg::None { Vec::new() } else { text(settings.size) };
        Filler { value: vec![b'x'; settings.size], text, at: 0 }
    }

    /// The next body. It is at least as long as its stamp.
    pub fn value(&mut self, stamp: Stamp) -> &[u8] {
        if !self.text.is_empty() {
            self.at = (self.at + STEP) % TEXT_BYTES;
            let size = self.value.len();
            self.value[STAMP_BYTES..].copy_from_slice(&self.text[self.at + STAMP_BYTES..self.at + size]);
        }
        self.value[..STAMP_BYTES].copy_from_slice(&stamp.encode());
        &self.value
    }
}

/// The same text in every run; `more` bytes follow wherever in its first part one begins.
fn text(more: usize) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(4);
    let words: Vec<Vec<u8>> = (0..WORDS)
        .map(|_| {
            let length = random.random_range(2..=WORD_BYTES_MAX);
            (0..length).map(|_| random.random_range(b'a'..=b'z')).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(TEXT_BYTES + more + WORD_BYTES_MAX);
    while text.len() < TEXT_BYTES + more {
        // Some words are frequent, most are rare.
        let rank = random.random_range(0.0..1.0_f64).powi(3) * WORDS as f64;
        text.extend_from_slice(&words[rank as usize % WORDS]);
        text.push(b' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Proto};
    use bowline_client::kafka::codec::records::{BatchBuilder, Compression};

    #[test]
    fn bodies_carry_their_stamp_and_compress_as_text_does() {
        let args = Args {
            proto: Some(Proto::Kafka),
            compression: Some(CompressionArg::Lz4),
            size: Some(1000),
            ..Default::default()
        };
        let mut filler = Filler::new(&Settings::resolve(&args, "x").unwrap());
        let mut batch = BatchBuilder::new(0).compression(Compression::Lz4);
        for sequence in 0..1000 {
            let stamp = Stamp { time_ns: 100, producer: 1, sequence };
            let value = filler.value(stamp);
            assert_eq!((value.len(), Stamp::decode(value)), (1000, Some(stamp)));
            batch.append(None, Some(value), &[], 0).unwrap();
        }
        let compressed = batch.build().unwrap().len();
        assert!((200_000..700_000).contains(&compressed), "{compressed} of 1,000,000");
    }
}
