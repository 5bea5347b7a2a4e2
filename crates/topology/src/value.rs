//! Argument values: what RabbitMQ calls their types, when two are the same, and how it prints them in refusals.

use bowline_model::meta::{Table, Value};
use std::fmt::Write;
use std::hash::{Hash, Hasher};

/// RabbitMQ's name for the type of an AMQP field value.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::Int { tag: b'b', .. } => "byte",
        Value::Int { tag: b'B', .. } => "unsignedbyte",
        Value::Int { tag: b's', .. } => "short",
        Value::Int { tag: b'u', .. } => "unsignedshort",
        Value::Int { tag: b'I', .. } => "signedint",
        Value::Int { tag: b'i', .. } => "unsignedint",
        Value::Int { .. } => "long",
        Value::Float(_) => "float",
        Value::Double(_) => "double",
        Value::Decimal { .. } => "decimal",
        Value::Str(_) => "longstr",
        Value::Bytes(_) => "binary",
        Value::Timestamp(_) => "timestamp",
        Value::Array(_) => "array",
        Value::Table(_) => "table",
        Value::Void => "void",
    }
}

/// Equal by value and not by AMQP type: integers of any width, strings and byte arrays, both float sizes.
pub fn same(a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (octets(a), octets(b)) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (float(a), float(b)) {
        return a == b || (a.is_nan() && b.is_nan());
    }
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Decimal { scale: a, value: x }, Value::Decimal { scale: b, value: y }) => (a, x) == (b, y),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Table(a), Value::Table(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        (Value::Void, Value::Void) => true,
        _ => false,
    }
}

/// Agrees with [`same`]: the same values have the same hash.
pub(crate) fn hash<H: Hasher>(value: &Value, state: &mut H) {
    if let Some(n) = integer(value) {
        (1u8, n).hash(state);
    } else if let Some(bytes) = octets(value) {
        (2u8, bytes).hash(state);
    } else if let Some(n) = float(value) {
        // Minus zero equals zero, and every NaN is one value here: what is filed must be found again.
        let canonical = if n.is_nan() { f64::NAN } else { n + 0.0 };
        (3u8, canonical.to_bits()).hash(state);
    } else {
        match value {
            Value::Bool(b) => (4u8, b).hash(state),
            Value::Decimal { scale, value } => (5u8, scale, value).hash(state),
            // Few match on these: all in one chain is good enough.
            _ => 6u8.hash(state),
        }
    }
}

/// Timestamps count as integers, as they do in RabbitMQ.
pub fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Int { value, .. } => Some(*value),
        Value::Timestamp(seconds) => Some(i128::from(*seconds)),
        _ => None,
    }
}

fn octets(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Str(bytes) | Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(n) => Some(f64::from(*n)),
        Value::Double(n) => Some(*n),
        _ => None,
    }
}

/// As RabbitMQ prints a value in quotes: strings as they are, other things as Erlang terms.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Str(bytes) | Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => {
            let mut out = String::new();
            term(other, &mut out);
            out
        }
    }
}

/// Long enough for every real argument; refusals are cut to 255 octets on the wire anyway.
const TERM_CHARS_MAX: usize = 512;

pub(crate) fn term(value: &Value, out: &mut String) {
    if out.len() > TERM_CHARS_MAX {
        return;
    }
    // Writing to a String cannot fail.
    let _ = match value {
        Value::Bool(b) => write!(out, "{b}"),
        Value::Int { value, .. } => write!(out, "{value}"),
        Value::Float(n) => write!(out, "{n:?}"),
        Value::Double(n) => write!(out, "{n:?}"),
        Value::Decimal { scale, value } => write!(out, "{{{scale},{value}}}"),
        Value::Str(bytes) | Value::Bytes(bytes) => {
            write!(out, "<<\"{}\">>", String::from_utf8_lossy(bytes))
        }
        Value::Timestamp(seconds) => write!(out, "{seconds}"),
        Value::Void => write!(out, "undefined"),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ",{" } else { "{" });
                out.push_str(type_name(item));
                out.push(',');
                term(item, out);
                out.push('}');
            }
            out.write_char(']')
        }
        Value::Table(table) => table_term(table, out),
    };
}

fn table_term(table: &Table, out: &mut String) -> std::fmt::Result {
    out.push('[');
    for (i, (name, value)) in table.iter().enumerate() {
        write!(out, "{}{{<<\"{name}\">>,{},", if i > 0 { "," } else { "" }, type_name(value))?;
        term(value, out);
        out.push('}');
    }
    out.write_char(']')
}
