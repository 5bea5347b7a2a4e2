//! Blocks: one shard's batch of records, the unit of writing, of replication and of caching.
//!
//! A shard fills an [`AlignedBuf`] with records behind room for the header; the log writes the header
//! into that room and hands the same memory to the disk, to replicas and to consumers. So a payload is
//! copied once, into here, however many readers it has.

use crate::{Lsn, Millis, ShardId, pool};
use bytes::Bytes;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes kept free at the front of an [`AlignedBuf`] for the block header (see `docs/formats.md`).
pub const BLOCK_HEADER_BYTES: usize = 128;
/// Memory and file alignment that direct I/O asks of us on every disk we know.
pub const BLOCK_ALIGN: usize = 4096;
/// A block is sealed when its payload reaches this many bytes; one larger record makes a larger block.
pub const BLOCK_PAYLOAD_SOFT_MAX: usize = 512 * 1024;
/// No block payload is larger. Requests that would make one are refused before they get here.
pub const BLOCK_PAYLOAD_HARD_MAX: usize = 48 * 1024 * 1024;

/// A committed (or volatile) block in memory.
pub struct Block {
    /// Where it begins in the log. Volatile blocks have [`Lsn::is_volatile`].
    pub lsn: Lsn,
    pub shard: ShardId,
    /// Raft term and index of the entry that this block is; both start at 1.
    pub term: u64,
    pub index: u64,
    /// The entry's time: what "now" means when it is applied.
    pub stamp: Millis,
    /// The records, framed as [`crate::record`] says.
    pub payload: Bytes,
}

pub type BlockRef = Arc<Block>;

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Block({:?}, {:?}, {}/{}, {} B)",
            self.lsn,
            self.shard,
            self.term,
            self.index,
            self.payload.len()
        )
    }
}

/// A growable buffer whose memory begins at a multiple of [`BLOCK_ALIGN`] and whose first
/// [`BLOCK_HEADER_BYTES`] are zero until [`AlignedBuf::header_mut`] fills them.
pub struct AlignedBuf {
    ptr: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the buffer owns its memory; it has no interior mutability.
unsafe impl Send for AlignedBuf {}
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Room for `payload` bytes before the first growth.
    pub fn with_payload_capacity(payload: usize) -> AlignedBuf {
        let (ptr, capacity) = pool::take(round_up(BLOCK_HEADER_BYTES + payload.max(1)));
        let mut buf = AlignedBuf { ptr, len: 0, capacity };
        buf.push_zeros(BLOCK_HEADER_BYTES);
        buf
    }

    /// Length of the payload in bytes, without the header.
    pub fn payload_len(&self) -> usize {
        self.len - BLOCK_HEADER_BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.payload_len() == 0
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn extend_from_slice(&mut self, data: &[u8]) {
        self.reserve(data.len());
        // SAFETY: reserve made room for data.len() bytes after len; the regions cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.ptr.as_ptr().add(self.len), data.len()) };
        self.len += data.len();
    }

    /// Gives memory back if more than a third of it is unused: for buffers that are going to be kept. Leaves room
    /// for padding to [`BLOCK_ALIGN`].
    pub fn shrink(&mut self) {
        let capacity = round_up(self.len);
        if self.capacity > capacity + capacity / 2 {
            self.move_to(capacity);
        }
    }

    /// Appends zeros up to a multiple of `align` of the whole buffer (header included).
    pub fn pad_to(&mut self, align: usize) {
        let target = self.len.div_ceil(align) * align;
        self.push_zeros(target - self.len);
    }

    pub fn header_mut(&mut self) -> &mut [u8] {
        &mut self.as_mut_slice()[..BLOCK_HEADER_BYTES]
    }

    pub fn payload(&self) -> &[u8] {
        &self.as_slice()[BLOCK_HEADER_BYTES..]
    }

    /// Header, payload and padding: what goes to the disk.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: len bytes from ptr are initialised.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and we hold the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }

    /// A zeroed buffer of exactly `len` bytes (rounded up to the alignment in memory): for reads.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let (ptr, capacity) = pool::take(round_up(len.max(1)));
        let mut buf = AlignedBuf { ptr, len: 0, capacity };
        buf.push_zeros(len);
        buf
    }

    /// The whole buffer as shared bytes.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn push_zeros(&mut self, n: usize) {
        self.reserve(n);
        // SAFETY: reserve made room.
        unsafe { std::ptr::write_bytes(self.ptr.as_ptr().add(self.len), 0, n) };
        self.len += n;
    }

    fn reserve(&mut self, more: usize) {
        let need = self.len + more;
        if need <= self.capacity {
            return;
        }
        self.move_to(round_up(need.max(self.capacity * 2)));
    }

    fn move_to(&mut self, capacity: usize) {
        debug_assert!(capacity >= self.len);
        let (ptr, capacity) = pool::take(capacity);
        // SAFETY: both regions are ours, distinct, and at least len long.
        unsafe { std::ptr::copy_nonoverlapping(self.ptr.as_ptr(), ptr.as_ptr(), self.len) };
        pool::give(self.ptr, self.capacity);
        self.ptr = ptr;
        self.capacity = capacity;
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        pool::give(self.ptr, self.capacity);
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} of {} B)", self.len, self.capacity)
    }
}

fn round_up(len: usize) -> usize {
    len.div_ceil(BLOCK_ALIGN) * BLOCK_ALIGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_aligned_and_keeps_what_was_written() {
        let mut buf = AlignedBuf::with_payload_capacity(10);
        let chunk: Vec<u8> = (0..=255).collect();
        for _ in 0..100 {
            buf.extend_from_slice(&chunk);
        }
        assert_eq!(buf.payload_len(), 25_600);
        assert_eq!(&buf.payload()[256 * 99..], &chunk[..]);
        buf.pad_to(512);
        assert_eq!(buf.as_slice().len() % 512, 0);
        assert_eq!(buf.as_slice().as_ptr() as usize % BLOCK_ALIGN, 0);
        buf.header_mut()[0] = 7;
        let bytes = buf.freeze();
        assert_eq!((bytes[0], bytes[1], bytes[BLOCK_HEADER_BYTES + 1]), (7, 0, 1));
    }

    /// A message of a kilobyte, a block to itself on a quiet broker, must not hold more than a page.
    #[test]
    fn small_blocks_are_kept_small() {
        let mut buf = AlignedBuf::with_payload_capacity(4096);
        buf.extend_from_slice(&[1; 1100]);
        buf.shrink();
        assert_eq!(buf.capacity(), BLOCK_ALIGN);
        assert_eq!(buf.payload(), [1; 1100]);
        buf.pad_to(512);
        assert_eq!(buf.capacity(), BLOCK_ALIGN);
    }
}
