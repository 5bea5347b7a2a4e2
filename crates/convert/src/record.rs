//! Messages of AMQP as records of a topic, and back. The mapping is described in ARCHITECTURE.md, "Streams".
//!
//! Whatever AMQP can say survives: a long string that is UTF-8 becomes a record header of its own name, so that
//! Kafka clients find what they expect; every other field type, and any name or value that could be mistaken for
//! something else on the way back, becomes `bowline.amqp.header.<type>.<name>` with the field's encoding.

use bowline_codec_amqp::{Properties, PropertyParts, TableRef, Value};
use bowline_codec_kafka::partitioner::partition_for_key;
use bowline_codec_kafka::records::{BatchBuilder, BuildError, Header, Headers};
use bowline_model::PartitionId;
use std::ops::Range;

/// Names that the mapping itself uses begin so.
const PREFIX: &[u8] = b"bowline.amqp.";
const FIELD: &[u8] = b"header.";
/// Set, with an empty body, for a record without a value; both ways.
const NULL_VALUE: &str = "x-bowline-null-value";
/// Header field that tells how often a record came back to a group.
const DELIVERY_COUNT: &[u8] = b"x-delivery-count";

/// A message on its way into a topic.
pub struct Outgoing<'a> {
    pub exchange: &'a [u8],
    /// Becomes the key; empty: no key.
    pub routing_key: &'a [u8],
    pub properties: Properties<'a>,
    pub body: &'a [u8],
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// Which of a topic's partitions (at least one) gets a message: its routing key decides; those without take `turn`s.
pub fn partition_of(partitions: &[PartitionId], routing_key: &[u8], turn: u64) -> PartitionId {
    match partitions.len() {
        1 => partitions[0],
        n if routing_key.is_empty() => partitions[(turn % n as u64) as usize],
        n => partitions[partition_for_key(routing_key, n as i32).max(0) as usize],
    }
}

/// Record headers in the making: names and values one after the other.
#[derive(Default)]
pub struct HeaderBuffer {
    bytes: Vec<u8>,
    spans: Vec<(Range<usize>, Range<usize>)>,
}

impl HeaderBuffer {
    fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Adds a header; `name` is written in parts.
    fn add(&mut self, name: &[&[u8]], value: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        for part in name {
            self.bytes.extend_from_slice(part);
        }
        let middle = self.bytes.len();
        value(&mut self.bytes);
        self.spans.push((start..middle, middle..self.bytes.len()));
    }

    fn headers(&self) -> Vec<Header<'_>> {
        self.spans
            .iter()
            .map(|(name, value)| Header {
                key: &self.bytes[name.clone()],
                value: Some(&self.bytes[value.clone()]),
            })
            .collect()
    }
}

/// Adds the message as a record. `buffer` is scratch space.
pub fn append_record(
    message: &Outgoing<'_>,
    buffer: &mut HeaderBuffer,
    batch: &mut BatchBuilder,
) -> Result<(), BuildError> {
    buffer.clear();
    add_properties(&message.properties, buffer);
    if !message.exchange.is_empty() {
        buffer.add(&[PREFIX, b"exchange"], |out| out.extend_from_slice(message.exchange));
    }
    let fields = message.properties.headers().unwrap_or_default();
    let is_null =
        message.body.is_empty() && fields.get(NULL_VALUE).is_some_and(|value| value == Value::Bool(true));
    for (name, value) in fields.iter() {
        if !(is_null && name == NULL_VALUE) {
            add_field(name.as_bytes(), value, buffer);
        }
    }
    let key = (!message.routing_key.is_empty()).then_some(message.routing_key);
    let value = (!is_null).then_some(message.body);
    batch.append(key, value, &buffer.headers(), message.timestamp).map(|_| ())
}

fn add_properties(properties: &Properties<'_>, buffer: &mut HeaderBuffer) {
    let texts: [(&[u8], _); 10] = [
        (b"content-type", properties.content_type()),
        (b"content-encoding", properties.content_encoding()),
        (b"correlation-id", properties.correlation_id()),
        (b"reply-to", properties.reply_to()),
        (b"expiration", properties.expiration()),
        (b"message-id", properties.message_id()),
        (b"type", properties.message_type()),
        (b"user-id", properties.user_id()),
        (b"app-id", properties.app_id()),
        (b"cluster-id", properties.cluster_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            buffer.add(&[PREFIX, name], |out| out.extend_from_slice(text.as_bytes()));
        }
    }
    let numbers: [(&[u8], Option<u64>); 3] = [
        (b"delivery-mode", properties.delivery_mode().map(u64::from)),
        (b"priority", properties.priority().map(u64::from)),
        (b"timestamp", properties.timestamp()),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            buffer.add(&[PREFIX, name], |out| out.extend_from_slice(number.to_string().as_bytes()));
        }
    }
}

