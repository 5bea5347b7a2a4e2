//! Looking at a data directory without a node, and checking the files of a running one.
//!
//! Nothing here writes. Every block's header and payload and every record's checksum are verified. A place
//! where the chain of blocks breaks is damage, unless it is the torn end of the log or the place where a
//! recovery cut it.

use crate::checkpoint;
use crate::disk::{Disk, DiskResult};
use crate::error::ReadErrorKind;
use crate::format_file::{self, Format};
use crate::header::{BlockHeader, SEGMENT_HEADER_BYTES, SegmentKind};
use crate::log::Log;
use crate::scan::Window;
use crate::segments::{COLD_DIR, LOG_DIR, Segment, number_of};
use bowline_model::Lsn;
use bowline_model::record;
use std::sync::Arc;

/// A file of blocks.
#[derive(Clone, Debug)]
pub struct FileInfo {
    pub path: String,
    pub kind: SegmentKind,
    pub number: u32,
    pub epoch: u64,
    pub sector_bytes: u32,
    /// Length of the file.
    pub bytes: u64,
    /// What is wrong with its header, if something is.
    pub header_damage: Option<String>,
}

/// An intact block.
pub struct Found<'a> {
    pub path: &'a str,
    pub header: BlockHeader,
    /// Walk it with [`bowline_model::record::iter`].
    pub payload: &'a [u8],
}

/// Something that should not be so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub path: String,
    pub position: u64,
    pub what: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}: {}", self.path, self.position, self.what)
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub format: Option<Format>,
    /// The checkpoint files: what is in each, or why it is of no use. One of two may be half written.
    pub checkpoints: Vec<(String, Result<String, String>)>,
    pub files: Vec<FileInfo>,
    pub blocks: u64,
    pub records: u64,
    pub payload_bytes: u64,
    pub last: Lsn,
    pub damage: Vec<Place>,
    /// Torn ends and cuts: no damage.
    pub notes: Vec<Place>,
}

/// Segments and cold files, by kind and number.
pub fn files(disk: &dyn Disk) -> DiskResult<Vec<FileInfo>> {
    segments(disk)?.iter().map(info).collect()
}

