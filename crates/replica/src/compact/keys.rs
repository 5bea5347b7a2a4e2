//! The latest offset of each key, for as many keys as a budget of memory allows.
//!
//! A table with open addressing, 12 bytes a place: 64 bits of the key's hash, and the offset relative to where its
//! partition's dirty part begins. The place itself comes from another 64-bit hash under a secret of its own, so two
//! keys are taken for one only if their fingerprints agree and they meet in the same few places: about 10^-12 for ten
//! million keys. Both hashes are SipHash with random keys; nobody can choose keys that collide.

use bowline_model::PartitionId;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Bytes of a place.
const PLACE_BYTES: usize = 12;
/// Of a hundred places so many are used at most.
const FULL_PERCENT: usize = 85;

/// There is no place for another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

pub struct Keys {
    fingerprints: Vec<u64>,
    /// Relative offset + 1; 0: the place is free.
    offsets: Vec<u32>,
    used: usize,
    place: RandomState,
    fingerprint: RandomState,
}

/// Keys that find room in `bytes`.
pub fn keys_in(bytes: usize) -> u64 {
    (bytes / PLACE_BYTES * FULL_PERCENT / 100) as u64
}

impl Keys {
    /// Room for `keys` keys, though for no more than `bytes`. ≥ 64 KiB are taken in any case.
    pub fn new(keys: u64, bytes: usize) -> Keys {
        // Rounded up: a dirty part may have as many keys as offsets.
        let wanted = usize::try_from(keys).unwrap_or(usize::MAX).saturating_mul(100).div_ceil(FULL_PERCENT);
        let places = wanted.min(bytes / PLACE_BYTES).max(64 * 1024 / PLACE_BYTES);
        Keys {
            fingerprints: vec![0; places],
            offsets: vec![0; places],
            used: 0,
            place: RandomState::new(),
            fingerprint: RandomState::new(),
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Notes that `key` of `partition` occurs at `offset`, counted from where the partition's dirty part begins.
    ///
    /// # Errors
    /// See [`Full`].
    pub fn note(&mut self, partition: PartitionId, key: &[u8], offset: u64) -> Result<(), Full> {
        let relative = u32::try_from(offset).ok().and_then(|offset| offset.checked_add(1)).ok_or(Full)?;
        let (at, fingerprint) = self.find(partition, key);
        if self.offsets[at] == 0 {
            if (self.used + 1) * 100 > self.offsets.len() * FULL_PERCENT {
                return Err(Full);
            }
            self.used += 1;
            self.fingerprints[at] = fingerprint;
        }
        self.offsets[at] = self.offsets[at].max(relative);
        Ok(())
    }

    /// The highest offset that was noted.
    pub fn latest(&self, partition: PartitionId, key: &[u8]) -> Option<u64> {
        let (at, _) = self.find(partition, key);
        self.offsets[at].checked_sub(1).map(u64::from)
    }

    /// Where the key is, or would be.
    fn find(&self, partition: PartitionId, key: &[u8]) -> (usize, u64) {
        let hash = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u32(partition.0);
            hasher.write(key);
            hasher.finish()
        };
        let fingerprint = hash(&self.fingerprint);
        let places = self.offsets.len();
        let mut at = ((u128::from(hash(&self.place)) * places as u128) >> 64) as usize;
        while self.offsets[at] != 0 && self.fingerprints[at] != fingerprint {
            at = if at + 1 == places { 0 } else { at + 1 };
        }
        (at, fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every offset of a dirty part may bring a key of its own.
    #[test]
    fn there_is_room_for_as_many_keys_as_were_announced() {
        for n in 10_000..10_020_u64 {
            let mut keys = Keys::new(n, 1 << 20);
            for key in 0..n {
                keys.note(PartitionId(1), &key.to_le_bytes(), key).unwrap();
            }
        }
    }

    #[test]
    fn the_latest_offset_of_every_key_until_it_is_full() {
        let bytes = 1 << 20;
        let n = keys_in(bytes);
        let mut keys = Keys::new(n, bytes);
        for round in 0..2 {
            for key in 0..n {
                let partition = PartitionId((key % 3) as u32);
                keys.note(partition, &key.to_le_bytes(), round * n + key).unwrap();
            }
        }
        assert_eq!(keys.len() as u64, n);
        for key in 0..n {
            let key_bytes = key.to_le_bytes();
            assert_eq!(keys.latest(PartitionId((key % 3) as u32), &key_bytes), Some(n + key));
            assert_eq!(keys.latest(PartitionId(((key + 1) % 3) as u32), &key_bytes), None);
        }
        assert_eq!(keys.note(PartitionId(9), b"", 0).and(keys.note(PartitionId(9), b"x", 0)), Err(Full));
        let known = 7u64.to_le_bytes();
        assert_eq!(keys.note(PartitionId(1), &known, 3 * n), Ok(()), "a known key needs no place");
        assert_eq!(keys.latest(PartitionId(1), &known), Some(3 * n));
    }
}
