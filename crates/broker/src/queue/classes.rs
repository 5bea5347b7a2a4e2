//! The priorities of a queue's messages, durable: a byte a message, in chunks, for those that have not the usual one.

use super::Index;
use super::lanes::live;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const CHUNK: u64 = 256;
/// Not in here.
const USUAL: u8 = u8::MAX;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Classes {
    chunks: BTreeMap<u64, Chunk>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Chunk {
    /// Entries that are not [`USUAL`].
    left: u16,
    of: Vec<u8>,
}

impl Classes {
    pub fn set(&mut self, seq: u64, class: u8) {
        let chunk = self.chunks.entry(seq / CHUNK);
        let chunk = chunk.or_insert_with(|| Chunk { left: 0, of: vec![USUAL; CHUNK as usize] });
        if let Some(entry) = chunk.of.get_mut((seq % CHUNK) as usize)
            && class != USUAL
        {
            chunk.left += u16::from(*entry == USUAL);
            *entry = class;
        }
    }

    /// All have the usual one.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The priority of message `seq`; `None`: the usual one.
    pub fn get(&self, seq: u64) -> Option<u8> {
        let class = self.chunks.get(&(seq / CHUNK))?.of.get((seq % CHUNK) as usize)?;
        (*class != USUAL).then_some(*class)
    }

    /// Messages `first..to` are about to be settled.
    pub fn settling(&mut self, first: u64, to: u64, index: &Index) {
        if self.chunks.is_empty() || first >= to {
            return;
        }
        let mut emptied = Vec::new();
        for (&number, chunk) in self.chunks.range_mut(first / CHUNK..=(to - 1) / CHUNK) {
            let start = number * CHUNK;
            for seq in live(index, first.max(start), to.min(start + CHUNK)) {
                if let Some(entry) = chunk.of.get_mut((seq % CHUNK) as usize)
                    && std::mem::replace(entry, USUAL) != USUAL
                {
                    chunk.left = chunk.left.saturating_sub(1);
                }
            }
            if chunk.left == 0 {
                emptied.push(number);
            }
        }
        for number in emptied {
            self.chunks.remove(&number);
        }
    }
}
