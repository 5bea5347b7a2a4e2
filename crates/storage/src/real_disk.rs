//! The operating system's disk: direct, synchronous writes where the file system takes them.
//!
//! On opening, a real write finds out whether O_DIRECT and RWF_DSYNC work and with which sector. Direct
//! writes skip the page cache, report an error to the very write that failed, and recovery reads what is
//! on the medium. Without O_DIRECT (tmpfs, some network mounts) writes are buffered, then synced.
//!
//! The sector is the device's *physical* one: a drive that emulates 512-byte sectors on 4096-byte ones
//! rewrites acknowledged neighbours when one small sector is written, and may lose them with the power.

use crate::disk::{Disk, DiskFile, DiskResult, Entry};
use crate::error::{DiskError, OpenError};
use bowline_model::AlignedBuf;
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const PROBE_FILE: &str = ".probe";
const LOCK_FILE: &str = "LOCK";
/// Bytes written at a time when zeroing.
const ZERO_BYTES: usize = 256 << 10;
/// The kernel takes at most this many pieces in one vectored write.
const IOV_MAX: usize = 1024;

/// How a disk writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    direct: bool,
    /// `pwritev2` takes RWF_DSYNC; otherwise each durable write is followed by fdatasync.
    dsync: bool,
    /// "Durable" writes end when the operating system has them.
    relaxed: bool,
    sector_bytes: u32,
}

/// A data directory of the file system.
pub struct RealDisk {
    root: PathBuf,
    way: Way,
    read_only: bool,
    /// Holds the directory lock as long as it is open.
    _lock: Option<File>,
}

impl RealDisk {
    /// Opens the directory for use by a node, making it if need be, and locks it.
    pub fn open(root: impl AsRef<Path>) -> Result<RealDisk, OpenError> {
        let root = root.as_ref().to_path_buf();
        std::fs::create_dir_all(&root)
            .map_err(|e| DiskError::new("create directory", root.display().to_string(), None, e))?;
        let lock = lock(&root)?;
        let way = probe(&root)?;
        tracing::debug!(path = %root.display(), direct = way.direct, sector = way.sector_bytes, "data directory opened");
        Ok(RealDisk { root, way, read_only: false, _lock: Some(lock) })
    }

    /// Opens an existing directory without locking it: for files that are nobody's data.
    pub(crate) fn unlocked(root: &Path) -> Result<RealDisk, DiskError> {
        let way = probe(root)?;
        let _ = std::fs::remove_file(root.join(PROBE_FILE));
        Ok(RealDisk { root: root.to_path_buf(), way, read_only: false, _lock: None })
    }

    /// Opens the directory for looking only: takes no lock and changes nothing. What a running node
    /// writes meanwhile may be seen half done.
    pub fn open_read_only(root: impl AsRef<Path>) -> RealDisk {
        let way = Way { direct: false, dsync: false, relaxed: false, sector_bytes: 4096 };
        RealDisk { root: root.as_ref().to_path_buf(), way, read_only: true, _lock: None }
    }

    /// The process that has the directory open, if one has.
    pub fn locked_by(root: impl AsRef<Path>) -> Option<String> {
        let mut file = File::open(root.as_ref().join(LOCK_FILE)).ok()?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => None,
            Err(_) => Some(read_pid(&mut file)),
        }
    }

    /// As this disk, but durable writes return when the operating system has the data: a crash of the process
    /// loses nothing, one of the kernel or the power may. Syncs that order files (checkpoints, names) remain.
    pub fn relaxed(mut self) -> RealDisk {
        self.way.direct = false;
        self.way.relaxed = true;
        self
    }

    /// Whether writes bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.way.direct
    }

    fn full(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, path: &str, flags: OFlags) -> DiskResult<Arc<dyn DiskFile>> {
        let direct = if self.way.direct { OFlags::DIRECT } else { OFlags::empty() };
        let fd =
            rustix::fs::open(self.full(path), flags | OFlags::CLOEXEC | direct, Mode::from_raw_mode(0o640))
                .map_err(|e| DiskError::new("open", path, None, e.into()))?;
        Ok(Arc::new(RealFile {
            path: path.to_string(),
            file: File::from(fd),
            way: self.way,
            no_dsync: AtomicBool::new(!self.way.dsync),
        }))
    }
}

impl Disk for RealDisk {
    fn sector_bytes(&self) -> u32 {
        self.way.sector_bytes
    }