/// Calls `visit` for each intact block of one file, in order, skipping what is damaged.
pub fn blocks(
    disk: &dyn Disk,
    kind: SegmentKind,
    number: u32,
    visit: &mut dyn FnMut(Found<'_>),
) -> DiskResult<()> {
    let segment = Arc::new(Segment::open(disk, kind, number)?);
    let mut walk = Walk::new(&segment, u64::MAX);
    while let Some((header, payload)) = walk.next() {
        visit(Found { path: segment.file.path(), header, payload: &payload });
    }
    Ok(())
}

/// Checks a whole directory. `visit` sees every intact block.
pub fn verify(disk: &dyn Disk, visit: &mut dyn FnMut(Found<'_>)) -> DiskResult<Summary> {
    let mut summary = Summary { checkpoints: checkpoint::describe(disk)?, ..Summary::default() };
    match format_file::read(disk) {
        Ok(format) => summary.format = format,
        Err(e) => summary.damage.push(Place { path: "format".into(), position: 0, what: e.to_string() }),
    }
    if !summary.checkpoints.is_empty() && summary.checkpoints.iter().all(|(_, r)| r.is_err()) {
        let what = "no usable checkpoint".to_string();
        summary.damage.push(Place { path: summary.checkpoints[0].0.clone(), position: 0, what });
    }
    let mut walked = Vec::new();
    for segment in segments(disk)? {
        let segment = Arc::new(segment);
        summary.files.push(info(&segment)?);
        let mut walk = Walk::new(&segment, u64::MAX);
        while let Some((header, payload)) = walk.next() {
            summary.blocks += 1;
            summary.payload_bytes += payload.len() as u64;
            if segment.kind == SegmentKind::Log {
                summary.last = summary.last.max(header.lsn);
            }
            check_records(&segment, &header, &payload, &mut summary.records, &mut summary.damage);
            visit(Found { path: segment.file.path(), header, payload: &payload });
        }
        walked.push((segment.clone(), walk.trace));
    }
    judge(&walked, &mut summary);
    Ok(summary)
}

/// Checks the present content of one segment or cold file of a running log. `pace` is called with the
/// bytes read, now and then, and may sleep.
pub fn scrub(
    log: &Log,
    kind: SegmentKind,
    number: u32,
    pace: &mut dyn FnMut(u64),
) -> Result<Summary, ReadErrorKind> {
    let lsn = if kind == SegmentKind::Cold { Lsn::cold(number, 0) } else { Lsn::new(number, 0) };
    let segment = log.shared().table.get(lsn).ok_or(ReadErrorKind::Gone)?;
    let mut summary = Summary { files: vec![info(&segment)?], ..Summary::default() };
    let mut walk = Walk::new(&segment, log.durable().0);
    while let Some((header, payload)) = walk.next() {
        summary.blocks += 1;
        summary.payload_bytes += payload.len() as u64;
        summary.last = header.lsn;
        check_records(&segment, &header, &payload, &mut summary.records, &mut summary.damage);
        pace(header.block_bytes(segment.sector_bytes));
    }
    for hole in walk.trace.holes.iter().filter(|h| h.acknowledged) {
        summary.damage.push(hole.place(&segment));
    }
    // Recycled while it was being read: nothing that was seen counts.
    if log.shared().table.get(lsn).is_none_or(|s| !Arc::ptr_eq(&s, &segment)) {
        return Err(ReadErrorKind::Gone);
    }
    Ok(summary)
}

/// A place where a file has no block although blocks follow.
struct Hole {
    position: u64,
    what: String,
    /// A later block of the same file says that it was durable.
    acknowledged: bool,
}

impl Hole {
    fn place(&self, segment: &Segment) -> Place {
        Place { path: segment.file.path().to_string(), position: self.position, what: self.what.clone() }
    }
}

/// What walking a file showed.
#[derive(Default)]
struct Trace {
    /// The predecessor that the first block names.
    first_prev: Option<Lsn>,
    /// Last block before the first hole, or of the file.
    last_before_hole: Lsn,
    end: u64,
    durable_upto: Lsn,
    holes: Vec<Hole>,
}

/// Goes through a file's blocks; searches sector by sector behind damage.
struct Walk<'a> {
    segment: &'a Arc<Segment>,
    window: Window,
    position: u64,
    /// Nothing above this is looked at.
    upto: u64,
    trace: Trace,
}

impl<'a> Walk<'a> {
    fn new(segment: &'a Arc<Segment>, upto: u64) -> Walk<'a> {
        let position = u64::from(SEGMENT_HEADER_BYTES);
        Walk {
            segment,
            window: Window::new(),
            position,
            upto,
            trace: Trace { end: position, ..Trace::default() },
        }
    }

    fn next(&mut self) -> Option<(BlockHeader, bytes::Bytes)> {
        let mut hole: Option<Hole> = None;
        while self.position < self.segment.len {
            let here = self.segment.lsn(self.position);
            if self.segment.kind == SegmentKind::Log && here.0 > self.upto {
                break;
            }
            match self.window.block(self.segment, self.position) {
                Ok(block) => {
                    if let Some(hole) = hole.take() {
                        self.trace.holes.push(hole);
                    }
                    self.note(&block.header, block.end);
                    self.position = block.end;
                    return Some((block.header, block.payload));
                }
                Err(what) => {
                    let position = self.position;
                    hole.get_or_insert(Hole { position, what, acknowledged: false });
                    self.position += u64::from(self.segment.sector_bytes);
                }
            }
        }
        None
    }

    fn note(&mut self, header: &BlockHeader, end: u64) {
        let trace = &mut self.trace;
        trace.first_prev.get_or_insert(header.prev_lsn);
        trace.durable_upto = trace.durable_upto.max(header.durable_upto);
        let cold = self.segment.kind == SegmentKind::Cold;
        for hole in &mut trace.holes {
            // In a cold file nothing may be missing.
            hole.acknowledged |= cold || self.segment.lsn(hole.position) <= header.durable_upto;
        }
        if trace.holes.is_empty() {
            trace.last_before_hole = header.lsn;
            trace.end = end;
        }
    }
}

/// Tells damage from torn ends and cuts, with all files in view.
fn judge(walked: &[(Arc<Segment>, Trace)], summary: &mut Summary) {
    let log = || walked.iter().filter(|(s, _)| s.kind == SegmentKind::Log);
    let durable_upto = log().map(|(_, t)| t.durable_upto).max().unwrap_or_default();
    for (segment, trace) in walked {
        if let Some(damage) = &segment.damage {
            let empty = trace.first_prev.is_none();
            let path = segment.file.path().to_string();
            let place = Place { path, position: 0, what: format!("segment header: {damage}") };
            if empty { summary.notes.push(place) } else { summary.damage.push(place) }
        }
        if segment.kind == SegmentKind::Cold {
            summary.damage.extend(trace.holes.iter().map(|h| h.place(segment)));
            continue;
        }
        let next = log().find(|(s, _)| s.number == segment.number + 1).and_then(|(_, t)| t.first_prev);
        let cut_here = next == Some(trace.last_before_hole);
        for hole in &trace.holes {
            let lost = hole.acknowledged
                || (!cut_here && next.is_some() && segment.lsn(hole.position) <= durable_upto);
            if lost {
                summary.damage.push(hole.place(segment))
            } else {
                summary.notes.push(hole.place(segment))
            }
        }
        // The next file goes on behind a block that this one does not have.
        let missing =
            next.is_some_and(|prev| prev.segment() == segment.number && prev > trace.last_before_hole);
        if trace.holes.is_empty() && missing && segment.lsn(trace.end) <= durable_upto {
            let what = "acknowledged blocks are missing at the end".to_string();
            summary.damage.push(Place { path: segment.file.path().to_string(), position: trace.end, what });
        }
    }
}

fn check_records(
    segment: &Segment,
    header: &BlockHeader,
    payload: &[u8],
    records: &mut u64,
    damage: &mut Vec<Place>,
) {
    let start = u64::from(header.lsn.byte_position()) + bowline_model::block::BLOCK_HEADER_BYTES as u64;
    let mut report = |offset: u32, what: String| {
        damage.push(Place {
            path: segment.file.path().to_string(),
            position: start + u64::from(offset),
            what,
        });
    };
    for found in record::iter(payload) {
        match found.and_then(|r| record::verify(payload, &r)) {
            Ok(()) => *records += 1,
            Err(what) => {
                let offset = match what {
                    record::Damage::Length { offset }
                    | record::Damage::Checksum { offset }
                    | record::Damage::Kind { offset, .. } => offset,
                };
                report(offset, format!("record: {what:?}"));
            }
        }
    }
}

fn segments(disk: &dyn Disk) -> DiskResult<Vec<Segment>> {
    let mut all = Vec::new();
    for (dir, ending, kind) in [(LOG_DIR, ".seg", SegmentKind::Log), (COLD_DIR, ".cold", SegmentKind::Cold)] {
        for entry in disk.list(dir)? {
            if let Some(number) = number_of(&entry.name, ending) {
                all.push(Segment::open(disk, kind, number)?);
            }
        }
    }
    Ok(all)
}

fn info(segment: &Segment) -> DiskResult<FileInfo> {
    Ok(FileInfo {
        path: segment.file.path().to_string(),
        kind: segment.kind,
        number: segment.number,
        epoch: segment.epoch,
        sector_bytes: segment.sector_bytes,
        bytes: segment.file.len()?,
        header_damage: segment.damage.map(|d| d.to_string()),
    })
}