fn add_field(name: &[u8], value: Value<'_>, buffer: &mut HeaderBuffer) {
    match value {
        Value::LongStr(bytes) if std::str::from_utf8(bytes).is_ok() && !name.starts_with(PREFIX) => {
            buffer.add(&[name], |out| out.extend_from_slice(bytes));
        }
        _ => buffer.add(&[PREFIX, FIELD, &[value.tag(), b'.'], name], |out| {
            let start = out.len();
            value.encode(out);
            out.remove(start);
        }),
    }
}

/// A record on its way to an AMQP client.
pub struct Incoming<'a> {
    /// The stream's name.
    pub stream: &'a str,
    pub offset: u64,
    /// Position in the topic, when that has several partitions.
    pub partition: Option<u32>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// It was an AMQP message before: see `record::APPEND_CONVERTED`.
    pub converted: bool,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
    /// How often it has come back to the group that it is delivered to, if it is to one.
    pub returns: Option<u32>,
}

/// The message a record stands for, but for its properties.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
    pub body: &'a [u8],
}

/// Scratch space for field tables.
#[derive(Default)]
pub struct FieldBuffer {
    table: Vec<u8>,
}

impl FieldBuffer {
    fn add(&mut self, name: &[u8], value: Value<'_>) {
        self.add_name(name);
        value.encode(&mut self.table);
    }

    fn add_name(&mut self, name: &[u8]) {
        let name = &name[..name.len().min(255)];
        self.table.push(name.len() as u8);
        self.table.extend_from_slice(name);
    }
}

/// Turns a record into a message; its property block is appended to `properties`, which takes at most
/// `properties_max` octets: headers that would make it larger are left out, and a header says so.
pub fn read_record<'a>(
    record: &Incoming<'a>,
    properties_max: usize,
    buffer: &mut FieldBuffer,
    properties: &mut Vec<u8>,
) -> Message<'a> {
    buffer.table.clear();
    let mut parts = PropertyParts::default();
    let mut exchange: &[u8] = &[];
    for header in record.headers.clone() {
        // What a client claimed is not what we counted.
        if record.returns.is_some() && is_field(header.key, DELIVERY_COUNT) {
            continue;
        }
        let known = header.key.strip_prefix(PREFIX).zip(header.value).is_some_and(|(name, value)| {
            if name == b"exchange" && value.len() <= 255 {
                exchange = value;
                return true;
            }
            read_property(name, value, &mut parts) || read_field(name, value, buffer)
        });
        if !known {
            let value = match header.value {
                None => Value::Void,
                Some(bytes) if record.converted || std::str::from_utf8(bytes).is_ok() => {
                    Value::LongStr(bytes)
                }
                Some(bytes) => Value::Bytes(bytes),
            };
            buffer.add(header.key, value);
        }
    }
    let routing_key = match record.key {
        None if record.converted => &[],
        Some(key) if key.len() <= 255 && (record.converted || std::str::from_utf8(key).is_ok()) => key,
        Some(key) => {
            buffer.add(b"x-bowline-key", Value::Bytes(key));
            record.stream.as_bytes()
        }
        None => record.stream.as_bytes(),
    };
    let own_fields = buffer.table.len();
    add_own_fields(record, buffer);
    let start = properties.len();
    encode_with(&parts, &buffer.table, properties);
    if properties.len() - start > properties_max {
        properties.truncate(start);
        buffer.table.drain(..own_fields);
        buffer.add(b"x-bowline-headers-omitted", Value::Bool(true));
        encode_with(&parts, &buffer.table, properties);
    }
    Message { exchange, routing_key, body: record.value.unwrap_or_default() }
}

/// Whether a record header of that key is read as the header field `name`.
fn is_field(key: &[u8], name: &[u8]) -> bool {
    let typed = key.strip_prefix(PREFIX).and_then(|key| key.strip_prefix(FIELD));
    key == name || typed.and_then(|key| key.get(2..)) == Some(name)
}

/// What the broker itself tells of a record.
fn add_own_fields(record: &Incoming<'_>, buffer: &mut FieldBuffer) {
    buffer.add(b"x-stream-offset", Value::I64(record.offset as i64));
    if let Some(partition) = record.partition {
        buffer.add(b"x-bowline-partition", Value::I64(partition.into()));
    }
    if let Some(returns) = record.returns.filter(|returns| *returns > 0) {
        buffer.add(DELIVERY_COUNT, Value::I64(returns.into()));
    }
    if record.value.is_none() {
        buffer.add(NULL_VALUE.as_bytes(), Value::Bool(true));
    }
    if !record.converted {
        buffer.add(b"x-bowline-timestamp", Value::I64(record.timestamp));
    }
}

