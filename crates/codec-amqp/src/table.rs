//! Field tables and arrays with all value types of the RabbitMQ dialect.
//!
//! [`TableRef`] and [`ArrayRef`] borrow raw bytes that were validated once, so iterating them cannot fail and
//! costs nothing for entries that nobody looks at. [`FieldTable`] and [`FieldValue`] are owned and encode
//! themselves; they keep order and duplicates, as the wire does.
//!
//! | tag | value | | tag | value |
//! |--|--|--|--|--|
//! | `t` | boolean | | `l`, `L` | i64 (RabbitMQ reads both as signed) |
//! | `b` | i8 | | `f`, `d` | f32, f64 |
//! | `B` | u8 | | `D` | decimal: scale u8, digits u32 |
//! | `s` | i16 | | `S` | long string |
//! | `u` | u16 | | `x` | byte array |
//! | `I` | i32 | | `T` | timestamp: u64 seconds |
//! | `i` | u32 | | `A`, `F` | array, table |
//! | | | | `V` | void |

use std::fmt;

use crate::error::DecodeError;
use crate::wire::{Reader, ShortStr, put_u32};

/// How many tables and arrays may stand inside one another. Deeper input is refused, so that neither validation
/// nor conversion to owned values can exhaust a stack.
pub const DEPTH_MAX: u32 = 64;

/// One field value, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal { scale: u8, digits: u32 },
    LongStr(&'a [u8]),
    Bytes(&'a [u8]),
    Timestamp(u64),
    Array(ArrayRef<'a>),
    Table(TableRef<'a>),
    Void,
}

impl<'a> Value<'a> {
    /// The value of any integer type: RabbitMQ compares and accepts all widths alike.
    pub fn as_i64(&self) -> Option<i64> {
        Some(match *self {
            Value::I8(n) => n.into(),
            Value::U8(n) => n.into(),
            Value::I16(n) => n.into(),
            Value::U16(n) => n.into(),
            Value::I32(n) => n.into(),
            Value::U32(n) => n.into(),
            Value::I64(n) => n,
            _ => return None,
        })
    }

    /// A long string that is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Value::LongStr(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The type's name as RabbitMQ prints it in its inequivalence texts.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::I8(_) => "byte",
            Value::U8(_) => "unsignedbyte",
            Value::I16(_) => "short",
            Value::U16(_) => "unsignedshort",
            Value::I32(_) => "signedint",
            Value::U32(_) => "unsignedint",
            Value::I64(_) => "long",
            Value::F32(_) => "float",
            Value::F64(_) => "double",
            Value::Decimal { .. } => "decimal",
            Value::LongStr(_) => "longstr",
            Value::Bytes(_) => "binary",
            Value::Timestamp(_) => "timestamp",
            Value::Array(_) => "array",
            Value::Table(_) => "table",
            Value::Void => "void",
        }
    }

    /// The octet that announces the type on the wire.
    pub fn tag(&self) -> u8 {
        match self {
            Value::Bool(_) => b't',
            Value::I8(_) => b'b',
            Value::U8(_) => b'B',
            Value::I16(_) => b's',
            Value::U16(_) => b'u',
            Value::I32(_) => b'I',
            Value::U32(_) => b'i',
            Value::I64(_) => b'l',
            Value::F32(_) => b'f',
            Value::F64(_) => b'd',
            Value::Decimal { .. } => b'D',
            Value::LongStr(_) => b'S',
            Value::Bytes(_) => b'x',
            Value::Timestamp(_) => b'T',
            Value::Array(_) => b'A',
            Value::Table(_) => b'F',
            Value::Void => b'V',
        }
    }

    /// Reads a tag and the value after it: the form that values have in tables and arrays.
    pub fn parse(bytes: &'a [u8]) -> Result<Value<'a>, DecodeError> {
        let mut r = Reader::new(bytes);
        check_value(&mut r, 0)?;
        r.finish()?;
        read_value(&mut Reader::new(bytes))
    }

    /// Appends tag and value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.tag());
        match *self {
            Value::Bool(value) => out.push(value.into()),
            Value::I8(n) => out.push(n as u8),
            Value::U8(n) => out.push(n),
            Value::I16(n) => out.extend_from_slice(&n.to_be_bytes()),
            Value::U16(n) => out.extend_from_slice(&n.to_be_bytes()),
            Value::I32(n) => out.extend_from_slice(&n.to_be_bytes()),
            Value::U32(n) => out.extend_from_slice(&n.to_be_bytes()),
            Value::I64(n) => out.extend_from_slice(&n.to_be_bytes()),
            Value::F32(x) => out.extend_from_slice(&x.to_be_bytes()),
            Value::F64(x) => out.extend_from_slice(&x.to_be_bytes()),
            Value::Decimal { scale, digits } => {
                out.push(scale);
                put_u32(out, digits);
            }
            Value::LongStr(bytes) | Value::Bytes(bytes) => crate::wire::put_long_str(out, bytes),
            Value::Timestamp(seconds) => out.extend_from_slice(&seconds.to_be_bytes()),
            Value::Array(array) => crate::wire::put_long_str(out, array.0),
            Value::Table(table) => crate::wire::put_table(out, table),
            Value::Void => {}
        }
    }

    pub fn to_owned(&self) -> FieldValue {
        match *self {
            Value::Bool(value) => FieldValue::Bool(value),
            Value::I8(n) => FieldValue::I8(n),
            Value::U8(n) => FieldValue::U8(n),
            Value::I16(n) => FieldValue::I16(n),
            Value::U16(n) => FieldValue::U16(n),
            Value::I32(n) => FieldValue::I32(n),
            Value::U32(n) => FieldValue::U32(n),
            Value::I64(n) => FieldValue::I64(n),
            Value::F32(x) => FieldValue::F32(x),
            Value::F64(x) => FieldValue::F64(x),
            Value::Decimal { scale, digits } => FieldValue::Decimal { scale, digits },
            Value::LongStr(bytes) => FieldValue::LongStr(bytes.to_vec()),
            Value::Bytes(bytes) => FieldValue::Bytes(bytes.to_vec()),
            Value::Timestamp(seconds) => FieldValue::Timestamp(seconds),
            Value::Array(array) => FieldValue::Array(array.iter().map(|value| value.to_owned()).collect()),
            Value::Table(table) => FieldValue::Table(table.to_owned()),
            Value::Void => FieldValue::Void,
        }
    }
}

/// The contents of a field table, without its length field; known to be well formed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TableRef<'a>(&'a [u8]);

impl<'a> TableRef<'a> {
    pub const EMPTY: TableRef<'static> = TableRef(&[]);

    /// Validates the whole table, so that everything after this cannot fail.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<TableRef<'a>, DecodeError> {
        if !bytes.is_empty() {
            check_table(bytes, 0)?;
        }
        Ok(TableRef(bytes))
    }

    /// The contents as they stand on the wire after the length field.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in wire order; duplicates included.
    pub fn iter(self) -> impl Iterator<Item = (ShortStr<'a>, Value<'a>)> {
        let mut r = Reader::new(self.0);
        // Both reads succeed on validated bytes; `ok()?` merely ends the iteration when the table is used up.
        std::iter::from_fn(move || Some((r.short_str().ok()?, read_value(&mut r).ok()?)))
    }

    /// The first value under that name.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    pub fn to_owned(self) -> FieldTable {
        FieldTable(self.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.to_owned())).collect())
    }
}

