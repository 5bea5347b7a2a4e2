//! Consumer groups.
use crate::checkpoint::Damaged;
use crate::out::Out;
use bowline_model::record::Record;
use bowline_model::{Block, Millis, SessionId, Token, group as api};

#[derive(Clone, Debug)]
pub struct Options {
    /// How long the first rebalance of an empty group waits for more members, ms; prolonged while they keep coming.
    pub initial_rebalance_delay_ms: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options { initial_rebalance_delay_ms: 300 }
    }
}

/// All groups that this shard coordinates.
#[derive(Debug)]
pub struct Groups {
    #[allow(dead_code)]
    options: Options,
}

impl Groups {
    pub fn new(options: Options) -> Groups {
        Groups { options }
    }
    /// Answers a request at once, or later (joins, syncs), or when what it proposes has been applied.
    pub fn handle(
        &mut self,
        now: Millis,
        session: SessionId,
        token: Token,
        request: api::Request,
        out: &mut Out,
    ) {
        let _ = (now, session, token, request, out);
    }
    /// Applies an OffsetCommit or OffsetDelete record.
    pub fn apply(&mut self, block: &Block, record: &Record<'_>) {
        let _ = (block, record);
    }
    /// The topic is gone: proposes to forget what groups have committed for it.
    pub fn topic_deleted(&mut self, topic: &str, out: &mut Out) {
        let _ = (topic, out);
    }
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        let _ = (now, out);
    }
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }
    pub fn close_session(&mut self, now: Millis, session: SessionId) {
        let _ = (now, session);
    }
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    pub fn restore(&mut self, input: &[u8]) -> Result<(), Damaged> {
        let _ = input;
        Ok(())
    }
}
