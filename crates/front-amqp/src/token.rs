//! What the session writes into tokens, so that an answer finds its asker.
//!
//! ```text
//! bits 63..60  kind
//! batch:    59..0   number of the batch of publishes
//! channel:  47..32  channel number    31..0  operation number, unique in the session (wraps)
//! stream:   47..32  lane              31..0  consumer          (of a group too)
//! ```

use bowline_model::Token;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A batch of publishes.
    Batch(u64),
    /// A channel that waits for the answer to one operation.
    Channel { channel: u16, operation: u32 },
    /// The connection, which is being closed by its client.
    Leaving,
    /// A stream consumer that looks for its starting offset.
    StreamStart { consumer: u32, lane: u16 },
    /// A stream consumer that fetches.
    StreamFetch { consumer: u32, lane: u16 },
    /// A stream consumer that waits for more at the end of its partitions.
    StreamWatch { consumer: u32, lane: u16 },
    /// A consumer of a group that looks for its starting offset.
    GroupStart { consumer: u32, lane: u16 },
    /// A consumer that joins its group.
    GroupJoin { consumer: u32, lane: u16 },
    /// A consumer of a group that wants records.
    GroupAcquire { consumer: u32, lane: u16 },
    /// A consumer of a group that fetches what it has acquired.
    GroupFetch { consumer: u32, lane: u16 },
}

const BATCH: u64 = 1;
const CHANNEL: u64 = 2;
const STREAM_START: u64 = 3;
const STREAM_FETCH: u64 = 4;
const STREAM_WATCH: u64 = 5;
const LEAVING: u64 = 6;
const GROUP_START: u64 = 7;
const GROUP_JOIN: u64 = 8;
const GROUP_ACQUIRE: u64 = 9;
const GROUP_FETCH: u64 = 10;

impl Asker {
    pub fn token(self) -> Token {
        let lane_of = |consumer: u32, lane: u16| u64::from(lane) << 32 | u64::from(consumer);
        let (kind, value) = match self {
            Asker::Batch(number) => (BATCH, number),
            Asker::Channel { channel, operation } => {
                (CHANNEL, u64::from(channel) << 32 | u64::from(operation))
            }
            Asker::Leaving => (LEAVING, 0),
            Asker::StreamStart { consumer, lane } => (STREAM_START, lane_of(consumer, lane)),
            Asker::StreamFetch { consumer, lane } => (STREAM_FETCH, lane_of(consumer, lane)),
            Asker::StreamWatch { consumer, lane } => (STREAM_WATCH, lane_of(consumer, lane)),
            Asker::GroupStart { consumer, lane } => (GROUP_START, lane_of(consumer, lane)),
            Asker::GroupJoin { consumer, lane } => (GROUP_JOIN, lane_of(consumer, lane)),
            Asker::GroupAcquire { consumer, lane } => (GROUP_ACQUIRE, lane_of(consumer, lane)),
            Asker::GroupFetch { consumer, lane } => (GROUP_FETCH, lane_of(consumer, lane)),
        };
        Token(kind << 60 | value)
    }

    /// `None` for a token that no session made.
    pub fn of(token: Token) -> Option<Asker> {
        let value = token.0 & ((1 << 60) - 1);
        let low = value as u32;
        Some(match token.0 >> 60 {
            BATCH => Asker::Batch(value),
            CHANNEL => Asker::Channel { channel: (value >> 32) as u16, operation: low },
            STREAM_START => Asker::StreamStart { consumer: low, lane: (value >> 32) as u16 },
            STREAM_FETCH => Asker::StreamFetch { consumer: low, lane: (value >> 32) as u16 },
            STREAM_WATCH => Asker::StreamWatch { consumer: low, lane: (value >> 32) as u16 },
            LEAVING => Asker::Leaving,
            GROUP_START => Asker::GroupStart { consumer: low, lane: (value >> 32) as u16 },
            GROUP_JOIN => Asker::GroupJoin { consumer: low, lane: (value >> 32) as u16 },
            GROUP_ACQUIRE => Asker::GroupAcquire { consumer: low, lane: (value >> 32) as u16 },
            GROUP_FETCH => Asker::GroupFetch { consumer: low, lane: (value >> 32) as u16 },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asker_is_found_again() {
        let askers = [
            Asker::Batch(1 << 50),
            Asker::Channel { channel: 2047, operation: u32::MAX },
            Asker::Leaving,
            Asker::StreamStart { consumer: 7, lane: 0 },
            Asker::StreamFetch { consumer: 8, lane: 9 },
            Asker::StreamWatch { consumer: u32::MAX, lane: u16::MAX },
            Asker::GroupStart { consumer: 9, lane: 1 },
            Asker::GroupJoin { consumer: 9, lane: 2 },
            Asker::GroupAcquire { consumer: 9, lane: 3 },
            Asker::GroupFetch { consumer: 9, lane: 4 },
        ];
        for asker in askers {
            assert_eq!(Asker::of(asker.token()), Some(asker));
        }
        assert_eq!(Asker::of(Token(0)), None);
    }
}