impl fmt::Debug for TableRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The contents of a field array, without its length field; known to be well formed.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ArrayRef<'a>(&'a [u8]);

impl<'a> ArrayRef<'a> {
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut r = Reader::new(self.0);
        std::iter::from_fn(move || read_value(&mut r).ok())
    }
}

impl fmt::Debug for ArrayRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One field value, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue {
    Bool(bool),
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    F32(f32),
    F64(f64),
    Decimal { scale: u8, digits: u32 },
    LongStr(Vec<u8>),
    Bytes(Vec<u8>),
    Timestamp(u64),
    Array(Vec<FieldValue>),
    Table(FieldTable),
    Void,
}

impl FieldValue {
    /// Appends tag and value.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            FieldValue::Array(values) => {
                out.push(b'A');
                with_length(out, |out| values.iter().for_each(|value| value.encode(out)));
            }
            FieldValue::Table(table) => {
                out.push(b'F');
                table.encode(out);
            }
            FieldValue::Bool(value) => Value::Bool(*value).encode(out),
            FieldValue::I8(n) => Value::I8(*n).encode(out),
            FieldValue::U8(n) => Value::U8(*n).encode(out),
            FieldValue::I16(n) => Value::I16(*n).encode(out),
            FieldValue::U16(n) => Value::U16(*n).encode(out),
            FieldValue::I32(n) => Value::I32(*n).encode(out),
            FieldValue::U32(n) => Value::U32(*n).encode(out),
            FieldValue::I64(n) => Value::I64(*n).encode(out),
            FieldValue::F32(x) => Value::F32(*x).encode(out),
            FieldValue::F64(x) => Value::F64(*x).encode(out),
            FieldValue::Decimal { scale, digits } => {
                Value::Decimal { scale: *scale, digits: *digits }.encode(out)
            }
            FieldValue::LongStr(bytes) => Value::LongStr(bytes).encode(out),
            FieldValue::Bytes(bytes) => Value::Bytes(bytes).encode(out),
            FieldValue::Timestamp(seconds) => Value::Timestamp(*seconds).encode(out),
            FieldValue::Void => Value::Void.encode(out),
        }
    }
}

