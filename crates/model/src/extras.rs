//! What a queue has to know of a message beyond its place: sessions read it out of the protocol's own properties
//! once, so that shards understand no protocol.
//!
//! ```text
//! extras := len u8 | field*        len counts the fields
//! field  := tag u8 | len u8 | value (little-endian, as short as it can be)
//! ```
//! Fields with an unknown tag are passed over. Numbers of tags are part of the disk format: never reused.

/// See the module. All `None` for most messages, and then not stored.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Extras {
    /// As the publisher set it; the queue clamps it to what it has. Tag 1.
    pub priority: Option<u8>,
    /// Time to live, ms from the time of the block. Tag 2.
    pub ttl_ms: Option<u64>,
    /// Not to be delivered earlier than this long after the time of the block, ms. Tag 3.
    pub delay_ms: Option<u64>,
    /// Not to be delivered before this time, ms since the epoch. Tag 4.
    pub deliver_at: Option<u64>,
    /// Hash of what makes the message the same as another, for queues with duplicate detection. Tag 5.
    pub dedup: Option<u128>,
    /// Hash of the key within which order is kept, for queues with keyed order. Tag 6.
    pub key: Option<u64>,
    /// Hash of whose message it is, for queues that share fairly. Tag 7.
    pub tenant: Option<u64>,
    /// The queue of another shard that it was moved from, and its number there: a second arrival is the same
    /// message. Tags 8 and 9.
    pub from: Option<(u32, u64)>,
}

impl Extras {
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let mark = out.len();
        out.push(0);
        let mut field = |tag: u8, value: Option<u128>| {
            let Some(value) = value else { return };
            let len = (128 - value.leading_zeros()).div_ceil(8) as usize;
            out.extend_from_slice(&[tag, len as u8]);
            out.extend_from_slice(&value.to_le_bytes()[..len]);
        };
        field(1, self.priority.map(u128::from));
        field(2, self.ttl_ms.map(u128::from));
        field(3, self.delay_ms.map(u128::from));
        field(4, self.deliver_at.map(u128::from));
        field(5, self.dedup);
        field(6, self.key.map(u128::from));
        field(7, self.tenant.map(u128::from));
        field(8, self.from.map(|(queue, _)| u128::from(queue)));
        field(9, self.from.map(|(_, number)| u128::from(number)));
        out[mark] = (out.len() - mark - 1) as u8;
    }

    /// Takes extras off the front of `input`. `None` if they are not well formed.
    pub(crate) fn take(input: &mut &[u8]) -> Option<Extras> {
        let len = usize::from(*input.split_off_first()?);
        let mut fields = input.split_off(..len)?;
        let mut extras = Extras::default();
        let (mut queue, mut number) = (None, None);
        while let Some(&tag) = fields.split_off_first() {
            let len = usize::from(*fields.split_off_first()?);
            let bytes = fields.split_off(..len)?;
            let mut value = [0; 16];
            value.get_mut(..len)?.copy_from_slice(bytes);
            let value = u128::from_le_bytes(value);
            match tag {
                1 => extras.priority = Some(u8::try_from(value).ok()?),
                2 => extras.ttl_ms = Some(u64::try_from(value).ok()?),
                3 => extras.delay_ms = Some(u64::try_from(value).ok()?),
                4 => extras.deliver_at = Some(u64::try_from(value).ok()?),
                5 => extras.dedup = Some(value),
                6 => extras.key = Some(u64::try_from(value).ok()?),
                7 => extras.tenant = Some(u64::try_from(value).ok()?),
                8 => queue = Some(u32::try_from(value).ok()?),
                9 => number = Some(u64::try_from(value).ok()?),
                _ => {}
            }
        }
        extras.from = queue.zip(number);
        Some(extras)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_the_rest_is_left() {
        let all = Extras {
            priority: Some(0),
            ttl_ms: Some(60_000),
            delay_ms: Some(u64::MAX),
            deliver_at: Some(1),
            dedup: Some(u128::MAX),
            key: Some(7),
            tenant: Some(1 << 40),
            from: Some((9, 0)),
        };
        for extras in [all, Extras::default(), Extras { priority: Some(255), ..Extras::default() }] {
            let mut out = Vec::new();
            extras.put(&mut out);
            out.extend_from_slice(b"body");
            let mut input = out.as_slice();
            assert_eq!(Extras::take(&mut input), Some(extras));
            assert_eq!(input, b"body");
        }
    }

    #[test]
    fn damage_is_told_and_unknown_fields_are_passed_over() {
        assert_eq!(Extras::take(&mut &[3, 99, 1, 5][..]), Some(Extras::default()));
        for bad in [&[][..], &[1], &[1, 1], &[2, 1, 1], &[4, 1, 2, 0, 1], &[20, 5, 18, 0]] {
            assert_eq!(Extras::take(&mut &bad[..]), None, "{bad:?}");
        }
    }
}
