//! Partitions of topics.
use crate::checkpoint::Damaged;
use crate::out::{BlockLookup, Out, Read};
use bowline_model::event::{
    AppendError, AppendResult, FetchError, FetchedPartition, OffsetFound, PartitionInfo,
};
use bowline_model::record::{Append, Record};
use bowline_model::request::{Fetch, OffsetQuery, PartitionSpec};
use bowline_model::{Block, Lsn, Millis, PartitionId, SessionId, Token};

/// What one fetch or offset query may ask to be read from the disk.
pub const READ_BYTES_MAX: u32 = 8 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Options {
    /// How often retention is enforced, ms.
    pub retention_check_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { retention_check_ms: 10_000 }
    }
}

/// What became of a fetch.
#[derive(Debug)]
pub enum FetchOutcome {
    Ready(Vec<FetchedPartition>),
    /// These blocks are wanted: have them read, make them resident, and fetch again with `retry` set.
    Missing(Vec<Read>),
}

/// What became of an offset query.
#[derive(Debug)]
pub enum OffsetsOutcome {
    Ready(Vec<(PartitionId, Result<OffsetFound, FetchError>)>),
    /// As for a fetch.
    Missing(Vec<Read>),
}

/// What a segment of the log holds for partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LiveSegment {
    pub extents: u32,
    /// Bytes of batches.
    pub bytes: u64,
}

/// All partitions of the shard.
#[derive(Debug)]
pub struct Partitions {
    #[allow(dead_code)]
    options: Options,
}

impl Partitions {
    pub fn new(options: Options) -> Partitions {
        Partitions { options }
    }

    /// Applies an Append record.
    pub fn apply_append(&mut self, block: &Block, record: &Record<'_>) -> AppendResult {
        let _ = block;
        let partition = PartitionId(Append::decode(record.body).map_or(0, |a| a.partition));
        AppendResult { partition, result: Err(AppendError::UnknownPartition) }
    }
    /// Applies a PartitionCreate, PartitionDelete or PartitionTrim record.
    pub fn apply(&mut self, block: &Block, record: &Record<'_>, out: &mut Out) {
        let _ = (block, record, out);
    }
    /// Answers watches of partitions that have grown.
    pub fn finish_block(&mut self, out: &mut Out) {
        let _ = out;
    }
    /// `retry`: blocks asked for by the previous try have been read; take what is there.
    pub fn fetch(&self, fetch: &Fetch, retry: bool, lookup: &mut dyn BlockLookup) -> FetchOutcome {
        let _ = (fetch, retry, lookup);
        FetchOutcome::Ready(Vec::new())
    }
    /// Answers `Request::ListOffsets`.
    pub fn list_offsets(
        &self,
        queries: &[(PartitionId, OffsetQuery)],
        lookup: &mut dyn BlockLookup,
    ) -> OffsetsOutcome {
        let _ = (queries, lookup);
        OffsetsOutcome::Ready(Vec::new())
    }
    /// Answers by `Event::Moved`, at once if a partition is that far already, or unknown.
    pub fn watch(
        &mut self,
        session: SessionId,
        token: Token,
        partitions: Vec<(PartitionId, u64)>,
        out: &mut Out,
    ) {
        let _ = (session, token, partitions, out);
    }
    pub fn unwatch(&mut self, session: SessionId, token: Token) {
        let _ = (session, token);
    }
    /// Answers by `Event::Trimmed`, at once or when the trim has been applied.
    pub fn trim(
        &mut self,
        session: SessionId,
        token: Token,
        partition: PartitionId,
        offset: Option<u64>,
        out: &mut Out,
    ) {
        let _ = (session, token, partition, offset, out);
    }
    pub fn info(&self, partition: PartitionId) -> Result<PartitionInfo, FetchError> {
        let _ = partition;
        Err(FetchError::UnknownPartition)
    }
    /// `None`: no such partition. Reconciling and provisioning compare with it.
    pub fn spec(&self, partition: PartitionId) -> Option<&PartitionSpec> {
        let _ = partition;
        None
    }
    /// In no particular order.
    pub fn ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        std::iter::empty()
    }
    pub fn log_start(&self, partition: PartitionId) -> Option<u64> {
        let _ = partition;
        None
    }
    /// One past the last offset.
    pub fn high_watermark(&self, partition: PartitionId) -> Option<u64> {
        let _ = partition;
        None
    }
    /// Segments (their position 0) and cold files that hold live batches, ascending.
    pub fn live_segments(&self) -> impl Iterator<Item = (Lsn, LiveSegment)> + '_ {
        std::iter::empty()
    }
    pub fn tick(&mut self, now: Millis, out: &mut Out) {
        let _ = (now, out);
    }
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }
    pub fn close_session(&mut self, session: SessionId) {
        let _ = session;
    }
    pub fn checkpoint(&self, out: &mut Vec<u8>) {
        let _ = out;
    }
    pub fn restore(&mut self, input: &[u8]) -> Result<(), Damaged> {
        let _ = input;
        Ok(())
    }
}
