//! Checkpoints: two files, written in turn, so that a crash while writing leaves the other.
//!
//! A checkpoint is its header, a manifest (what recovery and recycling must know) and the states of the
//! shards, each with its checksum. The header is written last. What a checkpoint refers to is recycled
//! only when neither it nor the one after it needs it any more, so that if the newest turns out to be
//! damaged, the one before still works.

use crate::disk::{Disk, DiskFile, DiskResult};
use crate::error::DiskError;
use crate::header::{get32, get64, put32, put64};
use crate::segments::QUARANTINE_DIR;
use crate::types::{Checkpoint, ShardCheckpoint};
use bowline_model::record::crc32c;
use bowline_model::{AlignedBuf, Lsn, ShardId};
use std::collections::BTreeSet;
use std::io::IoSlice;
use std::sync::Arc;

const FILES: [&str; 2] = ["checkpoint.0", "checkpoint.1"];
const MAGIC: [u8; 8] = *b"BOWLCKPT";
const VERSION: u32 = 1;
/// Sections begin at multiples of this; the header is the first.
const SECTION_ALIGN: u64 = 4096;
const HEADER_USED: usize = 512;
/// Bytes of a shard in the manifest.
const SHARD_BYTES: usize = 48;
/// Larger manifests are damage: 64 Ki shards and 8 M files.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Bytes of state written or read at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What a checkpoint needs of the other files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    pub sequence: u64,
    /// Where recovery starts to scan.
    pub scan_from: Lsn,
    pub live_segments: BTreeSet<u32>,
    pub live_cold: BTreeSet<u32>,
}

impl Needs {
    pub fn segment(&self, number: u32) -> bool {
        number >= self.scan_from.segment() || self.live_segments.contains(&number)
    }
}

/// Where the next checkpoint goes, and what the present ones need.
#[derive(Default)]
pub(crate) struct Checkpoints {
    slot: usize,
    sequence: u64,
    pub newest: Option<Needs>,
    pub previous: Option<Needs>,
}

/// The checkpoint that recovery uses.
pub(crate) struct Found {
    pub checkpoint: Checkpoint,
    pub durable_upto: Lsn,
    pub needs: Needs,
}

/// Why a checkpoint cannot be used.
enum Unusable {
    Damaged(String),
    Unread(DiskError),
}

struct Manifest {
    sequence: u64,
    durable_upto: Lsn,
    needs: Needs,
    shards: Vec<Section>,
}

struct Section {
    checkpoint: ShardCheckpoint,
    crc: u32,
    position: u64,
    len: u64,
}

impl Checkpoints {
    /// Reads both files; takes the newest that is whole. Damage is put into `notes`.
    ///
    /// One that cannot be read now may be readable at the next start, and be the newest then: what is written until
    /// then may lie where it wants nothing replayed. So there is no start without it, unless the operator accepts that
    /// it is set aside for good (`accept_loss`).
    pub fn open(
        disk: &dyn Disk,
        accept_loss: bool,
        notes: &mut Vec<String>,
    ) -> DiskResult<(Checkpoints, Option<Found>)> {
        let mut manifests = Vec::new();
        for (slot, path) in FILES.iter().enumerate() {
            let file = match disk.open(path) {
                Ok(file) => file,
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(e),
            };
            match read_manifest(&*file) {
                Ok(manifest) => manifests.push((slot, file, manifest)),
                Err(reason) => reason.note(disk, path, accept_loss, notes)?,
            }
        }
        manifests.sort_by_key(|(_, _, m)| std::cmp::Reverse(m.sequence));
        let sequence = manifests.first().map_or(0, |(_, _, m)| m.sequence);
        while !manifests.is_empty() {
            let (slot, file, manifest) = manifests.remove(0);
            match read_states(&*file, &manifest) {
                Ok(shards) => {
                    let previous = manifests.into_iter().next().map(|(_, _, m)| m.needs);
                    let needs = manifest.needs;
                    let checkpoint = Checkpoint {
                        shards,
                        live_segments: needs.live_segments.clone(),
                        live_cold: needs.live_cold.clone(),
                    };
                    let next =
                        Checkpoints { slot: 1 - slot, sequence, newest: Some(needs.clone()), previous };
                    return Ok((
                        next,
                        Some(Found { checkpoint, durable_upto: manifest.durable_upto, needs }),
                    ));
                }
                Err(reason) => reason.note(disk, FILES[slot], accept_loss, notes)?,
            }
        }
        Ok((Checkpoints { slot: 0, sequence, newest: None, previous: None }, None))
    }