    fn is_relaxed(&self) -> bool {
        self.way.relaxed
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn open(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        self.file(path, if self.read_only { OFlags::RDONLY } else { OFlags::RDWR })
    }

    fn create(&self, path: &str) -> DiskResult<Arc<dyn DiskFile>> {
        self.file(path, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
    }

    fn create_dir(&self, dir: &str) -> DiskResult<()> {
        match std::fs::create_dir(self.full(dir)) {
            Ok(()) => self.sync_dir(""),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(DiskError::new("create directory", dir, None, e)),
        }
    }

    fn list(&self, dir: &str) -> DiskResult<Vec<Entry>> {
        let fail = |e| DiskError::new("list", dir, None, e);
        let mut entries = Vec::new();
        let iter = match std::fs::read_dir(self.full(dir)) {
            Ok(iter) => iter,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(entries),
            Err(e) => return Err(fail(e)),
        };
        for entry in iter {
            let entry = entry.map_err(fail)?;
            let meta = entry.metadata().map_err(fail)?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                entries.push(Entry { name, len: meta.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        std::fs::rename(self.full(from), self.full(to)).map_err(|e| DiskError::new("rename", from, None, e))
    }

    fn remove(&self, path: &str) -> DiskResult<()> {
        std::fs::remove_file(self.full(path)).map_err(|e| DiskError::new("remove", path, None, e))
    }

    fn sync_dir(&self, dir: &str) -> DiskResult<()> {
        File::open(self.full(dir))
            .and_then(|d| d.sync_all())
            .map_err(|e| DiskError::new("sync directory", dir, None, e))
    }

    fn free_bytes(&self) -> DiskResult<u64> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|e| DiskError::new("statvfs", "", None, e.into()))?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn total_bytes(&self) -> DiskResult<u64> {
        let stat =
            rustix::fs::statvfs(&self.root).map_err(|e| DiskError::new("statvfs", "", None, e.into()))?;
        Ok(stat.f_blocks * stat.f_frsize)
    }
}

struct RealFile {
    path: String,
    file: File,
    way: Way,
    /// RWF_DSYNC turned out not to be supported by this file's file system.
    no_dsync: AtomicBool,
}

impl RealFile {
    fn fail(&self, operation: &'static str, position: u64, source: io::Error) -> DiskError {
        DiskError::new(operation, self.path.clone(), Some(position), source)
    }

    /// One vectored write; goes on after a short one. A zero-length write is an error: no progress.
    fn write_vectored(
        &self,
        position: u64,
        data: &[IoSlice<'_>],
        flags: ReadWriteFlags,
    ) -> Result<(), Errno> {
        let total: usize = data.iter().map(|d| d.len()).sum();
        let first = data.len().min(IOV_MAX);
        let mut done = retry(|| rustix::io::pwritev2(&self.file, &data[..first], position, flags))?;
        while done < total {
            // Rare: the kernel wrote a part. What is left starts inside one of the pieces.
            let mut skip = done;
            let mut rest: Vec<IoSlice<'_>> = Vec::with_capacity(data.len());
            for piece in data {
                let from = skip.min(piece.len());
                skip -= from;
                if from < piece.len() && rest.len() < IOV_MAX {
                    rest.push(IoSlice::new(&piece[from..]));
                }
            }
            match retry(|| rustix::io::pwritev2(&self.file, &rest, position + done as u64, flags))? {
                0 => return Err(Errno::IO),
                n => done += n,
            }
        }
        Ok(())
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn write_durable(&self, position: u64, data: &[IoSlice<'_>]) -> DiskResult<()> {
        debug_assert!(position.is_multiple_of(u64::from(self.way.sector_bytes)));
        if self.way.relaxed {
            return self
                .write_vectored(position, data, ReadWriteFlags::empty())
                .map_err(|e| self.fail("write", position, e.into()));
        }
        if !self.no_dsync.load(Ordering::Relaxed) {
            match self.write_vectored(position, data, ReadWriteFlags::DSYNC) {
                // The flag is refused before anything is written, so this is no retry of a failed write.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.no_dsync.store(true, Ordering::Relaxed),
                result => return result.map_err(|e| self.fail("durable write", position, e.into())),
            }
        }
        self.write_vectored(position, data, ReadWriteFlags::empty())
            .map_err(|e| self.fail("write", position, e.into()))?;
        self.file.sync_data().map_err(|e| self.fail("sync", position, e))
    }

    fn write(&self, position: u64, data: &[u8]) -> DiskResult<()> {
        self.write_vectored(position, &[IoSlice::new(data)], ReadWriteFlags::empty())
            .map_err(|e| self.fail("write", position, e.into()))
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize> {
        let align = u64::from(self.way.sector_bytes);
        let aligned = position.is_multiple_of(align)
            && (buf.len() as u64).is_multiple_of(align)
            && (buf.as_ptr() as usize).is_multiple_of(bowline_model::block::BLOCK_ALIGN);
        if aligned || !self.way.direct {
            return self.read_aligned(position, buf);
        }
        // Direct I/O wants everything aligned: read around it and copy.
        let start = position / align * align;
        let end = (position + buf.len() as u64).next_multiple_of(align);
        let mut around = AlignedBuf::zeroed((end - start) as usize);
        let got = self.read_aligned(start, around.as_mut_slice())?;
        let skip = (position - start) as usize;
        let n = got.saturating_sub(skip).min(buf.len());
        buf[..n].copy_from_slice(&around.as_slice()[skip..skip + n]);
        Ok(n)
    }

    fn allocate(&self, len: u64) -> DiskResult<()> {
        let have = self.len()?;
        if have >= len {
            return Ok(());
        }
        match retry(|| rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            // No space can be promised here; the length at least.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.file.set_len(len).map_err(|e| self.fail("allocate", have, e))
            }
            Err(e) => Err(self.fail("allocate", have, e.into())),
        }
    }

    fn write_zeros(&self, position: u64, len: u64) -> DiskResult<()> {
        static ZEROS: OnceLock<AlignedBuf> = OnceLock::new();
        let zeros = ZEROS.get_or_init(|| AlignedBuf::zeroed(ZERO_BYTES)).as_slice();
        let mut at = position;
        while at < position + len {
            let n = (position + len - at).min(ZERO_BYTES as u64) as usize;
            self.write(at, &zeros[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> DiskResult<()> {
        self.file.set_len(len).map_err(|e| self.fail("truncate", len, e))
    }

    fn len(&self) -> DiskResult<u64> {
        Ok(self.file.metadata().map_err(|e| self.fail("stat", 0, e))?.len())
    }

    fn sync(&self) -> DiskResult<()> {
        self.file.sync_data().map_err(|e| self.fail("sync", 0, e))
    }
}

/// Read with one call, bytes. A disk serves what it is asked for in turn, and the commit of a message does not wait for
/// megabytes that somebody who is far behind reads. Larger pieces are hardly faster.
const READ_PIECE_BYTES: usize = 1 << 20;

impl RealFile {
    fn read_aligned(&self, position: u64, buf: &mut [u8]) -> DiskResult<usize> {
        let mut done = 0;
        while done < buf.len() {
            let upto = buf.len().min(done + READ_PIECE_BYTES);
            match retry(|| rustix::io::pread(&self.file, &mut buf[done..upto], position + done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) => return Err(self.fail("read", position + done as u64, e.into())),
            }
            // A short direct read that ends off the alignment is the end of the file.
            if self.way.direct && !done.is_multiple_of(self.way.sector_bytes as usize) {
                break;
            }
        }
        Ok(done)
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join(LOCK_FILE);
    let fail = |operation, e| DiskError::new(operation, LOCK_FILE, None, e);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| fail("open", e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(OpenError::Locked { path: root.display().to_string(), pid: read_pid(&mut file) });
        }
        Err(e) => return Err(fail("lock", e.into()).into()),
    }
    // For people and for the second opener's message; the lock itself is the kernel's.
    file.set_len(0).map_err(|e| fail("write", e))?;
    writeln!(file, "{}", std::process::id()).map_err(|e| fail("write", e))?;
    Ok(file)
}

fn read_pid(file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let pid = text.trim();
    if pid.is_empty() { "unknown".to_string() } else { pid.to_string() }
}

/// Finds the best way of writing that really works here, by writing.
///
/// The file stays, so that its blocks are there when the disk is full at the next start. Should even that fail for want
/// of space, what works everywhere is taken: a node must start on a full disk, or nobody could make room in its queues.
fn probe(root: &Path) -> Result<Way, DiskError> {
    let path = root.join(PROBE_FILE);
    let fail = |e: Errno| DiskError::new("probe", PROBE_FILE, None, e.into());
    let least = physical_sector(root);
    let buf = AlignedBuf::zeroed(4096);
    let create = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let everywhere = Way { direct: false, dsync: false, relaxed: false, sector_bytes: least.max(4096) };
    for (direct, sector_bytes) in [(true, 512), (true, 4096), (false, 4096)] {
        if direct && sector_bytes < least {
            continue;
        }
        let flags = if direct { create | OFlags::DIRECT } else { create };
        let fd = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o640)) {
            Ok(fd) => fd,
            Err(Errno::INVAL | Errno::OPNOTSUPP) if direct => continue,
            Err(Errno::NOSPC | Errno::DQUOT) => return Ok(everywhere),
            Err(e) => return Err(fail(e)),
        };
        let data = [IoSlice::new(&buf.as_slice()[..sector_bytes as usize])];
        let at = u64::from(sector_bytes);
        let dsync = match retry(|| rustix::io::pwritev2(&fd, &data, at, ReadWriteFlags::DSYNC)) {
            Ok(_) => true,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => match retry(|| rustix::io::pwritev(&fd, &data, at)) {
                Ok(_) => false,
                Err(Errno::INVAL) if direct => continue,
                Err(Errno::NOSPC | Errno::DQUOT) => return Ok(everywhere),
                Err(e) => return Err(fail(e)),
            },
            Err(Errno::INVAL) if direct => continue,
            Err(Errno::NOSPC | Errno::DQUOT) => return Ok(everywhere),
            Err(e) => return Err(fail(e)),
        };
        return Ok(Way { direct, dsync, relaxed: false, sector_bytes });
    }
    Err(fail(Errno::INVAL))
}

/// The physical sector of the device under `root`; 4096 when it is not known.
fn physical_sector(root: &Path) -> u32 {
    let Ok(meta) = std::fs::metadata(root) else { return 4096 };
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    // A partition has no queue of its own; its device, one level up, has.
    ["queue", "../queue"]
        .iter()
        .find_map(|queue| std::fs::read_to_string(device.join(queue).join("physical_block_size")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(4096)
}
