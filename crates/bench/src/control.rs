//! What the threads of a run share: the phase, the counters, and what each reports in the end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use hdrhistogram::Histogram;

use crate::lanes::Lanes;

/// Latencies up to ten minutes, with three digits.
const LATENCY_MAX_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Threads connect and declare themselves ready.
    Prepare,
    Warmup,
    Measure,
    /// Producers stop and collect their last confirms; consumers go on.
    Finish,
    /// Everybody stops.
    Stop,
}

/// Shared by all threads of a run. Counters are bumped per batch, not per message.
#[derive(Debug, Default)]
pub struct Control {
    phase: AtomicU8,
    measuring: AtomicBool,
    pub ready: AtomicUsize,
    pub producers_done: AtomicUsize,
    pub sent: AtomicU64,
    pub confirmed: AtomicU64,
    /// Refused by the broker, or returned as unroutable.
    pub refused: AtomicU64,
    pub received: AtomicU64,
    /// Received for the first time, as the broker says.
    pub received_fresh: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Control {
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Prepare,
            1 => Phase::Warmup,
            2 => Phase::Measure,
            3 => Phase::Finish,
            _ => Phase::Stop,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether latencies count now. In a drain that includes the time after the producers have finished.
    pub fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    pub fn set_measuring(&self, measuring: bool) {
        self.measuring.store(measuring, Ordering::Relaxed);
    }

    /// A thread could not go on; the first reason is kept, and everybody stops.
    pub fn fail(&self, reason: String) {
        let mut failure = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        failure.get_or_insert(reason);
        self.enter(Phase::Stop);
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Ready, and waiting for the start. `false`: the run is over before it began.
    pub fn wait_for_start(&self) -> bool {
        self.ready.fetch_add(1, Ordering::SeqCst);
        while self.phase() == Phase::Prepare {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        self.phase() < Phase::Stop
    }
}

pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("constant bounds are valid")
}

/// What a producer has done.
#[derive(Debug)]
pub struct Produced {
    /// From when a message was due (or sent) to its confirm.
    pub confirm: Histogram<u64>,
    pub sent: u64,
    pub confirmed: u64,
    pub refused: u64,
    /// Still without an answer when the producer gave up.
    pub unanswered: u64,
    /// Longest time without any confirm while one was due.
    pub stall_ns_max: u64,
}

impl Produced {
    pub fn new() -> Produced {
        Produced {
            confirm: latency_histogram(),
            sent: 0,
            confirmed: 0,
            refused: 0,
            unanswered: 0,
            stall_ns_max: 0,
        }
    }

    pub fn merge(&mut self, other: Produced) {
        self.confirm.add(&other.confirm).expect("same bounds");
        self.sent += other.sent;
        self.confirmed += other.confirmed;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.stall_ns_max = self.stall_ns_max.max(other.stall_ns_max);
    }
}

/// What a consumer has seen.
#[derive(Debug)]
pub struct Consumed {
    /// From when a message was due (or sent) to its arrival here.
    pub end_to_end: Histogram<u64>,
    pub lanes: Lanes,
    pub received: u64,
    /// Bodies that are not ours, or of the wrong size.
    pub foreign: u64,
    /// By consumer, for the evenness of the load.
    pub shares: Vec<u64>,
}

impl Consumed {
    pub fn new() -> Consumed {
        Consumed {
            end_to_end: latency_histogram(),
            lanes: Lanes::default(),
            received: 0,
            foreign: 0,
            shares: Vec::new(),
        }
    }

    pub fn merge(&mut self, other: Consumed) {
        self.end_to_end.add(&other.end_to_end).expect("same bounds");
        self.lanes.merge(other.lanes);
        self.received += other.received;
        self.foreign += other.foreign;
        self.shares.push(other.received);
    }
}
