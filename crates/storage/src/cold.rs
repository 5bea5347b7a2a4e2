//! Cold files: blocks copied in a better order from segments that were given up. Same block format, read
//! through the same calls; what goes in, and when, is the relocator's business.
//!
//! A cold file counts only once it is finished: until then it has another name, and a crash removes it.
//! A finished one stays until a checkpoint that listed it is followed by two that do not.

use crate::core::{Chain, Placed};
use crate::disk::DiskFile;
use crate::error::{ColdError, DiskError};
use crate::header::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, block_bytes};
use crate::log::Shared;
use crate::segments::{COLD_DIR, Segment, UNFINISHED, cold_path, write_header};
use crate::stats::Counters;
use crate::types::ColdBlock;
use bowline_model::Lsn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Largest cold file, bytes.
pub const COLD_FILE_BYTES_MAX: u64 = 1 << 31;

/// Writes one cold file from front to end. Dropped before [`ColdWriter::finish`] the file is removed.
pub struct ColdWriter {
    shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    number: u32,
    epoch: u64,
    position: u64,
    chain: Chain,
    pace: Option<Box<dyn FnMut(usize) + Send>>,
    finished: bool,
}

impl ColdWriter {
    pub(crate) fn create(
        shared: Arc<Shared>,
        pace: Option<Box<dyn FnMut(usize) + Send>>,
    ) -> Result<ColdWriter, ColdError> {
        if let Some(fatal) = shared.core.lock().poisoned() {
            return Err(fatal.clone().into());
        }
        let number = shared.next_cold.fetch_add(1, Ordering::Relaxed) as u32;
        let epoch = shared.core.lock().epoch_for(number | 1 << 31);
        let file = shared.disk.create(&unfinished(number)).map_err(|e| fail(&shared, e))?;
        let header = SegmentHeader {
            kind: SegmentKind::Cold,
            number,
            epoch,
            node: shared.format.identity.node,
            key_id: 0,
            sector_bytes: shared.sector_bytes,
            capacity: COLD_FILE_BYTES_MAX,
        };
        let writer = ColdWriter {
            shared: shared.clone(),
            file: file.clone(),
            number,
            epoch,
            position: u64::from(SEGMENT_HEADER_BYTES),
            chain: Chain::default(),
            pace,
            finished: false,
        };
        write_header(&*file, &header).map_err(|e| fail(&shared, e))?;
        Ok(writer)
    }

    /// The file's number, for `live_cold`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.position
    }

    pub fn is_empty(&self) -> bool {
        self.position == u64::from(SEGMENT_HEADER_BYTES)
    }

    /// Adds a block; returns the position where it can be read once the file is finished. Blocks of a few
    /// hundred KiB make good use of the disk: each is one write.
    pub fn append(&mut self, block: ColdBlock) -> Result<Lsn, ColdError> {
        let bytes = block_bytes(block.buf.payload_len(), self.shared.sector_bytes);
        if self.position + bytes > COLD_FILE_BYTES_MAX {
            return Err(ColdError::TooLarge);
        }
        let lsn = Lsn::cold(self.number, self.position as u32);
        let mut placed = Placed::cold(lsn, self.epoch, block);
        placed.seal(&mut self.chain, Lsn::default(), self.shared.sector_bytes);
        self.file.write(self.position, placed.bytes()).map_err(|e| fail(&self.shared, e))?;
        self.position += bytes;
        Counters::add(&self.shared.counters.cold_bytes, bytes);
        if let Some(pace) = &mut self.pace {
            pace(bytes as usize);
        }
        Ok(lsn)
    }

    /// Makes the file durable and part of the log. Returns its number.
    pub fn finish(mut self) -> Result<u32, ColdError> {
        self.publish().map_err(|e| fail(&self.shared, e))?;
        self.finished = true;
        Ok(self.number)
    }

    fn publish(&self) -> Result<(), DiskError> {
        let disk = &self.shared.disk;
        self.file.sync()?;
        disk.rename(&unfinished(self.number), &cold_path(self.number))?;
        disk.sync_dir(COLD_DIR)?;
        let segment = Segment::open(&**disk, SegmentKind::Cold, self.number)?;
        self.shared.table.insert(Arc::new(segment));
        Ok(())
    }
}

impl Drop for ColdWriter {
    fn drop(&mut self) {
        if !self.finished {
            let path = unfinished(self.number);
            self.shared.upkeep.lock().shrinks.push(crate::segments::Shrink { path, keep: None });
            self.shared.wakers.wake_upkeep();
        }
    }
}

fn unfinished(number: u32) -> String {
    format!("{}{UNFINISHED}", cold_path(number))
}

/// A full disk spoils the cold file only; any other failure stops the log, which shares the disk.
fn fail(shared: &Shared, error: DiskError) -> ColdError {
    if error.is_full() { ColdError::Full(error) } else { ColdError::Fatal(shared.poison(error.into())) }
}
