//! A message as exchanges see it.

use bowline_codec_amqp::Properties;
use bowline_model::meta::Table;
use bowline_topology::{Message, Property};

use crate::table::to_table;

/// What routing may ask of a message.
pub struct Routable<'a, 'b> {
    pub properties: Properties<'a>,
    /// For exchanges that choose by chance: the state of a [`step`].
    pub chance: &'b mut u64,
}

impl Message for Routable<'_, '_> {
    fn headers(&mut self) -> Table {
        self.properties.headers().map(to_table).unwrap_or_default()
    }

    fn property(&mut self, property: Property) -> Option<Vec<u8>> {
        match property {
            Property::MessageId => self.properties.message_id().map(|id| id.as_bytes().to_vec()),
            Property::CorrelationId => self.properties.correlation_id().map(|id| id.as_bytes().to_vec()),
            Property::Timestamp => self.properties.timestamp().map(|time| time.to_string().into_bytes()),
        }
    }

    fn chance(&mut self) -> u64 {
        step(self.chance)
    }
}

/// SplitMix64: the next number of a sequence that its state decides. Not for keys or passwords.
pub fn step(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
