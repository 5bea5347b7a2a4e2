//! What a queue wants to know of each message, and how it is read out of one. See [`Extras`].

use bowline_codec_amqp::{Properties, Value};
use bowline_model::extras::{Extras, Window};
use bowline_model::settings::Overflow;
use bowline_topology::settings::{Reads, Source};
use bowline_topology::{Exchange, Queue};

use crate::hash::{hash64, hash128};

/// What a queue wants to know of each message, and what it may refuse.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Wants {
    /// The queue may refuse messages: they are asked for one by one.
    pub checked: bool,
    reads: Reads,
    /// What makes a message the same as another for the exchange that it is published to.
    of_exchange: Option<(Source, Window)>,
}

/// Where to look up what a queue wants.
pub struct Of<'a> {
    pub routing_key: &'a [u8],
    pub properties: &'a Properties<'a>,
    /// Who published it, if that is known.
    pub user: Option<&'a str>,
}

impl Wants {
    pub fn of(queue: &Queue) -> Wants {
        let settings = &queue.settings;
        let bounded = settings.max_length.is_some() || settings.max_length_bytes.is_some();
        Wants {
            checked: bounded && settings.overflow != Overflow::DropHead,
            reads: queue.reads.as_deref().cloned().unwrap_or_default(),
            of_exchange: None,
        }
    }

    /// What it wants to know of what is published to `exchange`. The queue's own duplicate detection comes first.
    pub fn from_exchange(self, exchange: &Exchange) -> Wants {
        let dedup = exchange.dedup.as_deref().filter(|_| self.reads.dedup.is_none());
        let of_exchange = dedup.map(|dedup| {
            // 48 bits are kept.
            let scope = hash64(exchange.spec.name.as_bytes()) >> 16;
            (dedup.source.clone(), Window { scope, bounds: dedup.window })
        });
        Wants { of_exchange, ..self }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Wants::default()
    }

    /// Adds what the queue wants to know to what the message's properties say.
    pub fn add(&self, message: &Of<'_>, extras: &mut Extras) {
        extras.dedup = self.reads.dedup.as_ref().and_then(|source| read(source, message, hash128));
        if let Some((source, window)) = &self.of_exchange {
            extras.dedup = read(source, message, hash128);
            extras.window = extras.dedup.map(|_| *window);
        }
        extras.key = self.reads.key.as_ref().and_then(|source| read(source, message, hash64));
        extras.tenant = self.reads.tenant.as_ref().and_then(|source| read(source, message, hash64));
    }
}

/// `None` if the message has nothing there.
fn read<T>(source: &Source, message: &Of<'_>, hash: fn(&[u8]) -> T) -> Option<T> {
    match source {
        Source::RoutingKey => Some(hash(message.routing_key)),
        Source::MessageId => message.properties.message_id().map(|id| hash(id.as_bytes())),
        Source::CorrelationId => message.properties.correlation_id().map(|id| hash(id.as_bytes())),
        Source::AppId => message.properties.app_id().map(|id| hash(id.as_bytes())),
        Source::User => match message.properties.user_id() {
            Some(user) => Some(hash(user.as_bytes())),
            None => message.user.map(|user| hash(user.as_bytes())),
        },
        Source::Header(name) => Some(digest(message.properties.headers()?.get(name)?, hash)),
    }
}

/// Texts and byte arrays count as what they hold, integers as their decimal text: so a producer in another language
/// that writes the same key in another type means the same.
fn digest<T>(value: Value<'_>, hash: fn(&[u8]) -> T) -> T {
    match value {
        Value::LongStr(bytes) | Value::Bytes(bytes) => hash(bytes),
        value => match value.as_i64() {
            Some(number) => hash(number.to_string().as_bytes()),
            None => {
                let mut bytes = Vec::new();
                value.encode(&mut bytes);
                hash(&bytes)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties};

    fn with_header(name: &str, value: impl Into<FieldValue>) -> Vec<u8> {
        let headers = FieldTable::new().with(name, value);
        OwnedProperties { headers: Some(headers), ..Default::default() }.to_bytes()
    }

    #[test]
    fn queues_ask_for_what_they_need() {
        let id = OwnedProperties { message_id: Some(b"m1".to_vec()), ..Default::default() }.to_bytes();
        let header = with_header("customer", 17i64);
        let of = |block: &[u8], reads: Reads| {
            let properties = Properties::parse(block).unwrap();
            let message = Of { routing_key: b"key", properties: &properties, user: Some("ann") };
            let mut extras = Extras::default();
            Wants { reads, ..Wants::default() }.add(&message, &mut extras);
            (extras.dedup, extras.key, extras.tenant)
        };
        let usual = Reads {
            dedup: Some(Source::MessageId),
            key: Some(Source::RoutingKey),
            tenant: Some(Source::User),
        };
        let (key, ann) = (Some(hash64(b"key")), Some(hash64(b"ann")));
        assert_eq!(of(&id, usual.clone()), (Some(hash128(b"m1")), key, ann));
        assert_eq!(of(&header, usual), (None, key, ann), "a message without an id is no duplicate");
        let from =
            |block: &[u8], source: Source| of(block, Reads { key: Some(source), ..Reads::default() }).1;
        let about = OwnedProperties {
            correlation_id: Some(b"c".to_vec()),
            app_id: Some(b"app".to_vec()),
            user_id: Some(b"bob".to_vec()),
            ..Default::default()
        };
        let hashes = [Source::CorrelationId, Source::AppId, Source::User].map(|s| from(&about.to_bytes(), s));
        assert_eq!(hashes, [Some(hash64(b"c")), Some(hash64(b"app")), Some(hash64(b"bob"))]);
        assert_eq!(from(&id, Source::AppId), None);
        let customer = || Some(Source::Header("customer".to_string()));
        let named = || Reads { dedup: customer(), key: customer(), tenant: customer() };
        // A number is the same key as its text.
        let seventeen = (Some(hash128(b"17")), Some(hash64(b"17")), Some(hash64(b"17")));
        assert_eq!(of(&header, named()), seventeen);
        assert_eq!(of(&with_header("customer", "17"), named()), seventeen);
        assert_eq!(of(&id, named()), (None, None, None));
    }
}
