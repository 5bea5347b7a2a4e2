//! The relocator: finds files that are kept for little, and has what lives in them copied into a cold file.
//!
//! Which files ([`Policy`]): when segments with live content are more than a few, those of which little lives and
//! which do not go by themselves: what is still being consumed is left alone, and so is a backlog that lives as a
//! whole. Cold files are treated alike, and small ones are joined.
//!
//! How: every data shard plans (`bowline_broker::Relocation`); blocks are read and copied here, at a limited rate;
//! when the cold file is durable, the shards are told. The next checkpoints list the cold file and not the old
//! segments, and storage recycles those. Whatever happens in between, a checkpoint that counts finds its files.

use crate::link::{Inbox, Internal, Message, Shared};
use bowline_broker::{Draft, Relocation, Rewrite, Survey};
use bowline_model::{BlockRef, Lsn, Millis};
use bowline_storage::{ColdBlock, ColdError, ColdWriter, Log};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How often the need for a relocation is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The same while nothing is appended.
const LOOK_WHEN_IDLE: Duration = Duration::from_secs(10);
/// Looking may take this part of a shard thread's time.
const LOOK_SHARE: u32 = 200;
/// Without need in the log, cold files are looked at every so many times.
const LOOK_AT_COLD_EVERY: u32 = 60;
/// Bytes read, and bytes written, a second: a fifth of what a modest disk does …
const BYTES_PER_SECOND: u64 = 64 << 20;
/// … more between two appends to the log …
const BYTES_PER_SECOND_BETWEEN: u64 = 256 << 20;
/// … and what there is to have when nobody has appended for a while: then nobody waits for a commit.
const BYTES_PER_SECOND_WHEN_IDLE: u64 = 2 << 30;
const IDLE_AFTER: Duration = Duration::from_millis(100);
/// Copies kept in memory until they can be written in order, bytes.
const PASS_BYTES_MAX: usize = 16 << 20;
/// One read, bytes; and the gap between two wanted blocks that is read along.
const READ_BYTES_MAX: u64 = 1 << 20;
const READ_GAP_MAX: u64 = 64 << 10;
/// The last block of a read is as long as this, if nothing is known of it, bytes.
const BLOCK_BYTES_GUESS: u64 = 16 << 10;

/// Segments with live content are left alone if they are no more than this …
pub const PINNED_SEGMENTS_MAX: u64 = 8;
/// … and the newest always: what is in them may yet die young.
pub const NEWEST_LEFT_ALONE: u32 = 4;
/// A file of which no more than this part lives is mostly dead, percent.
const LIVE_PERCENT_MAX: u64 = 30;
/// What is kept must not have become less for so long (by an eighth), ms.
pub const QUIET_MS: Millis = 2_000;
/// A file that did not go by being relocated (part of it cannot be read) is left alone for so long, ms.
const TRY_AGAIN_MS: Millis = 10 * 60 * 1000;
/// What is copied at a time, bytes by estimate, and from how many files.
const BYTES_MAX: u64 = 64 << 20;
const FILES_MAX: usize = 256;
/// Cold files below this size are small, bytes; if there are more than so many, they are joined.
const SMALL_COLD_BYTES: u64 = 8 << 20;
const SMALL_COLD_FILES_MAX: usize = 16;

/// Chooses files. Knows no clock and no disk.
#[derive(Debug, Default)]
pub struct Policy {
    /// Since when a file has held about so many bytes.
    quiet: BTreeMap<Lsn, (Millis, u64)>,
    tried: BTreeMap<Lsn, Millis>,
}

impl Policy {
    /// Whether it is worth asking the shards: `files` as [`Log::files`] gives them.
    pub fn is_crowded(files: &[(Lsn, u64)]) -> bool {
        let log = files.iter().filter(|(file, _)| !file.is_cold());
        log.clone().map(|(_, len)| len).sum::<u64>() > PINNED_SEGMENTS_MAX * segment_bytes(files)
    }

