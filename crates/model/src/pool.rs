//! Memory of large block buffers, used again.
//!
//! Blocks come and go at the rate of the log. From the allocator each would be fresh memory: a page fault every 4 KiB,
//! which costs more than filling it, and a trail of freed memory that the allocator gives back too late or not at
//! all. Here a buffer that is let go serves the next one of about its size.

use crate::block::BLOCK_ALIGN;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Smaller buffers come from the allocator, cheaply.
const POOLED_MIN: usize = 32 * 1024;
/// Larger ones are too rare to keep.
const POOLED_MAX: usize = 8 * 1024 * 1024;
/// What lies here at most, bytes. The oldest goes first.
const POOL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A buffer may be larger than what was asked for by this part of it.
const EXCESS_PART: usize = 8;

static POOL: Mutex<Pool> = Mutex::new(Pool { spares: Vec::new(), bytes: 0 });

struct Pool {
    /// Oldest first.
    spares: Vec<Spare>,
    bytes: usize,
}

struct Spare {
    ptr: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a spare is memory that nobody else knows of.
unsafe impl Send for Spare {}

/// Uninitialised memory aligned to [`BLOCK_ALIGN`]: at least `capacity` bytes, a multiple of [`BLOCK_ALIGN`]; how many.
pub(crate) fn take(capacity: usize) -> (NonNull<u8>, usize) {
    debug_assert!(capacity > 0 && capacity.is_multiple_of(BLOCK_ALIGN));
    if !(POOLED_MIN..=POOLED_MAX).contains(&capacity) {
        return (allocate(capacity), capacity);
    }
    let fits = capacity..=capacity + capacity / EXCESS_PART;
    let mut pool = lock();
    // The youngest that fits is the warmest.
    if let Some(at) = pool.spares.iter().rposition(|spare| fits.contains(&spare.capacity)) {
        let Spare { ptr, capacity } = pool.spares.remove(at);
        pool.bytes -= capacity;
        return (ptr, capacity);
    }
    drop(pool);
    (allocate(capacity), capacity)
}

/// Takes back what [`take`] gave, with the capacity that it told.
pub(crate) fn give(ptr: NonNull<u8>, capacity: usize) {
    if !(POOLED_MIN..=POOLED_MAX).contains(&capacity) {
        return free(ptr, capacity);
    }
    let mut pool = lock();
    pool.spares.push(Spare { ptr, capacity });
    pool.bytes += capacity;
    let mut surplus = 0;
    let mut left = pool.bytes;
    while left > POOL_BYTES_MAX {
        left -= pool.spares[surplus].capacity;
        surplus += 1;
    }
    pool.bytes = left;
    let surplus: Vec<Spare> = pool.spares.drain(..surplus).collect();
    drop(pool);
    for Spare { ptr, capacity } in surplus {
        free(ptr, capacity);
    }
}

/// Gives everything back to the allocator: for a quiet moment.
pub fn clear() {
    let spares = {
        let mut pool = lock();
        pool.bytes = 0;
        std::mem::take(&mut pool.spares)
    };
    for Spare { ptr, capacity } in spares {
        free(ptr, capacity);
    }
}

fn lock() -> MutexGuard<'static, Pool> {
    // Nothing in here panics half-way.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, BLOCK_ALIGN).expect("block capacities are far below isize::MAX")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    let layout = layout(capacity);
    // SAFETY: capacity is never zero.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

fn free(ptr: NonNull<u8>, capacity: usize) {
    // SAFETY: ptr came from allocate(capacity).
    unsafe { dealloc(ptr.as_ptr(), layout(capacity)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_bounded() {
        let taken: Vec<_> = (0..64).map(|_| take(256 * 1024)).collect();
        for (ptr, capacity) in taken {
            give(ptr, capacity);
        }
        let pool = lock();
        assert!(pool.bytes <= POOL_BYTES_MAX);
        assert_eq!(pool.bytes, pool.spares.iter().map(|spare| spare.capacity).sum::<usize>());
    }

    #[test]
    fn a_buffer_is_never_smaller_than_asked_for_nor_much_larger() {
        for size in [32 * 1024, 36 * 1024, 64 * 1024, 300 * 1024, 512 * 1024] {
            let (ptr, capacity) = take(size);
            assert!((size..=size + size / EXCESS_PART).contains(&capacity));
            give(ptr, capacity);
        }
    }
}
