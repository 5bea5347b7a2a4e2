//! What one shard commits on behalf of others: the parts of a transaction that spans several shards.
//!
//! The transaction is one batch of one shard, its *home*: the records for the home itself, and one Outbox record with
//! those for the others. So a crash leaves all of it or nothing. The home hands the others their parts, under names by
//! which they know them if they come again ([`crate::transferred`]), and forgets them when all have them.
//!
//! ```text
//! outbox := part*                                              little-endian
//! part   := shard u16 | count u32 | len u32 | records (len bytes: count framed Publish, Append and Cancel records)
//! ```

use crate::ShardId;

/// What one shard gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    pub shard: ShardId,
    pub count: u32,
    pub records: &'a [u8],
}

const HEAD_BYTES: usize = 10;

impl Part<'_> {
    /// Appends it to the body of an Outbox record.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.0.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&(self.records.len() as u32).to_le_bytes());
        out.extend_from_slice(self.records);
    }
}

/// The parts in the body of an Outbox record, as far as they are well formed.
pub fn parts(mut body: &[u8]) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = body.split_first_chunk::<HEAD_BYTES>()?;
        let shard = ShardId(u16::from_le_bytes([head[0], head[1]]));
        let count = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let len = u32::from_le_bytes([head[6], head[7], head[8], head[9]]);
        let (records, rest) = rest.split_at_checked(len as usize)?;
        body = rest;
        Some(Part { shard, count, records })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_what_is_cut_short_does_not() {
        let mut body = Vec::new();
        let all = [
            Part { shard: ShardId(2), count: 3, records: b"three" },
            Part { shard: ShardId(300), count: 0, records: b"" },
        ];
        all.iter().for_each(|part| part.put(&mut body));
        assert!(parts(&body).eq(all));
        for cut in 1..body.len() {
            assert!(parts(&body[..cut]).count() < 2, "{cut}");
        }
    }
}