    /// The files to relocate now, together; none if there is no need. `bytes_max`: what the copies may take.
    pub fn choose(
        &mut self,
        now: Millis,
        files: &[(Lsn, u64)],
        survey: &Survey,
        bytes_max: u64,
    ) -> BTreeSet<Lsn> {
        self.quiet.retain(|file, _| survey.contains_key(file));
        self.tried.retain(|file, at| survey.contains_key(file) && now < *at + TRY_AGAIN_MS);
        let newest = files.iter().filter(|(file, _)| !file.is_cold()).map(|(file, _)| file.segment()).max();
        let old = |file: Lsn| file.is_cold() || file.segment() + NEWEST_LEFT_ALONE <= newest.unwrap_or(0);

        let (mut pinned, mut live) = (0, 0);
        // By what is to copy.
        let mut candidates: Vec<(u64, Lsn, u64)> = Vec::new();
        for &(file, len) in files {
            let Some(held) = survey.get(&file).map(|held| held.bytes.max(1)) else { continue };
            if !file.is_cold() {
                pinned += len;
                live += held.min(len);
            }
            if old(file) && self.is_quiet(now, file, held) && !self.tried.contains_key(&file) {
                candidates.push((held, file, len));
            }
        }
        candidates.sort_unstable();
        let crowded = pinned > PINNED_SEGMENTS_MAX * segment_bytes(files);
        let mostly_dead = |(held, file, len): &&(u64, Lsn, u64)| {
            held * 100 <= len * LIVE_PERCENT_MAX && (crowded || file.is_cold())
        };
        let mut chosen: Vec<(u64, Lsn)> = candidates.iter().filter(mostly_dead).map(|c| (c.0, c.1)).collect();
        if chosen.is_empty() && crowded && pinned > 3 * live {
            // None stands out, yet together they keep too much: the oldest goes.
            let oldest = candidates.iter().filter(|(held, file, len)| !file.is_cold() && held <= len);
            chosen.extend(oldest.min_by_key(|c| c.1).map(|c| (c.0, c.1)));
        }
        let small = || candidates.iter().filter(|(_, file, len)| file.is_cold() && *len < SMALL_COLD_BYTES);
        if chosen.is_empty() && small().count() > SMALL_COLD_FILES_MAX {
            chosen.extend(small().map(|c| (c.0, c.1)));
        }
        let mut left = bytes_max.min(BYTES_MAX);
        let mut taken = BTreeSet::new();
        for (held, file) in chosen.into_iter().take(FILES_MAX) {
            if held > left && (!taken.is_empty() || held > bytes_max) {
                break;
            }
            left = left.saturating_sub(held);
            taken.insert(file);
        }
        self.tried.extend(taken.iter().map(|file| (*file, now)));
        taken
    }

    fn is_quiet(&mut self, now: Millis, file: Lsn, held: u64) -> bool {
        let (since, bytes) = self.quiet.entry(file).or_insert((now, held));
        if held * 8 < *bytes * 7 {
            (*since, *bytes) = (now, held);
        }
        now >= *since + QUIET_MS
    }
}

fn segment_bytes(files: &[(Lsn, u64)]) -> u64 {
    files.iter().filter(|(file, _)| !file.is_cold()).map(|(_, len)| *len).max().unwrap_or(0)
}

/// Why a relocation came to nothing.
#[derive(Debug)]
pub enum Abandoned {
    /// The node stops.
    Stopped,
    Cold(ColdError),
    /// Of a compaction: something cannot be read, there are too many keys for the memory, or too little disk is free.
    Unreadable,
    TooManyKeys,
    NoRoom,
}

/// Copies what `relocation` planned into `cold`. `paced` is called with the bytes of each read, may wait, and says
/// whether to go on. What cannot be read stays where it is.
///
/// # Errors
/// See [`Abandoned`]; drop the writer then, and nothing has happened.
pub fn copy(
    log: &Log,
    relocation: &mut Relocation,
    cold: &mut ColdWriter,
    mut paced: impl FnMut(u64) -> bool,
) -> Result<(), Abandoned> {
    copy_as(log, relocation, cold, None, &mut paced)
}

