//! What the session writes into tokens, so that an answer finds its asker.
//!
//! ```text
//! bits 63..60  kind
//! batch:    59..0   number of the batch of publishes
//! channel:  47..32  channel number    31..0  operation number, unique in the session (wraps)
//! stream:   47..32  lane              31..0  consumer
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
}

const BATCH: u64 = 1;
const CHANNEL: u64 = 2;
const STREAM_START: u64 = 3;
const STREAM_FETCH: u64 = 4;
const STREAM_WATCH: u64 = 5;
const LEAVING: u64 = 6;

impl Asker {
    pub fn token(self) -> Token {
        let (kind, value) = match self {
            Asker::Batch(number) => (BATCH, number),
            Asker::Channel { channel, operation } => {
                (CHANNEL, u64::from(channel) << 32 | u64::from(operation))
            }
            Asker::Leaving => (LEAVING, 0),
            Asker::StreamStart { consumer, lane } => {
                (STREAM_START, u64::from(lane) << 32 | u64::from(consumer))
            }
            Asker::StreamFetch { consumer, lane } => {
                (STREAM_FETCH, u64::from(lane) << 32 | u64::from(consumer))
            }
            Asker::StreamWatch { consumer, lane } => {
                (STREAM_WATCH, u64::from(lane) << 32 | u64::from(consumer))
            }
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
        ];
        for asker in askers {
            assert_eq!(Asker::of(asker.token()), Some(asker));
        }
        assert_eq!(Asker::of(Token(0)), None);
    }
}