    /// Writes `checkpoint`; it counts when this returns. Returns the bytes written.
    pub fn write(&mut self, disk: &dyn Disk, checkpoint: &Checkpoint, durable_upto: Lsn) -> DiskResult<u64> {
        let sequence = self.sequence + 1;
        let manifest_position = SECTION_ALIGN;
        let counts = checkpoint.shards.len() * SHARD_BYTES
            + 4 * (2 + checkpoint.live_segments.len() + checkpoint.live_cold.len());
        let mut position = manifest_position + (counts as u64).next_multiple_of(SECTION_ALIGN);
        let mut manifest = Vec::with_capacity(counts);
        let mut places = Vec::new();
        for shard in &checkpoint.shards {
            encode_shard(&mut manifest, shard, position);
            places.push(position);
            position += (shard.state.len() as u64).next_multiple_of(SECTION_ALIGN);
        }
        for list in [&checkpoint.live_segments, &checkpoint.live_cold] {
            manifest.extend_from_slice(&(list.len() as u32).to_le_bytes());
            list.iter().for_each(|n| manifest.extend_from_slice(&n.to_le_bytes()));
        }

        let path = FILES[self.slot];
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => disk.create(path)?,
            Err(e) => return Err(e),
        };
        file.allocate(position)?;
        write_section(&*file, manifest_position, &manifest)?;
        for (shard, place) in checkpoint.shards.iter().zip(places) {
            write_section(&*file, place, &shard.state)?;
        }
        file.sync()?;
        let mut head = AlignedBuf::zeroed(SECTION_ALIGN as usize);
        encode_header(
            head.as_mut_slice(),
            sequence,
            durable_upto,
            checkpoint.shards.len(),
            &manifest,
            position,
        );
        file.write_durable(0, &[IoSlice::new(head.as_slice())])?;
        // Always: an earlier process may have made the file and gone before its name was durable.
        disk.sync_dir("")?;

        self.sequence = sequence;
        self.slot = 1 - self.slot;
        self.previous = self.newest.take();
        self.newest = Some(Needs {
            sequence,
            scan_from: scan_from(&checkpoint.shards, durable_upto),
            live_segments: checkpoint.live_segments.clone(),
            live_cold: checkpoint.live_cold.clone(),
        });
        Ok(position)
    }

    /// Whether some checkpoint needs log segment `number`. `spare_previous`: the one before the newest counts too.
    pub fn needs_segment(&self, number: u32, spare_previous: bool) -> bool {
        let Some(newest) = &self.newest else { return true };
        newest.segment(number)
            || (spare_previous && self.previous.as_ref().is_some_and(|p| p.segment(number)))
    }

    pub fn needs_cold(&self, number: u32, spare_previous: bool) -> bool {
        let lists = |needs: &Needs| needs.live_cold.contains(&number);
        self.newest.as_ref().is_some_and(lists)
            || (spare_previous && self.previous.as_ref().is_some_and(lists))
    }
}

impl Unusable {
    fn note(self, disk: &dyn Disk, path: &str, accept_loss: bool, notes: &mut Vec<String>) -> DiskResult<()> {
        match self {
            Unusable::Unread(error) if !accept_loss => return Err(error),
            Unusable::Unread(_) => set_aside(disk, path)?,
            Unusable::Damaged(_) => {}
        }
        notes.push(format!("{path}: {self}; not used"));
        Ok(())
    }
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unusable::Damaged(reason) => f.write_str(reason),
            Unusable::Unread(error) => error.fmt(f),
        }
    }
}