/// The same; batches go through `rewrite`.
pub(crate) fn copy_as(
    log: &Log,
    relocation: &mut Relocation,
    cold: &mut ColdWriter,
    mut rewrite: Option<&mut dyn Rewrite>,
    paced: &mut dyn FnMut(u64) -> bool,
) -> Result<(), Abandoned> {
    let shard = relocation.shard();
    loop {
        let wanted = relocation.begin_pass(PASS_BYTES_MAX);
        if wanted.is_empty() {
            return Ok(());
        }
        let relocation_ref = std::cell::RefCell::new(&mut *relocation);
        read(
            log,
            &wanted,
            |lsn| relocation_ref.borrow().is_past(lsn),
            paced,
            |block| {
                let rewrite = rewrite.as_mut().map(|rewrite| &mut **rewrite as &mut dyn Rewrite);
                relocation_ref.borrow_mut().take_as(block, rewrite);
            },
        )?;
        let write = |Draft { buf, n_records, stamp }: Draft| {
            cold.append(ColdBlock { shard, term: 0, index: 0, stamp, n_records, buf })
        };
        relocation.end_pass(write).map_err(Abandoned::Cold)?;
    }
}

/// Reads the blocks at `wanted` (ascending), and others on the way, but for those to be `passed` over. What cannot be
/// read is not taken.
///
/// # Errors
/// The node stops.
pub(crate) fn read(
    log: &Log,
    wanted: &[Lsn],
    passed: impl Fn(Lsn) -> bool,
    paced: &mut dyn FnMut(u64) -> bool,
    mut take: impl FnMut(&BlockRef),
) -> Result<(), Abandoned> {
    let mut i = 0;
    while let Some(&lsn) = wanted.get(i) {
        if passed(lsn) {
            i += 1;
            continue;
        }
        let span = span(&wanted[i..]) + BLOCK_BYTES_GUESS;
        if !paced(span) {
            return Err(Abandoned::Stopped);
        }
        i += 1;
        match log.read_run(lsn, span as usize, usize::MAX) {
            Ok(blocks) => {
                blocks.iter().for_each(&mut take);
                if let Some(last) = blocks.last() {
                    i += wanted[i..].partition_point(|lsn| *lsn <= last.lsn);
                }
            }
            Err(error) => tracing::error!(%error, "a block cannot be relocated"),
        }
    }
    Ok(())
}

/// From the first of `wanted` to the last that one read should bring, bytes.
fn span(wanted: &[Lsn]) -> u64 {
    let mut last = wanted[0];
    for &lsn in &wanted[1..] {
        if lsn.file() != last.file() || lsn.0 - last.0 > READ_GAP_MAX || lsn.0 - wanted[0].0 > READ_BYTES_MAX
        {
            break;
        }
        last = lsn;
    }
    last.0 - wanted[0].0
}

/// Runs until the node stops.
pub(crate) fn watch(rewriting: Rewriting<'_>) {
    let mut relocator = Relocator { rewriting, policy: Policy::default() };
    let began = Instant::now();
    let mut pause = LOOK_EVERY;
    let (mut looks, mut seen) = (0, 0);
    while relocator.rewriting.wait(pause) {
        relocator.rewriting.forget_unlisted();
        pause = LOOK_EVERY;
        looks += 1;
        let log = relocator.rewriting.log.clone();
        let files = log.files();
        let cold = files.iter().any(|(file, _)| file.is_cold());
        let worth_a_look = Policy::is_crowded(&files) || (cold && looks % LOOK_AT_COLD_EVERY == 0);
        if !worth_a_look {
            continue;
        }
        let appended = log.stats().bytes;
        let idle = std::mem::replace(&mut seen, appended) == appended;
        let asked = Instant::now();
        let Some(survey) = relocator.survey() else { return };
        pause = if idle { LOOK_WHEN_IDLE } else { LOOK_EVERY }.max(asked.elapsed() * LOOK_SHARE);
        // A full disk may be full because of us, or may be emptied by us.
        let bytes_max = log.space().free_bytes / 4;
        let now = began.elapsed().as_millis() as Millis;
        let chosen = relocator.policy.choose(now, &files, &survey, bytes_max);
        if chosen.is_empty() {
            continue;
        }
        match relocator.relocate(&chosen) {
            Ok(()) => {}
            Err(Abandoned::Stopped) => return,
            Err(error) => tracing::warn!(?error, "a relocation was abandoned"),
        }
    }
}

struct Relocator<'a> {
    rewriting: Rewriting<'a>,
    policy: Policy,
}

