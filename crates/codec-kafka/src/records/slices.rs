//! The content of a `records` field: whole record batches, one after the other.

use bytes::Bytes;

/// Slices that together make the field, so that batches which lie apart in memory are sent without
/// joining them. Decoding gives one slice.
#[derive(Debug, Clone, Default)]
pub struct Records {
    pub segments: Vec<Bytes>,
}

impl Records {
    /// Total bytes.
    pub fn len(&self) -> usize {
        self.segments.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(Bytes::is_empty)
    }

    pub fn push(&mut self, segment: Bytes) {
        self.segments.push(segment);
    }

    /// One contiguous slice; copies only when there are several.
    pub fn into_bytes(mut self) -> Bytes {
        match self.segments.len() {
            0 => Bytes::new(),
            1 => self.segments.swap_remove(0),
            _ => self.segments.concat().into(),
        }
    }
}

impl From<Bytes> for Records {
    fn from(segment: Bytes) -> Self {
        Self { segments: vec![segment] }
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(segments: Vec<Bytes>) -> Self {
        Self { segments }
    }
}

/// Equal when the bytes are, however they are cut.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |records: &'_ Records| records.segments.concat();
        self.len() == other.len() && bytes(self) == bytes(other)
    }
}

impl Eq for Records {}
