//! Field tables of the wire as the topology's.

use bowline_codec_amqp::{TableRef, Value as Field};
use bowline_model::meta::{Table, Value};

/// Names that are not UTF-8 lose what is not; values keep type and bytes.
pub fn to_table(fields: TableRef<'_>) -> Table {
    fields.iter().map(|(name, value)| (name.to_string(), to_value(value))).collect()
}

/// One value.
pub fn to_value(field: Field<'_>) -> Value {
    if let Some(value) = field.as_i64() {
        return Value::Int { tag: field.tag(), value: value.into() };
    }
    match field {
        Field::Bool(value) => Value::Bool(value),
        Field::F32(x) => Value::Float(x),
        Field::F64(x) => Value::Double(x),
        Field::Decimal { scale, digits } => Value::Decimal { scale, value: digits as i32 },
        Field::LongStr(bytes) => Value::Str(bytes.to_vec()),
        Field::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Field::Timestamp(seconds) => Value::Timestamp(seconds),
        Field::Array(values) => Value::Array(values.iter().map(to_value).collect()),
        Field::Table(table) => Value::Table(to_table(table)),
        // Integers were handled above.
        _ => Value::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bowline_codec_amqp::{FieldTable, FieldValue};

    #[test]
    fn every_type_comes_back() {
        let mut fields = FieldTable::new();
        let values = [
            FieldValue::Bool(true),
            FieldValue::I8(-1),
            FieldValue::U8(200),
            FieldValue::I16(-300),
            FieldValue::U16(60_000),
            FieldValue::I32(-70_000),
            FieldValue::U32(4_000_000_000),
            FieldValue::I64(i64::MIN),
            FieldValue::F32(1.5),
            FieldValue::F64(-2.5),
            FieldValue::Decimal { scale: 2, digits: u32::MAX },
            FieldValue::LongStr(vec![0xff]),
            FieldValue::Bytes(vec![1, 2]),
            FieldValue::Timestamp(9),
            FieldValue::Array(vec![FieldValue::Void]),
            FieldValue::Table(FieldTable::new().with("x", 1i64)),
            FieldValue::Void,
        ];
        for (at, value) in values.into_iter().enumerate() {
            fields.push_bytes(format!("f{at}").as_bytes(), value);
        }
        let bytes = fields.to_bytes();
        assert_eq!(from_table(&to_table(TableRef::parse(&bytes).unwrap())), fields);
    }

    /// The inverse of [`to_table`].
    fn from_table(table: &Table) -> FieldTable {
        let mut fields = FieldTable::new();
        for (name, value) in table {
            fields.push_bytes(name.as_bytes(), from_value(value));
        }
        fields
    }

    fn from_value(value: &Value) -> FieldValue {
        match value {
            Value::Bool(value) => FieldValue::Bool(*value),
            Value::Int { tag, value } => from_int(*tag, *value),
            Value::Float(x) => FieldValue::F32(*x),
            Value::Double(x) => FieldValue::F64(*x),
            Value::Decimal { scale, value } => FieldValue::Decimal { scale: *scale, digits: *value as u32 },
            Value::Str(bytes) => FieldValue::LongStr(bytes.clone()),
            Value::Bytes(bytes) => FieldValue::Bytes(bytes.clone()),
            Value::Timestamp(seconds) => FieldValue::Timestamp(*seconds),
            Value::Array(values) => FieldValue::Array(values.iter().map(from_value).collect()),
            Value::Table(table) => FieldValue::Table(from_table(table)),
            Value::Void => FieldValue::Void,
        }
    }

    fn from_int(tag: u8, value: i128) -> FieldValue {
        match tag {
            b'b' => FieldValue::I8(value as i8),
            b'B' => FieldValue::U8(value as u8),
            b's' => FieldValue::I16(value as i16),
            b'u' => FieldValue::U16(value as u16),
            b'I' => FieldValue::I32(value as i32),
            b'i' => FieldValue::U32(value as u32),
            _ => FieldValue::I64(value as i64),
        }
    }
}
