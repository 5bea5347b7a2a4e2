//! The border to the operating system: a directory with files, and what may be asked of them.
//!
//! Everything durable goes through these two traits, so that the simulator and the fault tests can stand
//! in for the disk ([`crate::FakeDisk`]). Calls block. Paths are relative to the data directory, with `/`
//! between at most two parts: `log/00000001.seg`.

use crate::error::DiskError;
use std::io::IoSlice;
use std::sync::Arc;

pub type DiskResult<T> = Result<T, DiskError>;

/// One data directory.
pub trait Disk: Send + Sync {
    /// Position and length of every write must be a multiple of this: 512 or 4096.
    fn sector_bytes(&self) -> u32;
    /// [`DiskFile::write_durable`] promises less than it says: see `RealDisk::relaxed`. The log then claims as
    /// durable only what a checkpoint has synced, so that a power cut cuts a tail and is not taken for damage.
    fn is_relaxed(&self) -> bool {
        false
    }
    /// Where the directory is, for messages.
    fn describe(&self) -> String;
    /// Opens an existing file for reading and writing (for reading on a read-only disk).
    fn open(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>>;
    /// Makes a new file or empties an existing one. Its name is durable after [`Disk::sync_dir`].
    fn create(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>>;
    /// Makes a directory if it does not exist, durably.
    fn create_dir(&self, dir: &str) -> DiskResult<()>;
    /// Files of a directory and their lengths in bytes, by name. Empty if there is no such directory.
    fn list(&self, dir: &str) -> DiskResult<Vec<Entry>>;
    /// Replaces `to` if it exists. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> DiskResult<()>;
    /// Large files are to be truncated in steps first: a large unlink stalls commits on some file systems.
    fn remove(&self, path: &str) -> DiskResult<()>;
    /// Makes creations, renames and removals in `dir` ("" is the data directory itself) durable.
    fn sync_dir(&self, dir: &str) -> DiskResult<()>;
    /// Bytes that files may still grow by.
    fn free_bytes(&self) -> DiskResult<u64>;
    /// Size of the volume, bytes; 0 if that is not known.
    fn total_bytes(&self) -> DiskResult<u64> {
        Ok(0)
    }
}

/// One open file. Writes need sector-aligned positions and lengths and 4096-aligned memory; reads need neither.
pub trait DiskFile: Send + Sync {
    fn path(&self) -> &str;
    /// Writes all of `data` one after the other from `position` on; returns when they are on stable
    /// storage. A failure is final for the file: the caller must not retry.
    fn write_durable(&self, position: u64, data: &[IoSlice<'_>]) -> DiskResult<()>;
    /// Writes without waiting for stable storage; a later [`DiskFile::sync`] does.
    fn write(&self, position: u64, data: &[u8]) -> DiskResult<()>;
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file. Returns how many.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize>;
    /// Reserves space so that the file is at least `len` bytes long; new bytes read as zero.
    fn allocate(&self, len: u64) -> DiskResult<()>;
    /// Writes zeros, so that later writes there change no metadata. Durable after [`DiskFile::sync`].
    fn write_zeros(&self, position: u64, len: u64) -> DiskResult<()>;
    fn truncate(&self, len: u64) -> DiskResult<()>;
    fn len(&self) -> DiskResult<u64>;
    fn is_empty(&self) -> DiskResult<bool> {
        Ok(self.len()? == 0)
    }
    /// Data and length to stable storage.
    fn sync(&self) -> DiskResult<()>;
    /// Told by a single-threaded driver when a write is handed in that it will complete later with the
    /// same [`DiskFile::write_durable`]: a simulated crash in between may apply a part of it.
    fn announce(&self, _position: u64, _data: &[IoSlice<'_>]) {}
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: String,
    pub len: u64,
}
