//! Messages as JSON: text where it is text, base64 where it is not.

use bowline_client::amqp::codec::{FieldTable, FieldValue, OwnedProperties};
use serde_json::{Map, Value, json};

/// Puts `bytes` under `name` if they are UTF-8, else under `name_base64`.
pub fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), json!(text)),
        Err(_) => object.insert(format!("{name}_base64"), json!(base64(bytes))),
    };
}

/// AMQP properties that are set, under the names of the specification.
pub fn properties(properties: &OwnedProperties) -> Map<String, Value> {
    let mut object = Map::new();
    let texts = [
        ("content_type", &properties.content_type),
        ("content_encoding", &properties.content_encoding),
        ("correlation_id", &properties.correlation_id),
        ("reply_to", &properties.reply_to),
        ("expiration", &properties.expiration),
        ("message_id", &properties.message_id),
        ("type", &properties.message_type),
        ("user_id", &properties.user_id),
        ("app_id", &properties.app_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            put_bytes(&mut object, name, value);
        }
    }
    let numbers = [
        ("delivery_mode", properties.delivery_mode.map(u64::from)),
        ("priority", properties.priority.map(u64::from)),
        ("timestamp", properties.timestamp),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            object.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(headers) = &properties.headers {
        object.insert("headers".into(), table(headers));
    }
    object
}

fn table(table: &FieldTable) -> Value {
    let mut object = Map::new();
    for (name, value) in table.iter() {
        object.insert(String::from_utf8_lossy(name).into_owned(), field(value));
    }
    Value::Object(object)
}

fn field(value: &FieldValue) -> Value {
    match value {
        FieldValue::Bool(value) => json!(value),
        FieldValue::I8(n) => json!(n),
        FieldValue::U8(n) => json!(n),
        FieldValue::I16(n) => json!(n),
        FieldValue::U16(n) => json!(n),
        FieldValue::I32(n) => json!(n),
        FieldValue::U32(n) => json!(n),
        FieldValue::I64(n) => json!(n),
        FieldValue::F32(x) => json!(x),
        FieldValue::F64(x) => json!(x),
        FieldValue::Decimal { scale, digits } => json!({ "scale": scale, "digits": digits }),
        FieldValue::LongStr(bytes) | FieldValue::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": base64(bytes) }),
        },
        FieldValue::Timestamp(seconds) => json!(seconds),
        FieldValue::Array(values) => Value::Array(values.iter().map(field).collect()),
        FieldValue::Table(inner) => table(inner),
        FieldValue::Void => Value::Null,
    }
}

/// RFC 4648, section 4.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 0x3F) as usize] as char;
            out.push(if place <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_vectors_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (plain, encoded) in vectors {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn bytes_are_text_when_they_can() {
        let mut object = Map::new();
        put_bytes(&mut object, "body", b"hi");
        put_bytes(&mut object, "key", &[0xFF]);
        assert_eq!(Value::Object(object), json!({ "body": "hi", "key_base64": "/w==" }));
    }
}
