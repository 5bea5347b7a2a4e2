//! A disk in memory that misbehaves as real ones do, the same way for the same seed.
//!
//! It keeps, for each file, what is on stable storage and what is not yet. A crash keeps any part of the
//! rest: writes are lost, whole or sector by sector, in any order; so are new names, renames and lengths
//! that were not synced. Writes announced by a [`crate::Driver`] and not finished count as "not yet".
//! Faults can be ordered: failing operations, a full disk, flipped bits, slowness.
//!
//! Adversarial on purpose where file systems are kinder: syncing a file does not make its name durable,
//! and the name changes of each directory survive as any prefix.

use crate::disk::{Disk, DiskFile, DiskResult, Entry};
use crate::error::DiskError;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

const PAGE: u64 = 4096;
/// Torn writes tear at multiples of this.
const TEAR_BYTES: usize = 512;

/// See the module's head. Clones share the disk.
#[derive(Clone)]
pub struct FakeDisk {
    state: Arc<Mutex<State>>,
    sector_bytes: u32,
}

/// An operation that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    WriteDurable,
    Write,
    Sync,
    Read,
    Allocate,
    Rename,
    SyncDir,
}

/// How often something was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub durable_writes: u64,
    pub writes: u64,
    pub syncs: u64,
    pub reads: u64,
    pub bytes_written: u64,
}

struct Fault {
    operation: Operation,
    path_contains: String,
    after: u64,
    kind: io::ErrorKind,
}

struct State {
    rng: SmallRng,
    /// Handles of before the last crash are dead.
    generation: u64,
    files: BTreeMap<u64, Inode>,
    next_inode: u64,
    names: BTreeMap<String, u64>,
    stable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    dirs: BTreeSet<String>,
    capacity: u64,
    faults: Vec<Fault>,
    counts: Counts,
    delay: Duration,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, u64),
    Rename(String, String),
    Remove(String),
}

type Pages = BTreeMap<u64, Arc<[u8; PAGE as usize]>>;

#[derive(Default)]
struct Inode {
    /// What a read sees.
    now: Pages,
    len: u64,
    stable: Pages,
    stable_len: u64,
    /// Written and not synced, or announced and not finished.
    unsynced: Vec<(u64, Vec<u8>)>,
    announced: Vec<(u64, Vec<u8>)>,
}

impl FakeDisk {
    /// An empty disk. `sector_bytes`: 512 or 4096.
    pub fn new(seed: u64, sector_bytes: u32) -> FakeDisk {
        let state = State {
            rng: SmallRng::seed_from_u64(seed),
            generation: 0,
            files: BTreeMap::new(),
            next_inode: 1,
            names: BTreeMap::new(),
            stable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            dirs: BTreeSet::from([String::new()]),
            capacity: u64::MAX / 2,
            faults: Vec::new(),
            counts: Counts::default(),
            delay: Duration::ZERO,
        };
        FakeDisk { state: Arc::new(Mutex::new(state)), sector_bytes }
    }

