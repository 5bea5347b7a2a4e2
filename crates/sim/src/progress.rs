//! Where each thread's seed is, for the report of a failure.

use std::cell::Cell;

thread_local! {
    static STEP: Cell<u32> = const { Cell::new(0) };
}

pub fn set_step(step: u32) {
    STEP.set(step);
}

pub fn step() -> u32 {
    STEP.get()
}
