//! Log sequence number: where a block begins in the node's log.

use std::fmt;

/// Position of a block: segment number in the high 32 bits, byte position in the segment in the
/// low 32. Ordered as the log is. Segments are at most 2 GiB, so the low part never overflows.
///
/// Two ranges are not positions in the log proper: cold files (bit 62 set; the segment number names the
/// cold file) and volatile blocks, which live in memory only (bit 63 set; the rest is a slot number).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    const COLD: u64 = 1 << 62;
    const VOLATILE: u64 = 1 << 63;

    pub fn new(segment: u32, byte_position: u32) -> Lsn {
        Lsn((u64::from(segment) << 32) | u64::from(byte_position))
    }

    /// A block in a cold file. `file` < 2^30.
    pub fn cold(file: u32, byte_position: u32) -> Lsn {
        Lsn(Self::COLD | Self::new(file, byte_position).0)
    }

    /// A block that exists only in memory.
    pub fn volatile(slot: u32) -> Lsn {
        Lsn(Self::VOLATILE | u64::from(slot))
    }

    /// Segment or cold-file number.
    pub fn segment(self) -> u32 {
        ((self.0 & !(Self::COLD | Self::VOLATILE)) >> 32) as u32
    }

    /// Position 0 of the file that it lies in: names the segment or cold file.
    pub fn file(self) -> Lsn {
        Lsn(self.0 >> 32 << 32)
    }

    pub fn byte_position(self) -> u32 {
        self.0 as u32
    }

    pub fn is_cold(self) -> bool {
        self.0 & Self::COLD != 0
    }

    pub fn is_volatile(self) -> bool {
        self.0 & Self::VOLATILE != 0
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_volatile() {
            "mem "
        } else if self.is_cold() {
            "cold "
        } else {
            ""
        };
        write!(f, "{kind}{}+{}", self.segment(), self.byte_position())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