impl From<String> for Unusable {
    fn from(reason: String) -> Unusable {
        Unusable::Damaged(reason)
    }
}

impl From<&str> for Unusable {
    fn from(reason: &str) -> Unusable {
        Unusable::Damaged(reason.to_string())
    }
}

/// Moves a checkpoint to where no start looks for one.
fn set_aside(disk: &dyn Disk, path: &str) -> DiskResult<()> {
    disk.create_dir(QUARANTINE_DIR)?;
    disk.rename(path, &format!("{QUARANTINE_DIR}/{path}.bad"))?;
    disk.sync_dir(QUARANTINE_DIR)?;
    disk.sync_dir("")
}

/// Recovery scans from the oldest block that some shard wants replayed, but never from behind the last
/// durable one: that one is the anchor of the chain.
fn scan_from(shards: &[ShardCheckpoint], durable_upto: Lsn) -> Lsn {
    shards.iter().map(|s| s.replay_from).min().map_or(durable_upto, |lsn| lsn.min(durable_upto))
}

fn encode_shard(out: &mut Vec<u8>, shard: &ShardCheckpoint, position: u64) {
    let mut b = [0; SHARD_BYTES];
    b[0..2].copy_from_slice(&shard.shard.0.to_le_bytes());
    put32(&mut b, 4, crc32c(&shard.state));
    put64(&mut b, 8, shard.applied_term);
    put64(&mut b, 16, shard.applied_index);
    put64(&mut b, 24, shard.replay_from.0);
    put64(&mut b, 32, position);
    put64(&mut b, 40, shard.state.len() as u64);
    out.extend_from_slice(&b);
}

fn encode_header(
    out: &mut [u8],
    sequence: u64,
    durable_upto: Lsn,
    shards: usize,
    manifest: &[u8],
    total: u64,
) {
    let out = &mut out[..HEADER_USED];
    out[0..8].copy_from_slice(&MAGIC);
    put32(out, 12, VERSION);
    put64(out, 16, sequence);
    put64(out, 24, durable_upto.0);
    put64(out, 32, manifest.len() as u64);
    put32(out, 40, crc32c(manifest));
    put32(out, 44, shards as u32);
    put64(out, 48, total);
    let crc = crc32c(&out[12..]);
    put32(out, 8, crc);
}

fn write_section(file: &dyn DiskFile, mut position: u64, data: &[u8]) -> DiskResult<()> {
    for piece in data.chunks(PIECE_BYTES) {
        let len = piece.len().next_multiple_of(SECTION_ALIGN as usize);
        let mut buf = AlignedBuf::zeroed(len);
        buf.as_mut_slice()[..piece.len()].copy_from_slice(piece);
        file.write(position, buf.as_slice())?;
        position += len as u64;
    }
    Ok(())
}

fn read_manifest(file: &dyn DiskFile) -> Result<Manifest, Unusable> {
    let head = read_exact(file, 0, SECTION_ALIGN)?;
    let b = &head[..HEADER_USED];
    if b[0..8] != MAGIC {
        return Err("no checkpoint".into());
    }
    if get32(b, 8) != crc32c(&b[12..]) {
        return Err("the header is damaged".into());
    }
    if get32(b, 12) != VERSION {
        return Err(format!("version {} is not known", get32(b, 12)).into());
    }
    let (sequence, durable_upto, len) = (get64(b, 16), Lsn(get64(b, 24)), get64(b, 32));
    if len > MANIFEST_BYTES_MAX {
        return Err("the manifest is too long".into());
    }
    let manifest = read_exact(file, SECTION_ALIGN, len)?;
    if crc32c(&manifest) != get32(b, 40) {
        return Err("the manifest is damaged, or a newer checkpoint was being written over it".into());
    }
    let n = get32(b, 44) as usize;
    let rest = manifest.get(n.saturating_mul(SHARD_BYTES)..).ok_or("the manifest is too short")?;
    let shards: Vec<Section> = manifest[..n * SHARD_BYTES].chunks(SHARD_BYTES).map(decode_shard).collect();
    let (live_segments, rest) = decode_list(rest).ok_or("the manifest is too short")?;
    let (live_cold, _) = decode_list(rest).ok_or("the manifest is too short")?;
    let all: Vec<ShardCheckpoint> = shards.iter().map(|s| s.checkpoint.clone()).collect();
    let needs = Needs { sequence, scan_from: scan_from(&all, durable_upto), live_segments, live_cold };
    Ok(Manifest { sequence, durable_upto, needs, shards })
}