impl Relocator<'_> {
    fn relocate(&mut self, files: &BTreeSet<Lsn>) -> Result<(), Abandoned> {
        let rewriting = &mut self.rewriting;
        let _mine = rewriting.turn.lock();
        let mut writer = None;
        let mut moved = Vec::new();
        let mut reading = Pace::new(rewriting.log.clone(), rewriting.stop.clone());
        for inbox in &rewriting.shared.inboxes[1..] {
            let plan = |reply| Internal::PlanRelocation(files.clone(), reply);
            let mut relocation = rewriting.ask(inbox, plan).ok_or(Abandoned::Stopped)?;
            if relocation.is_empty() {
                continue;
            }
            let cold = match &mut writer {
                Some(cold) => cold,
                None => writer.insert(rewriting.new_cold_file()?),
            };
            copy(&rewriting.log, &mut relocation, cold, |bytes| reading.spend(bytes))?;
            moved.push((inbox, relocation.finish()));
        }
        let Some(writer) = writer else { return Ok(()) };
        let bytes = writer.len();
        let file = writer.finish().map_err(Abandoned::Cold)?;
        let mut runs = 0;
        for (inbox, moved) in moved {
            let ask = |reply| Internal::Relocated(moved, reply);
            runs += rewriting.ask(inbox, ask).ok_or(Abandoned::Stopped)?;
        }
        rewriting.is_fresh(file);
        tracing::info!(files = files.len(), cold = file, bytes, runs, "relocated");
        Ok(())
    }

    /// The sum over all shards. `None`: the node stops.
    fn survey(&self) -> Option<Survey> {
        let mut sum = Survey::new();
        for inbox in &self.rewriting.shared.inboxes[1..] {
            for (file, held) in self.rewriting.ask(inbox, Internal::Survey)? {
                sum.entry(file).or_default().add(held.extents, held.bytes);
            }
        }
        Some(sum)
    }
}

/// What relocator and compactor have in common: shards to ask, and cold files to write.
pub(crate) struct Rewriting<'a> {
    pub shared: &'a Shared,
    pub log: Log,
    pub stop: Receiver<()>,
    /// Held from a plan until the shards have taken what came of it: one at a time moves extents.
    pub turn: &'a Mutex<()>,
    /// Cold files that may not be listed in any checkpoint yet, and how many checkpoints there were.
    fresh: Vec<(u32, u64)>,
}

impl<'a> Rewriting<'a> {
    pub fn new(shared: &'a Shared, log: Log, stop: Receiver<()>, turn: &'a Mutex<()>) -> Rewriting<'a> {
        Rewriting { shared, log, stop, turn, fresh: Vec::new() }
    }

    /// False: the node stops.
    pub fn wait(&self, pause: Duration) -> bool {
        self.stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
    }

    /// One that is written at a limited rate.
    pub fn new_cold_file(&self) -> Result<ColdWriter, Abandoned> {
        let mut writing = Pace::new(self.log.clone(), self.stop.clone());
        let pace = move |bytes: usize| {
            writing.spend(bytes as u64);
        };
        self.log.new_cold_file(Some(Box::new(pace))).map_err(Abandoned::Cold)
    }

    /// A cold file was finished just now, and the shards know of it.
    pub fn is_fresh(&mut self, file: u32) {
        self.fresh.push((file, self.log.stats().checkpoints));
    }

    /// A cold file whose content died before any checkpoint could list it has to be removed by us. Two checkpoints
    /// later one was taken after the shards knew of the file; if none has listed it by then, none will.
    pub fn forget_unlisted(&mut self) {
        let checkpoints = self.log.stats().checkpoints;
        let log = &self.log;
        self.fresh.retain(|&(file, then)| {
            let wait = checkpoints < then + 2;
            if !wait {
                log.remove_cold(file);
            }
            wait
        });
    }

    /// `None`: the node stops.
    pub fn ask<T>(&self, inbox: &Inbox, question: impl FnOnce(Sender<T>) -> Internal) -> Option<T> {
        let (reply, replies) = crossbeam_channel::bounded(1);
        inbox.push(Message::Internal(question(reply)));
        // A shard that has stopped leaves the question in its inbox.
        while let Err(RecvTimeoutError::Timeout) = self.stop.recv_timeout(Duration::ZERO) {
            match replies.recv_timeout(Duration::from_millis(50)) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }
}

/// Keeps to a rate.
pub(crate) struct Pace {
    due: Instant,
    stop: Receiver<()>,
    log: Log,
    /// What had been appended when it was last asked, and when that had changed.
    appended: u64,
    changed: Instant,
}