    /// Power goes and comes back: what was not on stable storage survives in part, by chance. Open files
    /// stop working; orders for faults are forgotten.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.faults.clear();
        let State { rng, files, names, stable_names, name_changes, .. } = &mut *state;
        keep_some_names(rng, stable_names, name_changes);
        *names = stable_names.clone();
        let live: BTreeSet<u64> = names.values().copied().collect();
        files.retain(|inode, _| live.contains(inode));
        files.values_mut().for_each(|file| file.crash(rng));
    }

    /// The process goes, the machine stays: everything written survives (`kill -9`). Announced writes that
    /// were not finished survive in part.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.generation += 1;
        state.faults.clear();
        let State { rng, files, .. } = &mut *state;
        for file in files.values_mut() {
            for (position, data) in std::mem::take(&mut file.announced) {
                let kept = survivors(rng, data.len());
                for (i, piece) in data.chunks(TEAR_BYTES).enumerate().filter(|(i, _)| kept[*i]) {
                    file.write(position + (i * TEAR_BYTES) as u64, piece.to_vec());
                }
            }
        }
    }

    /// The `after`+1-th `operation` from now on a path containing `path_contains` fails with `kind`, once.
    /// A failing write may still have written a part.
    pub fn fail(&self, operation: Operation, path_contains: &str, after: u64, kind: io::ErrorKind) {
        let path_contains = path_contains.to_string();
        self.state.lock().faults.push(Fault { operation, path_contains, after, kind });
    }

    /// Forgets what was ordered by [`FakeDisk::fail`] and has not happened.
    pub fn forget_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Bytes that all files together may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that all files take.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used()
    }

    /// Each durable write and sync takes this long (only of use with threads).
    pub fn set_delay(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// Flips one bit on stable storage. Returns whether there is such a byte.
    pub fn flip_bit(&self, path: &str, position: u64, bit: u8) -> bool {
        let mut state = self.state.lock();
        let Some(file) = state.find(path).and_then(|inode| state.files.get_mut(&inode)) else { return false };
        if position >= file.len {
            return false;
        }
        for pages in [&mut file.now, &mut file.stable] {
            let page = pages.entry(position / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[(position % PAGE) as usize] ^= 1 << (bit % 8);
        }
        true
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    fn pause(&self) {
        let delay = self.state.lock().delay;
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
    }

    fn handle(&self, state: &State, path: &str, inode: u64) -> Arc<dyn DiskFile> {
        Arc::new(FakeFile { disk: self.clone(), path: path.to_string(), inode, generation: state.generation })
    }
}

impl State {
    fn find(&self, path: &str) -> Option<u64> {
        self.names.get(path).copied()
    }

    fn used(&self) -> u64 {
        self.files.values().map(|f| f.len.next_multiple_of(PAGE)).sum()
    }

    fn fault(&mut self, operation: Operation, path: &str, position: Option<u64>) -> DiskResult<()> {
        let hits = |f: &Fault| f.operation == operation && path.contains(&f.path_contains);
        for i in 0..self.faults.len() {
            if !hits(&self.faults[i]) {
                continue;
            }
            if self.faults[i].after == 0 {
                let kind = self.faults.remove(i).kind;
                return Err(DiskError::new("injected fault in", path, position, kind.into()));
            }
            self.faults[i].after -= 1;
        }
        Ok(())
    }

    /// Fails if a file growing from `from` to `to` bytes does not fit.
    fn room(&self, path: &str, from: u64, to: u64) -> DiskResult<()> {
        let more = to.next_multiple_of(PAGE).saturating_sub(from.next_multiple_of(PAGE));
        if more > 0 && self.used() + more > self.capacity {
            return Err(DiskError::new("extend", path, Some(from), io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }
}

impl Disk for FakeDisk {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn describe(&self) -> String {
        "fake disk".to_string()
    }

    fn open(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        let state = self.state.lock();
        match state.find(path) {
            Some(inode) => Ok(self.handle(&state, path, inode)),
            None => Err(DiskError::new("open", path, None, io::ErrorKind::NotFound.into())),
        }
    }

    fn create(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        let dir = directory(path).to_string();
        if !state.dirs.contains(&dir) {
            return Err(DiskError::new("create", path, None, io::ErrorKind::NotFound.into()));
        }
        if let Some(inode) = state.find(path) {
            let file = state.files.get_mut(&inode).expect("a name leads to a file");
            file.truncate(0);
            return Ok(self.handle(&state, path, inode));
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.files.insert(inode, Inode::default());
        state.names.insert(path.to_string(), inode);
        state.name_changes.push(NameChange::Create(path.to_string(), inode));
        Ok(self.handle(&state, path, inode))
    }

    fn create_dir(&self, dir: &str) -> DiskResult<()> {
        self.state.lock().dirs.insert(dir.to_string());
        Ok(())
    }

    fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        let state = self.state.lock();
        let inside = state.names.iter().filter(|(path, _)| directory(path) == dir);
        Ok(inside
            .map(|(path, inode)| Entry { name: base(path).to_string(), len: state.files[inode].len })
            .collect())
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let mut state = self.state.lock();
        state.fault(Operation::Rename, from, None)?;
        let Some(inode) = state.names.remove(from) else {
            return Err(DiskError::new("rename", from, None, io::ErrorKind::NotFound.into()));
        };
        state.names.insert(to.to_string(), inode);
        state.name_changes.push(NameChange::Rename(from.to_string(), to.to_string()));
        Ok(())
    }

    fn remove(&self, path: &str) -> DiskResult<()> {
        let mut state = self.state.lock();
        match state.names.remove(path) {
            Some(_) => {
                state.name_changes.push(NameChange::Remove(path.to_string()));
                // A crash may bring the name back, and then its content: the space is free after sync_dir.
                Ok(())
            }
            None => Err(DiskError::new("remove", path, None, io::ErrorKind::NotFound.into())),
        }
    }

    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        self.pause();
        let mut state = self.state.lock();
        state.counts.syncs += 1;
        state.fault(Operation::SyncDir, dir, None)?;
        let State { stable_names, name_changes, files, names, .. } = &mut *state;
        let (here, rest) = std::mem::take(name_changes).into_iter().partition(|c| c.directory() == dir);
        *name_changes = rest;
        let here: Vec<NameChange> = here;
        here.iter().for_each(|change| change.apply(stable_names));
        // A crash may keep a creation whose removal it loses.
        let created = |i: &u64| name_changes.iter().any(|c| matches!(c, NameChange::Create(_, n) if n == i));
        files.retain(|i, _| {
            names.values().any(|n| n == i) || stable_names.values().any(|n| n == i) || created(i)
        });
        Ok(())
    }

    fn free_bytes(&self) -> DiskResult<u64> {
        let state = self.state.lock();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl NameChange {
    fn directory(&self) -> &str {
        match self {
            NameChange::Create(path, _) | NameChange::Rename(path, _) | NameChange::Remove(path) => {
                directory(path)
            }
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

fn keep_some_names(rng: &mut SmallRng, stable: &mut BTreeMap<String, u64>, changes: &mut Vec<NameChange>) {
    let dirs: BTreeSet<String> = changes.iter().map(|c| c.directory().to_string()).collect();
    for dir in dirs {
        let here: Vec<&NameChange> = changes.iter().filter(|c| c.directory() == dir).collect();
        let keep = rng.random_range(0..=here.len());
        here[..keep].iter().for_each(|change| change.apply(stable));
    }
    changes.clear();
}

impl Inode {
    fn apply_now(&mut self, position: u64, data: &[u8], kept: &[bool]) {
        put(&mut self.now, position, data, kept);
        self.len = self.len.max(position + data.len() as u64);
    }

    fn write(&mut self, position: u64, data: Vec<u8>) {
        self.supersede(position, &data);
        self.apply_now(position, &data, &[]);
        self.unsynced.push((position, data));
    }

    fn write_durable(&mut self, position: u64, data: &[u8]) {
        self.announced.retain(|(p, d)| *p != position || d.len() != data.len());
        self.supersede(position, data);
        self.apply_now(position, data, &[]);
        put(&mut self.stable, position, data, &[]);
        self.stable_len = self.stable_len.max(position + data.len() as u64);
    }

    /// Older writes that are not synced yet can no longer bring back what `data` overwrites.
    fn supersede(&mut self, position: u64, data: &[u8]) {
        for (start, old) in &mut self.unsynced {
            let from = position.max(*start);
            let to = (position + data.len() as u64).min(*start + old.len() as u64);
            if from < to {
                let new = &data[(from - position) as usize..(to - position) as usize];
                old[(from - *start) as usize..(to - *start) as usize].copy_from_slice(new);
            }
        }
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.stable = self.now.clone();
        self.stable_len = self.len;
    }

    fn truncate(&mut self, len: u64) {
        self.len = len;
        cut(&mut self.now, len);
    }

    fn crash(&mut self, rng: &mut SmallRng) {
        let truncated = self.len < self.stable_len && rng.random();
        let lost_growth = self.len > self.stable_len && rng.random();
        for (position, data) in
            std::mem::take(&mut self.unsynced).into_iter().chain(std::mem::take(&mut self.announced))
        {
            let kept = survivors(rng, data.len());
            put(&mut self.stable, position, &data, &kept);
        }
        let len = match (truncated, lost_growth) {
            (true, _) => self.len,
            (false, true) => self.stable_len,
            (false, false) => self.len.max(self.stable_len),
        };
        cut(&mut self.stable, len);
        self.now = self.stable.clone();
        self.len = len;
        self.stable_len = len;
    }
}

/// Which pieces of a write that was under way survive: none, all, or each by chance.
fn survivors(rng: &mut SmallRng, len: usize) -> Vec<bool> {
    let pieces = len.div_ceil(TEAR_BYTES);
    match rng.random_range(0..3) {
        0 => vec![false; pieces],
        1 => vec![true; pieces],
        _ => (0..pieces).map(|_| rng.random()).collect(),
    }
}

/// Copies `data` into `pages`; of its pieces only those that are `kept` (empty: all).
fn put(pages: &mut Pages, position: u64, data: &[u8], kept: &[bool]) {
    for (i, piece) in data.chunks(TEAR_BYTES).enumerate() {
        if kept.get(i).is_some_and(|keep| !keep) {
            continue;
        }
        let at = position + (i * TEAR_BYTES) as u64;
        let page = pages.entry(at / PAGE).or_insert_with(|| Arc::new([0; PAGE as usize]));
        let from = (at % PAGE) as usize;
        Arc::make_mut(page)[from..from + piece.len()].copy_from_slice(piece);
    }
}

fn cut(pages: &mut Pages, len: u64) {
    pages.split_off(&len.div_ceil(PAGE));
    if !len.is_multiple_of(PAGE)
        && let Some(page) = pages.get_mut(&(len / PAGE))
    {
        Arc::make_mut(page)[(len % PAGE) as usize..].fill(0);
    }
}

struct FakeFile {
    disk: FakeDisk,
    path: String,
    inode: u64,
    generation: u64,
}

impl FakeFile {
    fn with<T>(
        &self,
        operation: &'static str,
        call: impl FnOnce(&mut State, u64) -> DiskResult<T>,
    ) -> DiskResult<T> {
        let mut state = self.disk.state.lock();
        if state.generation != self.generation || !state.files.contains_key(&self.inode) {
            let gone = io::Error::other("the machine was restarted since the file was opened");
            return Err(DiskError::new(operation, self.path.clone(), None, gone));
        }
        call(&mut state, self.inode)
    }

    fn check(&self, position: u64, len: usize) {
        let sector = u64::from(self.disk.sector_bytes);
        assert!(position.is_multiple_of(sector) && (len as u64).is_multiple_of(sector), "unaligned write");
    }
}

fn joined(data: &[IoSlice<'_>]) -> Vec<u8> {
    data.iter().flat_map(|piece| piece.iter().copied()).collect()
}

fn file(state: &mut State, inode: u64) -> &mut Inode {
    state.files.get_mut(&inode).expect("checked by with()")
}

impl DiskFile for FakeFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn write_durable(&self, position: u64, data: &[IoSlice<'_>]) -> DiskResult<()> {
        self.disk.pause();
        let data = joined(data);
        self.check(position, data.len());
        self.with("durable write", |state, inode| {
            state.counts.durable_writes += 1;
            state.counts.bytes_written += data.len() as u64;
            let len = file(state, inode).len;
            state.room(&self.path, len, len.max(position + data.len() as u64))?;
            if let Err(e) = state.fault(Operation::WriteDurable, &self.path, Some(position)) {
                let kept = survivors(&mut state.rng, data.len());
                put(&mut file(state, inode).stable, position, &data, &kept);
                put(&mut file(state, inode).now, position, &data, &kept);
                return Err(e);
            }
            file(state, inode).write_durable(position, &data);
            Ok(())
        })
    }

    fn write(&self, position: u64, data: &[u8]) -> DiskResult<()> {
        self.check(position, data.len());
        self.with("write", |state, inode| {
            state.counts.writes += 1;
            state.counts.bytes_written += data.len() as u64;
            state.fault(Operation::Write, &self.path, Some(position))?;
            let len = file(state, inode).len;
            state.room(&self.path, len, len.max(position + data.len() as u64))?;
            file(state, inode).write(position, data.to_vec());
            Ok(())
        })
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize> {
        self.with("read", |state, inode| {
            state.counts.reads += 1;
            state.fault(Operation::Read, &self.path, Some(position))?;
            let file = file(state, inode);
            let n = (file.len.saturating_sub(position)).min(buf.len() as u64) as usize;
            let mut at = 0;
            while at < n {
                let here = position + at as u64;
                let from = (here % PAGE) as usize;
                let len = (PAGE as usize - from).min(n - at);
                match file.now.get(&(here / PAGE)) {
                    Some(page) => buf[at..at + len].copy_from_slice(&page[from..from + len]),
                    None => buf[at..at + len].fill(0),
                }
                at += len;
            }
            Ok(n)
        })
    }

    fn allocate(&self, len: u64) -> DiskResult<()> {
        self.with("allocate", |state, inode| {
            state.fault(Operation::Allocate, &self.path, None)?;
            let have = file(state, inode).len;
            state.room(&self.path, have, len.max(have))?;
            file(state, inode).len = len.max(have);
            Ok(())
        })
    }

    fn write_zeros(&self, position: u64, len: u64) -> DiskResult<()> {
        let sector = u64::from(self.disk.sector_bytes);
        assert!(position.is_multiple_of(sector) && len.is_multiple_of(sector), "unaligned zeros");
        // Absent pages are zeros already; what was there before is overwritten.
        let zeros = vec![0; len as usize];
        self.with("write zeros", |state, inode| {
            state.fault(Operation::Write, &self.path, Some(position))?;
            let have = file(state, inode).len;
            state.room(&self.path, have, have.max(position + len))?;
            let file = file(state, inode);
            if file.now.range(position / PAGE..(position + len).div_ceil(PAGE)).next().is_some() {
                file.write(position, zeros);
            } else {
                file.len = file.len.max(position + len);
            }
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> DiskResult<()> {
        self.with("truncate", |state, inode| {
            file(state, inode).truncate(len);
            Ok(())
        })
    }

    fn len(&self) -> DiskResult<u64> {
        self.with("stat", |state, inode| Ok(file(state, inode).len))
    }

    fn sync(&self) -> DiskResult<()> {
        self.disk.pause();
        self.with("sync", |state, inode| {
            state.counts.syncs += 1;
            state.fault(Operation::Sync, &self.path, None)?;
            file(state, inode).sync();
            Ok(())
        })
    }

    fn announce(&self, position: u64, data: &[IoSlice<'_>]) {
        let data = joined(data);
        let _ = self.with("announce", |state, inode| {
            file(state, inode).announced.push((position, data));
            Ok(())
        });
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(data: &[u8]) -> [IoSlice<'_>; 1] {
        [IoSlice::new(data)]
    }

    #[test]
    fn only_what_was_synced_is_sure_to_survive() {
        let (mut lost, mut torn, mut whole, mut nameless) = (0, 0, 0, 0);
        for seed in 0..200 {
            let disk = FakeDisk::new(seed, 512);
            let file = disk.create("a").unwrap();
            file.write_durable(0, &pieces(&[1; 4096])).unwrap();
            disk.sync_dir("").unwrap();
            file.write(4096, &[2; 4096]).unwrap();
            disk.create("b").unwrap();
            disk.crash();
            assert!(file.sync().is_err(), "handles of before the crash are dead");
            let file = disk.open("a").unwrap();
            let mut buf = vec![0; 8192];
            let n = file.read_at(0, &mut buf).unwrap();
            assert_eq!(&buf[..4096], &[1; 4096]);
            match buf[4096..n].iter().filter(|b| **b == 2).count() {
                0 => lost += 1,
                4096 => whole += 1,
                _ => torn += 1,
            }
            nameless += usize::from(disk.open("b").is_err());
        }
        assert!(lost > 20 && torn > 20 && whole > 20 && nameless > 20, "{lost} {torn} {whole} {nameless}");
    }

    #[test]
    fn it_is_full_at_its_capacity_and_fails_when_told() {
        let disk = FakeDisk::new(1, 512);
        disk.set_capacity(8192);
        let file = disk.create("a").unwrap();
        file.allocate(8192).unwrap();
        assert!(file.allocate(8193).unwrap_err().is_full());
        disk.fail(Operation::WriteDurable, "a", 1, io::ErrorKind::Other);
        file.write_durable(0, &pieces(&[1; 512])).unwrap();
        assert!(file.write_durable(0, &pieces(&[1; 512])).is_err());
        file.write_durable(0, &pieces(&[1; 512])).unwrap();
    }
}
