//! A disk that lies, for sabotage: says "durable" of what is not, or "done" of what failed.

use crate::sabotage::Sabotage;
use bowline_storage::disk::Entry;
use bowline_storage::{Disk, DiskFile, DiskResult, FakeDisk};
use std::io::IoSlice;
use std::sync::Arc;

/// The disk that the log is given: the fake disk itself, unless it is to lie.
pub fn under(disk: &FakeDisk, sabotage: Option<Sabotage>) -> Arc<dyn Disk> {
    match sabotage {
        Some(how @ (Sabotage::FlushSkipped | Sabotage::WriteErrorIgnored)) => {
            Arc::new(Liar { disk: disk.clone(), how })
        }
        _ => Arc::new(disk.clone()),
    }
}

struct Liar {
    disk: FakeDisk,
    how: Sabotage,
}

struct LyingFile {
    file: Arc<dyn DiskFile>,
    how: Sabotage,
}

impl Liar {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(LyingFile { file, how: self.how })
    }
}

impl Disk for Liar {
    fn sector_bytes(&self) -> u32 {
        self.disk.sector_bytes()
    }
    fn describe(&self) -> String {
        self.disk.describe()
    }
    fn open(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.wrap(file))
    }
    fn create(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.wrap(file))
    }
    fn create_dir(&self, dir: &str) -> DiskResult<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &str) -> DiskResult<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.disk.sync_dir(dir)
    }
    fn free_bytes(&self) -> DiskResult<u64> {
        self.disk.free_bytes()
    }
}

impl DiskFile for LyingFile {
    fn path(&self) -> &str {
        self.file.path()
    }
    fn write_durable(&self, position: u64, data: &[IoSlice<'_>]) -> DiskResult<()> {
        if self.how == Sabotage::FlushSkipped && self.file.path().starts_with("log/") {
            let all: Vec<u8> = data.iter().flat_map(|piece| piece.iter().copied()).collect();
            return self.file.write(position, &all);
        }
        match self.file.write_durable(position, data) {
            Err(e) if self.how == Sabotage::WriteErrorIgnored && !e.is_full() => Ok(()),
            result => result,
        }
    }
    fn write(&self, position: u64, data: &[u8]) -> DiskResult<()> {
        self.file.write(position, data)
    }
    fn read_at(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize> {
        self.file.read_at(position, buf)
    }
    fn allocate(&self, len: u64) -> DiskResult<()> {
        self.file.allocate(len)
    }
    fn write_zeros(&self, position: u64, len: u64) -> DiskResult<()> {
        self.file.write_zeros(position, len)
    }
    fn truncate(&self, len: u64) -> DiskResult<()> {
        self.file.truncate(len)
    }
    fn len(&self) -> DiskResult<u64> {
        self.file.len()
    }
    fn sync(&self) -> DiskResult<()> {
        self.file.sync()
    }
    fn announce(&self, position: u64, data: &[IoSlice<'_>]) {
        self.file.announce(position, data);
    }
}