fn decode_shard(b: &[u8]) -> Section {
    Section {
        checkpoint: ShardCheckpoint {
            shard: ShardId(u16::from_le_bytes([b[0], b[1]])),
            applied_term: get64(b, 8),
            applied_index: get64(b, 16),
            replay_from: Lsn(get64(b, 24)),
            state: Vec::new(),
        },
        crc: get32(b, 4),
        position: get64(b, 32),
        len: get64(b, 40),
    }
}

fn decode_list(b: &[u8]) -> Option<(BTreeSet<u32>, &[u8])> {
    let n = get32(b.get(..4)?, 0) as usize;
    let body = b.get(4..4 + n.checked_mul(4)?)?;
    Some((body.chunks(4).map(|c| get32(c, 0)).collect(), &b[4 + n * 4..]))
}

fn read_states(file: &dyn DiskFile, manifest: &Manifest) -> Result<Vec<ShardCheckpoint>, Unusable> {
    let mut shards = Vec::with_capacity(manifest.shards.len());
    for section in &manifest.shards {
        let state = read_exact(file, section.position, section.len)?;
        let shard = section.checkpoint.shard;
        if crc32c(&state) != section.crc {
            return Err(format!("the state of shard {shard} at byte {} is damaged", section.position).into());
        }
        shards.push(ShardCheckpoint { state, ..section.checkpoint.clone() });
    }
    Ok(shards)
}

fn read_exact(file: &dyn DiskFile, position: u64, len: u64) -> Result<Vec<u8>, Unusable> {
    let file_len = file.len().map_err(Unusable::Unread)?;
    if position.checked_add(len).is_none_or(|end| end > file_len) {
        return Err(format!("the file ends before byte {}", position.saturating_add(len)).into());
    }
    let mut out = Vec::with_capacity(len as usize);
    let mut buf =
        AlignedBuf::zeroed((len as usize).next_multiple_of(SECTION_ALIGN as usize).min(PIECE_BYTES));
    while (out.len() as u64) < len {
        let want = ((len as usize) - out.len()).min(PIECE_BYTES);
        let aligned = want.next_multiple_of(SECTION_ALIGN as usize);
        let n = file
            .read_at(position + out.len() as u64, &mut buf.as_mut_slice()[..aligned])
            .map_err(Unusable::Unread)?;
        if n < want {
            return Err("the file is shorter than its length".into());
        }
        out.extend_from_slice(&buf.as_slice()[..want]);
    }
    Ok(out)
}

/// For `inspect`: checks both files; one line each.
pub(crate) fn describe(disk: &dyn Disk) -> DiskResult<Vec<(String, Result<String, String>)>> {
    let mut lines = Vec::new();
    for path in FILES {
        let file: Arc<dyn DiskFile> = match disk.open(path) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => continue,
            Err(e) => return Err(e),
        };
        let result = read_manifest(&*file).and_then(|m| {
            let states = read_states(&*file, &m)?;
            let bytes: usize = states.iter().map(|s| s.state.len()).sum();
            Ok(format!(
                "sequence {}, {} shards, {bytes} bytes of state, durable up to {}, scan from {}, {} live segments, {} live cold files",
                m.sequence,
                states.len(),
                m.durable_upto,
                m.needs.scan_from,
                m.needs.live_segments.len(),
                m.needs.live_cold.len()
            ))
        });
        lines.push((path.to_string(), result.map_err(|reason: Unusable| reason.to_string())));
    }
    Ok(lines)
}
