//! ListOffsets: the first, the last, or those near a time.
//!
//! By time, the index finds the extent and the batches' heads find the batch; the record within the batch is the
//! front end's to find, as it may be compressed. The batch is copied, so that an answer that waits for other
//! partitions' blocks does not keep whole blocks in memory.

use super::Partitions;
use super::state::Partition;
use super::walk::{Batches, Broken, ReadPlan};
use crate::out::{BlockLookup, Read};
use bowline_model::event::{BatchSlice, FetchError, OffsetFound};
use bowline_model::request::OffsetQuery;
use bowline_model::{Block, PartitionId};
use bytes::Bytes;
use std::sync::Arc;

type Answer = Result<OffsetFound, FetchError>;

/// An offset query on its way. Keeps what was found while the rest is read.
#[derive(Debug)]
pub struct OffsetsSearch {
    queries: Vec<Search>,
}

#[derive(Debug)]
struct Search {
    partition: PartitionId,
    query: OffsetQuery,
    /// Everything below has been looked at.
    from: u64,
    /// A batch that will do, of which a part was deleted. Whether what is left of it will do as well, only who reads
    /// its records can say, so that the next one is looked for, too.
    cut: Option<BatchSlice>,
    answer: Option<Answer>,
}

impl OffsetsSearch {
    pub fn new(queries: Vec<(PartitionId, OffsetQuery)>) -> OffsetsSearch {
        let start = |(partition, query)| Search { partition, query, from: 0, cut: None, answer: None };
        OffsetsSearch { queries: queries.into_iter().map(start).collect() }
    }
}

/// What became of an offset query.
#[derive(Debug)]
pub enum OffsetsOutcome {
    /// In the order asked.
    Ready(Vec<(PartitionId, Answer)>),
    /// These blocks are wanted: have them read, make them resident, and go on with the same search.
    Missing(Vec<Read>),
}

impl Partitions {
    /// Answers `Request::ListOffsets`. After `Ready` the search is empty.
    pub fn list_offsets(&self, search: &mut OffsetsSearch, lookup: &mut dyn BlockLookup) -> OffsetsOutcome {
        let mut plan = ReadPlan::default();
        for one in search.queries.iter_mut().filter(|one| one.answer.is_none()) {
            one.answer = match self.by_id.get(&one.partition) {
                None => Some(Err(FetchError::UnknownPartition)),
                Some(partition) => find(partition, one, lookup, &mut plan),
            };
        }
        if !plan.is_empty() {
            return OffsetsOutcome::Missing(plan.into_reads());
        }
        let answers = search.queries.drain(..);
        OffsetsOutcome::Ready(
            answers.map(|one| (one.partition, one.answer.unwrap_or(Err(FetchError::Storage)))).collect(),
        )
    }
}

/// `None`: a block is missing, and is in the plan or has no room in it.
fn find(
    partition: &Partition,
    search: &mut Search,
    lookup: &mut dyn BlockLookup,
    plan: &mut ReadPlan,
) -> Option<Answer> {
    let lowest = match search.query {
        OffsetQuery::Earliest => return Some(Ok(OffsetFound::Offset(partition.log_start))),
        OffsetQuery::Latest => return Some(Ok(OffsetFound::Offset(partition.next_offset))),
        OffsetQuery::LatestStable => return Some(Ok(OffsetFound::Offset(partition.last_stable()))),
        OffsetQuery::Timestamp(time) => time,
        OffsetQuery::MaxTimestamp => {
            partition.extents.iter().map(|extent| extent.max_timestamp).max().unwrap_or(i64::MAX)
        }
    };
    let mut index = partition.extents.find(search.from.max(partition.log_start));
    while let Some(extent) = partition.extents.get(index) {
        index += 1;
        if extent.max_timestamp < lowest {
            continue;
        }
        let Some(block) = lookup.block(extent.lsn) else {
            if lookup.unreadable(extent.lsn) {
                return Some(Err(FetchError::Storage));
            }
            plan.add(extent);
            return None;
        };
        match first_batch(
            Batches::new(&block, partition.spec.partition.0, extent),
            partition.log_start,
            lowest,
        ) {
            Ok((cut, whole)) => {
                search.cut = search.cut.take().or(cut.as_ref().map(detached));
                search.from = extent.end();
                if let Some(batch) = whole {
                    return Some(found(partition, search, Some(detached(&batch))));
                }
            }
            Err(Broken) => return Some(Err(FetchError::Storage)),
        }
    }
    Some(found(partition, search, None))
}

fn found(partition: &Partition, search: &mut Search, whole: Option<BatchSlice>) -> Answer {
    let batches = search.cut.take().into_iter().chain(whole).collect();
    let (log_start, last_stable) = (partition.log_start, partition.last_stable());
    Ok(OffsetFound::Batches { batches, log_start, last_stable })
}

/// The first batch from `log_start` on that has a record of time `lowest` or later; before it the one into which
/// `log_start` falls, if it has such a record.
fn first_batch(
    batches: Batches<'_>,
    log_start: u64,
    lowest: i64,
) -> Result<(Option<BatchSlice>, Option<BatchSlice>), Broken> {
    let mut cut = None;
    for item in batches {
        let (batch, header) = item?;
        if header.max_timestamp < lowest || batch.base_offset + u64::from(header.count) <= log_start {
            continue;
        }
        if batch.base_offset >= log_start {
            return Ok((cut, Some(batch)));
        }
        cut = Some(batch);
    }
    Ok((cut, None))
}

fn detached(batch: &BatchSlice) -> BatchSlice {
    let from = batch.offset as usize;
    let bytes = Bytes::copy_from_slice(&batch.block.payload[from..from + batch.len as usize]);
    let block = Arc::new(Block { payload: bytes, ..*batch.block });
    BatchSlice { block, offset: 0, ..*batch }
}