impl Pace {
    pub fn new(log: Log, stop: Receiver<()>) -> Pace {
        let now = Instant::now();
        Pace { due: now, stop, log, appended: 0, changed: now }
    }

    /// Waits until `bytes` more are allowed. False: the node stops.
    pub fn spend(&mut self, bytes: u64) -> bool {
        let now = Instant::now();
        if self.due > now {
            let waited = self.stop.recv_timeout(self.due - now);
            if waited == Err(RecvTimeoutError::Disconnected) {
                return false;
            }
        }
        let appended = self.log.stats().bytes;
        let rate = if std::mem::replace(&mut self.appended, appended) != appended {
            self.changed = now;
            BYTES_PER_SECOND
        } else if now - self.changed < IDLE_AFTER {
            BYTES_PER_SECOND_BETWEEN
        } else {
            BYTES_PER_SECOND_WHEN_IDLE
        };
        self.due = self.due.max(now) + Duration::from_nanos(bytes * 1_000_000_000 / rate);
        self.stop.try_recv() != Err(TryRecvError::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_broker::Held;

    const MIB: u64 = 1 << 20;

    fn held(bytes: u64) -> Held {
        Held { extents: 1, bytes }
    }

    fn segments(n: u32) -> Vec<(Lsn, u64)> {
        (1..=n).map(|s| (Lsn::new(s, 0), 64 * MIB)).collect()
    }

    #[test]
    fn few_segments_or_a_whole_backlog_are_left_alone() {
        let mut policy = Policy::default();
        let few: Survey = segments(8).iter().map(|(file, _)| (*file, held(100))).collect();
        let backlog: Survey = segments(100).iter().map(|(file, _)| (*file, held(60 * MIB))).collect();
        for now in [0, 10_000, 20_000] {
            assert!(policy.choose(now, &segments(8), &few, u64::MAX).is_empty());
            assert!(policy.choose(now, &segments(100), &backlog, u64::MAX).is_empty());
        }
    }

    #[test]
    fn mostly_dead_ones_go_together_once_they_are_quiet() {
        let mut policy = Policy::default();
        let files = segments(20);
        let mut survey: Survey = files.iter().map(|(file, _)| (*file, held(MIB))).collect();
        survey.insert(Lsn::new(3, 0), held(30 * MIB));
        assert!(policy.choose(0, &files, &survey, u64::MAX).is_empty(), "not yet known to be quiet");
        survey.insert(Lsn::new(5, 0), held(MIB / 2));
        let chosen = policy.choose(QUIET_MS, &files, &survey, u64::MAX);
        let numbers: Vec<u32> = chosen.iter().map(|file| file.segment()).collect();
        let expected: Vec<u32> = (1..=16).filter(|n| ![3, 5].contains(n)).collect();
        assert_eq!(numbers, expected, "not the half-full one, not the shrinking one, not the newest");
        let again = policy.choose(2 * QUIET_MS, &files, &survey, u64::MAX);
        assert_eq!(again.into_iter().map(Lsn::segment).collect::<Vec<_>>(), [5], "the others were tried");
    }

    #[test]
    fn if_none_stands_out_the_oldest_goes() {
        let mut policy = Policy::default();
        let files = segments(40);
        let survey: Survey = files
            .iter()
            .map(|(file, _)| (*file, held(if file.segment() > 36 { 0 } else { 20 * MIB })))
            .collect();
        policy.choose(0, &files, &survey, u64::MAX);
        let chosen = policy.choose(QUIET_MS, &files, &survey, u64::MAX);
        assert_eq!(chosen.into_iter().map(Lsn::segment).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn small_cold_files_are_joined_and_a_small_disk_is_respected() {
        let mut policy = Policy::default();
        let mut files = segments(2);
        files.extend((1..=20).map(|n| (Lsn::cold(n, 0), MIB)));
        let survey: Survey = files.iter().map(|(file, _)| (*file, held(MIB))).collect();
        policy.choose(0, &files, &survey, u64::MAX);
        assert!(policy.choose(QUIET_MS, &files, &survey, 1000).is_empty(), "there is no room");
        assert_eq!(policy.choose(QUIET_MS, &files, &survey, u64::MAX).len(), 20);
    }
}