impl From<&str> for FieldValue {
    fn from(text: &str) -> FieldValue {
        FieldValue::LongStr(text.as_bytes().to_vec())
    }
}

impl From<bool> for FieldValue {
    fn from(value: bool) -> FieldValue {
        FieldValue::Bool(value)
    }
}

impl From<i64> for FieldValue {
    fn from(value: i64) -> FieldValue {
        FieldValue::I64(value)
    }
}

impl From<FieldTable> for FieldValue {
    fn from(table: FieldTable) -> FieldValue {
        FieldValue::Table(table)
    }
}

/// An owned field table: pairs in order, duplicates allowed. Names longer than 255 octets are cut when added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldTable(Vec<(Vec<u8>, FieldValue)>);

impl FieldTable {
    pub fn new() -> FieldTable {
        FieldTable::default()
    }

    pub fn push(&mut self, name: &str, value: impl Into<FieldValue>) {
        self.push_bytes(name.as_bytes(), value.into());
    }

    pub fn push_bytes(&mut self, name: &[u8], value: FieldValue) {
        self.0.push((name[..name.len().min(255)].to_vec(), value));
    }

    pub fn with(mut self, name: &str, value: impl Into<FieldValue>) -> FieldTable {
        self.push(name, value);
        self
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &FieldValue)> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value))
    }

    /// The first value under that name.
    pub fn get(&self, name: &str) -> Option<&FieldValue> {
        self.iter().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the table with its length field.
    pub fn encode(&self, out: &mut Vec<u8>) {
        with_length(out, |out| {
            for (name, value) in &self.0 {
                out.push(name.len() as u8);
                out.extend_from_slice(name);
                value.encode(out);
            }
        });
    }

    /// The contents without the length field: what [`TableRef::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.drain(..4);
        out
    }
}

fn with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(out, 0);
    body(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn check_table(bytes: &[u8], depth: u32) -> Result<(), DecodeError> {
    if depth >= DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut r = Reader::new(bytes);
    while !r.rest().is_empty() {
        r.short_str()?;
        check_value(&mut r, depth)?;
    }
    Ok(())
}

fn check_array(bytes: &[u8], depth: u32) -> Result<(), DecodeError> {
    if depth >= DEPTH_MAX {
        return Err(DecodeError::TooDeep);
    }
    let mut r = Reader::new(bytes);
    while !r.rest().is_empty() {
        check_value(&mut r, depth)?;
    }
    Ok(())
}

fn check_value(r: &mut Reader<'_>, depth: u32) -> Result<(), DecodeError> {
    let fixed = match r.u8()? {
        b'S' | b'x' => {
            r.long_str()?;
            return Ok(());
        }
        b'F' => return check_table(r.long_str()?, depth + 1),
        b'A' => return check_array(r.long_str()?, depth + 1),
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        other => return Err(DecodeError::UnknownFieldType(other)),
    };
    r.take(fixed)?;
    Ok(())
}

/// Reads a value whose inner structure was validated before.
fn read_value<'a>(r: &mut Reader<'a>) -> Result<Value<'a>, DecodeError> {
    Ok(match r.u8()? {
        b't' => Value::Bool(r.u8()? != 0),
        b'b' => Value::I8(r.u8()? as i8),
        b'B' => Value::U8(r.u8()?),
        b's' => Value::I16(r.u16()? as i16),
        b'u' => Value::U16(r.u16()?),
        b'I' => Value::I32(r.u32()? as i32),
        b'i' => Value::U32(r.u32()?),
        b'l' | b'L' => Value::I64(r.u64()? as i64),
        b'f' => Value::F32(f32::from_bits(r.u32()?)),
        b'd' => Value::F64(f64::from_bits(r.u64()?)),
        b'D' => Value::Decimal { scale: r.u8()?, digits: r.u32()? },
        b'S' => Value::LongStr(r.long_str()?),
        b'x' => Value::Bytes(r.long_str()?),
        b'T' => Value::Timestamp(r.u64()?),
        b'A' => Value::Array(ArrayRef(r.long_str()?)),
        b'F' => Value::Table(TableRef(r.long_str()?)),
        b'V' => Value::Void,
        other => return Err(DecodeError::UnknownFieldType(other)),
    })
}
