//! What a queue has to know of a message beyond its place: sessions read it out of the protocol's own properties
//! once, so that shards understand no protocol.
//!
//! ```text
//! extras := len u8 | field*        len counts the fields
//! field  := tag u8 | len u8 | value (little-endian, as short as it can be)
//! ```
//! Fields with an unknown tag are passed over. Numbers of tags are part of the disk format: never reused.

use crate::Millis;
use crate::schedule::Recurrence;
use crate::settings::Dedup;

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
    /// Hash of the handle by which a message that waits can be cancelled or replaced. Tag 10.
    pub handle: Option<u128>,
    /// It is what a template of the queue made: the template's number, and the time that it was due. Tags 11 and 12.
    pub made_by: Option<(u64, Millis)>,
    /// It is a template: kept, and copied at these times. Tags 13 and 14.
    pub recurrence: Option<Recurrence>,
    /// The window in which `dedup` is looked for, where it is not the queue's own. Tag 15.
    pub window: Option<Window>,
}

/// A window that an exchange brings along: each queue that its messages reach keeps one for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Hash of the exchange's name; 48 bits.
    pub scope: u64,
    /// `window_ms` < 2^48, `count_max` < 2^32.
    pub bounds: Dedup,
}

impl Window {
    fn pack(&self) -> u128 {
        let Window { scope, bounds: Dedup { window_ms, count_max } } = *self;
        let (scope, window_ms) = (scope & BITS_48, window_ms.min(BITS_48));
        u128::from(window_ms) | u128::from(count_max.min(BITS_32)) << 48 | u128::from(scope) << 80
    }

    fn unpack(packed: u128) -> Window {
        let (window_ms, count_max) = (packed as u64 & BITS_48, (packed >> 48) as u64 & BITS_32);
        Window { scope: (packed >> 80) as u64, bounds: Dedup { window_ms, count_max } }
    }
}

const BITS_48: u64 = (1 << 48) - 1;
const BITS_32: u64 = (1 << 32) - 1;

impl Extras {
    /// The log has to know of it, whatever the publisher asked for: what queues remember of it is in the log, too.
    pub fn must_be_logged(&self) -> bool {
        self.dedup.is_some() || self.handle.is_some() || self.recurrence.is_some()
    }

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
        field(10, self.handle);
        field(11, self.made_by.map(|(template, _)| u128::from(template)));
        field(12, self.made_by.map(|(_, due)| u128::from(due)));
        let packed = self.recurrence.map(|recurrence| recurrence.pack());
        field(13, packed.map(|(schedule, _)| schedule));
        field(14, packed.map(|(_, bounds)| bounds));
        field(15, self.window.map(|window| window.pack()));
        out[mark] = (out.len() - mark - 1) as u8;
    }

    /// Takes extras off the front of `input`. `None` if they are not well formed.
    pub(crate) fn take(input: &mut &[u8]) -> Option<Extras> {
        let len = usize::from(*input.split_off_first()?);
        let mut fields = input.split_off(..len)?;
        let mut extras = Extras::default();
        let (mut queue, mut number) = (None, None);
        let (mut template, mut due) = (None, None);
        let (mut schedule, mut bounds) = (None, None);
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
                10 => extras.handle = Some(value),
                11 => template = Some(u64::try_from(value).ok()?),
                12 => due = Some(u64::try_from(value).ok()?),
                13 => schedule = Some(value),
                14 => bounds = Some(value),
                15 => extras.window = Some(Window::unpack(value)),
                _ => {}
            }
        }
        extras.from = queue.zip(number);
        extras.made_by = template.zip(due);
        if let (Some(schedule), Some(bounds)) = (schedule, bounds) {
            extras.recurrence = Some(Recurrence::unpack(schedule, bounds)?);
        }
        Some(extras)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;

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
            handle: Some(u128::MAX),
            made_by: Some((u64::MAX, u64::MAX)),
            recurrence: Some(Recurrence {
                schedule: Schedule::parse("59 23 31 12 6").unwrap(),
                count: u32::MAX,
                until: u64::MAX,
            }),
            window: Some(Window { scope: BITS_48, bounds: Dedup { window_ms: BITS_48, count_max: BITS_32 } }),
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
        for bad in
            [&[][..], &[1], &[1, 1], &[2, 1, 1], &[4, 1, 2, 0, 1], &[20, 5, 18, 0], &[5, 13, 0, 14, 0, 0]]
        {
            assert_eq!(Extras::take(&mut &bad[..]), None, "{bad:?}");
        }
    }
}