fn encode_with(parts: &PropertyParts<'_>, table: &[u8], out: &mut Vec<u8>) {
    debug_assert!(TableRef::parse(table).is_ok());
    PropertyParts { headers: Some(table), ..*parts }.encode(out);
}

/// Takes a property back. False if it is none, or its value is none that the property can have.
fn read_property<'a>(name: &[u8], value: &'a [u8], parts: &mut PropertyParts<'a>) -> bool {
    if value.len() > 255 {
        return false;
    }
    let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
    let octet = || number().and_then(|number| u8::try_from(number).ok());
    let place = match name {
        b"delivery-mode" => {
            parts.delivery_mode = octet();
            return parts.delivery_mode.is_some();
        }
        b"priority" => {
            parts.priority = octet();
            return parts.priority.is_some();
        }
        b"timestamp" => {
            parts.timestamp = number();
            return parts.timestamp.is_some();
        }
        b"content-type" => &mut parts.content_type,
        b"content-encoding" => &mut parts.content_encoding,
        b"correlation-id" => &mut parts.correlation_id,
        b"reply-to" => &mut parts.reply_to,
        b"expiration" => &mut parts.expiration,
        b"message-id" => &mut parts.message_id,
        b"type" => &mut parts.message_type,
        b"user-id" => &mut parts.user_id,
        b"app-id" => &mut parts.app_id,
        b"cluster-id" => &mut parts.cluster_id,
        _ => return false,
    };
    *place = Some(value);
    true
}

