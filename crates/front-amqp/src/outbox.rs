//! What waits to be written to the socket: staged octets with slices of blocks between them.
//!
//! Frame heads, small bodies and replies are staged in one growing buffer; large bodies stay where they are and
//! are only referred to. A writer takes everything as one list of slices for a vectored write.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::IoSlice;

#[derive(Default)]
pub struct Outbox {
    staged: Vec<u8>,
    /// Octets of `staged` that were written already.
    head: usize,
    /// Each slice goes out before the staged octet at its position.
    shared: VecDeque<(usize, Bytes)>,
    /// Octets in `shared`.
    shared_len: usize,
    written: u64,
}

/// The written part of the staged buffer is given back when it is larger than this and than the rest.
const COMPACT_BYTES_MIN: usize = 64 * 1024;

impl Outbox {
    /// The buffer to append frames to.
    #[inline]
    pub fn staged(&mut self) -> &mut Vec<u8> {
        &mut self.staged
    }

    /// Appends a slice without copying it.
    pub fn push_shared(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.shared_len += slice.len();
            self.shared.push_back((self.staged.len(), slice));
        }
    }

    /// Octets that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.staged.len() - self.head + self.shared_len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets written since the session began.
    pub fn written_total(&self) -> u64 {
        self.written
    }

    /// Octets queued since the session began: what [`Outbox::written_total`] will be once all is written.
    pub fn queued_total(&self) -> u64 {
        self.written + self.len() as u64
    }

    /// Fills `slices` from the front and tells how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut at = self.head;
        let mut put = |slice: &'a [u8]| {
            if slice.is_empty() {
                return true;
            }
            let Some(place) = slices.get_mut(used) else { return false };
            *place = IoSlice::new(slice);
            used += 1;
            true
        };
        for (position, shared) in &self.shared {
            if !put(&self.staged[at..*position]) || !put(shared) {
                return used;
            }
            at = *position;
        }
        put(&self.staged[at..]);
        used
    }

    /// The first `n` octets have been written.
    pub fn advance(&mut self, mut n: usize) {
        debug_assert!(n <= self.len());
        self.written += n as u64;
        while n > 0 {
            let next_shared = self.shared.front().map_or(self.staged.len(), |(position, _)| *position);
            let from_staged = n.min(next_shared - self.head);
            self.head += from_staged;
            n -= from_staged;
            if n == 0 {
                break;
            }
            let Some((_, slice)) = self.shared.front_mut() else { break };
            let from_shared = n.min(slice.len());
            self.shared_len -= from_shared;
            n -= from_shared;
            if from_shared == slice.len() {
                self.shared.pop_front();
            } else {
                *slice = slice.slice(from_shared..);
            }
        }
        self.reclaim();
    }

    /// Gives memory back that is not needed for what waits.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.staged = Vec::new();
            self.shared = VecDeque::new();
        }
    }

    pub fn capacity(&self) -> usize {
        self.staged.capacity()
    }

    fn reclaim(&mut self) {
        if self.is_empty() {
            self.staged.clear();
            self.head = 0;
        } else if self.head > COMPACT_BYTES_MIN && self.head > self.staged.len() / 2 {
            self.staged.drain(..self.head);
            for (position, _) in &mut self.shared {
                *position -= self.head;
            }
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a socket takes it, what comes out is what went in.
    #[test]
    fn any_sequence_of_partial_writes() {
        for step in [1, 3, 7, 1000, 70_000] {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut received = Vec::new();
            for round in 0..200usize {
                let staged = vec![round as u8; 10 + round * 7 % 900];
                outbox.staged().extend_from_slice(&staged);
                expected.extend_from_slice(&staged);
                if round % 3 == 0 {
                    let shared = vec![!(round as u8); round * 31 % 5000];
                    outbox.push_shared(Bytes::from(shared.clone()));
                    expected.extend_from_slice(&shared);
                }
                write(&mut outbox, &mut received, step, 2);
            }
            assert_eq!(outbox.queued_total(), expected.len() as u64);
            write(&mut outbox, &mut received, 100, usize::MAX);
            assert!(outbox.is_empty() && received == expected, "step {step}");
        }
    }

    fn write(outbox: &mut Outbox, received: &mut Vec<u8>, step: usize, rounds: usize) {
        for _ in 0..rounds {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = outbox.slices(&mut slices);
            let joined: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.iter().copied()).collect();
            let n = joined.len().min(step);
            if n == 0 {
                return;
            }
            received.extend_from_slice(&joined[..n]);
            outbox.advance(n);
        }
    }
}
