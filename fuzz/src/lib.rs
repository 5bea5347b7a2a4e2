//! What the fuzz targets share: an allocator that makes an unbounded buffer a finding.
//!
//! libFuzzer's own `-malloc_limit_mb` needs a sanitizer's hooks, which stable Rust does not have; this allocator stands
//! in. It covers Rust's allocations, not those of C libraries.

use std::alloc::{GlobalAlloc, Layout, System};

/// No decoder has a reason to ask for more at once: each states its limit below this.
const ALLOCATION_BYTES_MAX: usize = 64 << 20;

/// The system's allocator, which aborts when somebody asks for more than 64 MiB at once.
pub struct Bounded;

fn check(bytes: usize) {
    if bytes > ALLOCATION_BYTES_MAX {
        // No allocation here: the message must be static.
        eprintln!("an allocation beyond the fuzzing limit of 64 MiB");
        std::process::abort();
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        check(bytes);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;