/// Takes a typed field back. False if it is none, or malformed (a Kafka producer may write what it likes).
fn read_field(name: &[u8], value: &[u8], buffer: &mut FieldBuffer) -> bool {
    let Some([tag, b'.', name @ ..]) = name.strip_prefix(FIELD) else { return false };
    if name.len() > 255 {
        return false;
    }
    let start = buffer.table.len();
    buffer.add_name(name);
    let field = buffer.table.len();
    buffer.table.push(*tag);
    buffer.table.extend_from_slice(value);
    // One level less than a table may have: it will stand inside one.
    let valid =
        Value::parse(&buffer.table[field..]).is_ok() && TableRef::parse(&buffer.table[start..]).is_ok();
    if !valid {
        buffer.table.truncate(start);
    }
    valid
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{FieldTable, FieldValue, OwnedProperties};
    use bowline_codec_kafka::records::{Batches, Record, RecordIter};

    fn with_record(
        message: &Outgoing<'_>,
        look: impl FnOnce(&Record<'_>, bowline_codec_kafka::records::BatchHeader),
    ) {
        let mut batch = BatchBuilder::new(message.timestamp);
        append_record(message, &mut HeaderBuffer::default(), &mut batch).unwrap();
        let batch = Batches::new(batch.build().unwrap()).next().unwrap().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let record = RecordIter::new(&records, 1).next().unwrap().unwrap();
        look(&record, batch.header);
    }

    fn read(record: &Record<'_>, converted: bool) -> (Vec<u8>, Vec<u8>, Vec<u8>, OwnedProperties) {
        let incoming = Incoming {
            stream: "s",
            offset: 7,
            partition: None,
            timestamp: 123,
            converted,
            key: record.key,
            value: record.value,
            headers: record.headers.clone(),
            returns: None,
        };
        let mut block = Vec::new();
        let message = read_record(&incoming, 100_000, &mut FieldBuffer::default(), &mut block);
        let properties = Properties::parse(&block).unwrap().to_owned();
        (message.exchange.to_vec(), message.routing_key.to_vec(), message.body.to_vec(), properties)
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let mut headers = FieldTable::new();
        headers.push("text", "plain");
        headers.push("binary-text", FieldValue::LongStr(vec![0xff, 0]));
        headers.push("bowline.amqp.priority", "mine");
        headers.push("int", FieldValue::I32(-5));
        headers.push("when", FieldValue::Timestamp(9));
        headers.push("bytes", FieldValue::Bytes(vec![1]));
        headers.push("list", FieldValue::Array(vec![FieldValue::Void, FieldValue::Bool(true)]));
        headers.push("nested", FieldTable::new().with("a", 1i64));
        headers.push("", FieldValue::Void);
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let mut properties = OwnedProperties {
            content_type: text("text/plain"),
            delivery_mode: Some(2),
            priority: Some(0),
            correlation_id: text(""),
            timestamp: Some(u64::MAX),
            message_type: text("t"),
            cluster_id: text("c"),
            headers: Some(headers),
            ..OwnedProperties::default()
        };
        let block = properties.to_bytes();
        let message = Outgoing {
            exchange: b"ex",
            routing_key: b"a.b",
            properties: Properties::parse(&block).unwrap(),
            body: b"body",
            timestamp: 1_700_000_000_000,
        };
        if let Some(headers) = &mut properties.headers {
            headers.push("x-stream-offset", 7i64);
        }
        with_record(&message, |record, header| {
            assert_eq!((record.key, record.value), (Some(&b"a.b"[..]), Some(&b"body"[..])));
            assert_eq!(header.base_timestamp, 1_700_000_000_000);
            let plain = record.headers.clone().find(|header| header.key == b"text").unwrap();
            assert_eq!(plain.value, Some(&b"plain"[..]));
            let (exchange, key, body, read) = read(record, true);
            assert_eq!((&exchange[..], &key[..], &body[..]), (&b"ex"[..], &b"a.b"[..], &b"body"[..]));
            // Fields that were plain text come first or last as they stood: order is kept.
            assert_eq!(read, properties);
        });
    }

    #[test]
    fn null_values_both_ways() {
        let properties = OwnedProperties {
            headers: Some(FieldTable::new().with(NULL_VALUE, true)),
            ..OwnedProperties::default()
        };
        let block = properties.to_bytes();
        let message = Outgoing {
            exchange: b"",
            routing_key: b"",
            properties: Properties::parse(&block).unwrap(),
            body: b"",
            timestamp: 0,
        };
        with_record(&message, |record, _| {
            assert_eq!((record.key, record.value, record.headers.len()), (None, None, 0));
            let (_, key, body, read) = read(record, true);
            assert!(key.is_empty() && body.is_empty());
            assert_eq!(read.headers.unwrap().get(NULL_VALUE), Some(&FieldValue::Bool(true)));
        });
    }

    #[test]
    fn records_of_kafka_producers() {
        let mut batch = BatchBuilder::new(5);
        let headers = [
            Header { key: b"utf8", value: Some("grüße".as_bytes()) },
            Header { key: b"bin", value: Some(&[0xff]) },
            Header { key: b"null", value: None },
            Header { key: b"bowline.amqp.header.I.short", value: Some(&[1]) },
            Header { key: b"bowline.amqp.priority", value: Some(b"many") },
        ];
        batch.append(Some(&[0xfe]), Some(b"v"), &headers, 6).unwrap();
        let batch = Batches::new(batch.build().unwrap()).next().unwrap().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let record = RecordIter::new(&records, 1).next().unwrap().unwrap();
        let (exchange, key, body, read) = read(&record, false);
        assert_eq!((&exchange[..], &key[..], &body[..]), (&b""[..], &b"s"[..], &b"v"[..]));
        // A single octet 1 is valid UTF-8, so the malformed field is shown as text.
        let expected = FieldTable::new()
            .with("utf8", "grüße")
            .with("bin", FieldValue::Bytes(vec![0xff]))
            .with("null", FieldValue::Void)
            .with("bowline.amqp.header.I.short", "\u{1}")
            .with("bowline.amqp.priority", "many")
            .with("x-bowline-key", FieldValue::Bytes(vec![0xfe]))
            .with("x-stream-offset", 7i64)
            .with("x-bowline-timestamp", 123i64);
        assert_eq!(read, OwnedProperties { headers: Some(expected), ..OwnedProperties::default() });
    }

    #[test]
    fn a_group_counts_itself() {
        let claimed =
            FieldTable::new().with("x-delivery-count", 7i64).with("x-delivery-count", "eight").to_bytes();
        let properties = bowline_codec_amqp::PropertyParts { headers: Some(&claimed), ..Default::default() };
        let mut block = Vec::new();
        properties.encode(&mut block);
        let message = Outgoing {
            exchange: b"",
            routing_key: b"",
            properties: Properties::parse(&block).unwrap(),
            body: b"x",
            timestamp: 1,
        };
        with_record(&message, |record, _| {
            for (returns, expected) in [(None, 2), (Some(0), 0), (Some(3), 1)] {
                let incoming = Incoming {
                    stream: "s",
                    offset: 7,
                    partition: None,
                    timestamp: 1,
                    converted: true,
                    key: record.key,
                    value: record.value,
                    headers: record.headers.clone(),
                    returns,
                };
                let mut block = Vec::new();
                read_record(&incoming, 100_000, &mut FieldBuffer::default(), &mut block);
                let headers = Properties::parse(&block).unwrap().headers().unwrap();
                let counts: Vec<_> =
                    headers.iter().filter(|(name, _)| name.as_bytes() == DELIVERY_COUNT).collect();
                assert_eq!(counts.len(), expected, "{returns:?}");
                if let Some(returns) = returns.filter(|returns| *returns > 0) {
                    assert_eq!(counts[0].1.as_i64(), Some(i64::from(returns)));
                }
            }
        });
    }
}
