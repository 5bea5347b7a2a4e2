//! Drives a log step by step, without threads: for simulation.
//!
//! ```text
//! let (log, recovered) = Log::open(Arc::new(fake_disk.clone()), options)?;   exhaust recovered.replay
//! let mut driver = log.start_manual(on_complete)?;
//! log.append(…)                                  any number, from the simulated node
//! let ticket = driver.begin_write();             Some: a write is now in flight; up to as many as you like
//! driver.finish_write(ticket);                   later, in any order: the write happens, callbacks run here
//! while driver.upkeep() {}                       prepares segments, recycles, shrinks; now and then
//! driver.seal();                                 what a writer does after 50 ms of idleness
//! fake_disk.crash(…); drop everything; open again
//! ```
//! Between begin and finish the disk knows of the write: a crash may apply any part of it. `begin_write`
//! gives `None` when nothing is queued, or when the next block's segment is not prepared yet (`upkeep`).
//! With the same inputs the same bytes come out.

use crate::core::WriteOp;
use crate::error::Fatal;
use crate::log::Shared;
use crate::upkeep::Step;
use crate::writer::{CurrentFile, next_op, report};
use bowline_model::Lsn;
use std::sync::Arc;

/// See the module's head.
pub struct Driver {
    shared: Arc<Shared>,
    file: CurrentFile,
}

/// A write in flight. Dropped unfinished it never completes: like a crash.
pub struct Ticket {
    op: WriteOp,
}

impl Ticket {
    /// The last block that the write carries.
    pub fn last(&self) -> Lsn {
        self.op.blocks().last().map_or(Lsn::default(), |b| b.lsn)
    }

    pub fn bytes(&self) -> usize {
        self.op.slices().iter().map(|s| s.len()).sum()
    }
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Driver {
        Driver { shared, file: CurrentFile::default() }
    }

    /// Hands the next write to the disk.
    pub fn begin_write(&mut self) -> Option<Ticket> {
        let op = next_op(&self.shared)?;
        if let Ok(file) = self.file.of(&self.shared, &op) {
            file.announce(u64::from(op.position), &op.slices());
        }
        Some(Ticket { op })
    }

    /// The write reaches stable storage, or fails; callbacks run before this returns.
    pub fn finish_write(&mut self, ticket: Ticket) {
        let op = ticket.op;
        let result = self
            .file
            .of(&self.shared, &op)
            .and_then(|file| Ok(file.write_durable(u64::from(op.position), &op.slices())?));
        report(&self.shared, op, result);
    }

    /// One piece of background work. Returns whether there may be more.
    pub fn upkeep(&mut self) -> bool {
        match crate::upkeep::step(&self.shared) {
            Ok(Step::Worked) => true,
            Ok(Step::Idle | Step::Full) => false,
            Err(fatal) => {
                let _: Fatal = self.shared.poison(fatal);
                false
            }
        }
    }

    /// Appends the block that records the durable position, if the log is idle and it was not recorded.
    pub fn seal(&mut self) -> bool {
        let mut core = self.shared.core.lock();
        core.wants_seal() && core.place_seal(false).is_ok()
    }

    /// Closes in order, as [`crate::Log::close`] does with threads.
    pub fn close(&mut self) {
        let sealed = {
            let mut core = self.shared.core.lock();
            core.close();
            core.is_open() && core.place_seal(true).is_ok()
        };
        if sealed {
            self.settle();
        }
    }

    /// Everything at once: background work and writes until nothing is left to do.
    pub fn settle(&mut self) {
        loop {
            while self.upkeep() {}
            let Some(ticket) = self.begin_write() else { break };
            self.finish_write(ticket);
        }
    }
}
