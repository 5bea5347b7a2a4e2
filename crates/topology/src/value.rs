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

/// Equal by value and not by AMQP type: numbers of any width, whole or not, strings and byte arrays.
pub fn same(a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (whole(a), whole(b)) {
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
    if let Some(n) = whole(value) {
        (1u8, n).hash(state);
    } else if let Some(bytes) = octets(value) {
        (2u8, bytes).hash(state);
    } else if let Some(n) = float(value) {
        // Every NaN is one value here: what is filed must be found again.
        let canonical = if n.is_nan() { f64::NAN } else { n };
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

/// A whole number, also one that is written as a float.
fn whole(value: &Value) -> Option<i128> {
    const EXACT: f64 = (1u64 << 53) as f64;
    let is_whole = |n: &f64| n.fract() == 0.0 && n.abs() <= EXACT;
    integer(value).or_else(|| float(value).filter(is_whole).map(|n| n as i128))
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
        other => as_term(other),
    }
}

/// As an Erlang term.
pub fn as_term(value: &Value) -> String {
    let mut out = String::new();
    term(value, &mut out);
    out
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
        Value::Str(bytes) | Value::Bytes(bytes) if bytes.is_empty() => write!(out, "<<>>"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        let int = |value| Value::Int { tag: b'I', value };
        let hashed = |value: &Value| {
            let mut state = DefaultHasher::new();
            hash(value, &mut state);
            state.finish()
        };
        let same_ones = [
            (int(1), Value::Double(1.0)),
            (int(1), Value::Int { tag: b'l', value: 1 }),
            (int(0), Value::Double(-0.0)),
            (int(-3), Value::Float(-3.0)),
            (Value::Float(0.5), Value::Double(0.5)),
            (Value::Timestamp(7), int(7)),
            (Value::Double(f64::NAN), Value::Float(f32::NAN)),
        ];
        for (a, b) in same_ones {
            assert!(same(&a, &b) && same(&b, &a) && hashed(&a) == hashed(&b), "{a:?} {b:?}");
        }
        for (a, b) in
            [(int(1), Value::Double(1.5)), (int(1), Value::Str(b"1".to_vec())), (int(1), Value::Bool(true))]
        {
            assert!(!same(&a, &b), "{a:?} {b:?}");
        }
    }
}
