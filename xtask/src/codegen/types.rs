//! A field's type: its Rust form, how it is read, written, compared with its default.

use anyhow::{Context, Result, bail};

use super::names::field_name;
use super::schema::{Field, Message, Struct, Versions};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldType {
    /// Fixed size: `int8` … `int64`, `uint16`, `uint32`, `float64`, `bool`, `uuid`.
    Fixed(String),
    String,
    Bytes,
    Records,
    Struct(String),
    Array(Box<FieldType>),
}

impl FieldType {
    pub fn parse(text: &str) -> Self {
        match text {
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            _ => match text.strip_prefix("[]") {
                Some(element) => Self::Array(Box::new(Self::parse(element))),
                None if text.starts_with(char::is_uppercase) => Self::Struct(text.to_owned()),
                None => Self::Fixed(text.to_owned()),
            },
        }
    }

    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }

    /// The Rust type, not counting null.
    pub fn rust(&self) -> String {
        match self {
            Self::Fixed(name) => fixed_type(name).0.to_owned(),
            Self::String => "String".into(),
            Self::Bytes => "Bytes".into(),
            Self::Records => "Records".into(),
            Self::Struct(name) => name.clone(),
            Self::Array(element) => format!("Vec<{}>", element.rust()),
        }
    }

    /// The fewest bytes that a value takes on the wire in this version.
    fn min_bytes(&self, message: &Message, flexible: bool, version: i16, nullable: bool) -> usize {
        match self {
            Self::Fixed(name) => fixed_type(name).2,
            Self::String if !flexible => 2,
            Self::Struct(_) if nullable => 1,
            Self::Struct(name) => message.nested(name).map_or(0, |s| struct_min_bytes(message, s, version)),
            _ if flexible => 1,
            _ => 4,
        }
    }
}

/// Rust type, the suffix of the Reader's and Writer's methods, and size on the wire.
fn fixed_type(name: &str) -> (&'static str, &'static str, usize) {
    match name {
        "bool" => ("bool", "bool", 1),
        "int8" => ("i8", "i8", 1),
        "int16" => ("i16", "i16", 2),
        "uint16" => ("u16", "u16", 2),
        "int32" => ("i32", "i32", 4),
        "uint32" => ("u32", "u32", 4),
        "int64" => ("i64", "i64", 8),
        "float64" => ("f64", "f64", 8),
        "uuid" => ("Uuid", "uuid", 16),
        _ => panic!("the schema uses the unknown type {name}"),
    }
}

/// The fewest bytes that one array element takes, over all versions of the message.
pub fn element_min_bytes(message: &Message, element: &FieldType, versions: Versions) -> usize {
    let size = |version| element.min_bytes(message, message.is_flexible(version), version, false);
    (versions.first..=versions.last).map(size).min().unwrap_or(1).max(1)
}

fn struct_min_bytes(message: &Message, s: &Struct, version: i16) -> usize {
    let flexible = message.is_flexible(version);
    let untagged = s.fields.iter().filter(|f| f.versions.contains(version) && f.tag.is_none());
    let fields: usize = untagged
        .map(|f| {
            f.kind.min_bytes(message, flexible && !f.never_flexible, version, f.nullable.contains(version))
        })
        .sum();
    fields + usize::from(flexible)
}

/// Where a field stands: its message, and the versions in which its struct can appear.
pub struct Place<'a> {
    pub message: &'a Message,
    pub outer: Versions,
}

impl Place<'_> {
    pub fn rust_type(&self, field: &Field) -> String {
        match field.is_nullable(self.outer) {
            true => format!("Option<{}>", field.kind.rust()),
            false => field.kind.rust(),
        }
    }

    /// The Rust expression of "this version is within `versions`", or None when it always is.
    pub fn condition(&self, versions: Versions, within: Versions) -> Option<String> {
        let low = versions.first > within.first;
        let high = versions.last < within.last;
        match (low, high) {
            (false, false) => None,
            _ if versions.is_empty() => Some("false".into()),
            (true, false) => Some(format!("version >= {}", versions.first)),
            (false, true) => Some(format!("version <= {}", versions.last)),
            (true, true) if versions.first == versions.last => Some(format!("version == {}", versions.first)),
            (true, true) => Some(format!("({}..={}).contains(&version)", versions.first, versions.last)),
        }
    }

    /// The opposite of `condition`.
    pub fn negated(&self, versions: Versions, within: Versions) -> Option<String> {
        let condition = self.condition(versions, within)?;
        Some(match (versions.first > within.first, versions.last < within.last) {
            _ if condition == "false" => "true".into(),
            (true, false) => format!("version < {}", versions.first),
            (false, _) => format!("version > {}", versions.last),
            _ => format!("!({condition})"),
        })
    }

    /// The `flexible` argument for a field present in `present`.
    fn flexible(&self, field: &Field, present: Versions) -> &'static str {
        match self.message.flexible {
            _ if field.never_flexible => "false",
            None => "false",
            Some(first) if first > present.last => "false",
            Some(first) if first <= present.first => "true",
            Some(_) => "flexible",
        }
    }

    fn present(&self, field: &Field) -> Versions {
        field.versions.intersect(self.outer)
    }

    fn null_ok(&self, field: &Field) -> String {
        let present = self.present(field);
        self.condition(field.nullable.intersect(present), present).unwrap_or_else(|| "true".into())
    }

    /// Evaluates to the field's value, read from `buf`.
    pub fn decode(&self, field: &Field) -> String {
        let flexible = self.flexible(field, self.present(field));
        let nullable = field.is_nullable(self.outer);
        let null_ok = self.null_ok(field);
        match &field.kind {
            FieldType::Struct(name) if nullable => format!(
                "if buf.struct_is_present({null_ok})? {{ Some({name}::decode(buf, version)?) }} else {{ None }}"
            ),
            FieldType::Array(element) => {
                let min = element_min_bytes(self.message, element, self.present(field));
                let item = self.decode_plain(element, flexible);
                match nullable {
                    true => format!("buf.nullable_array({flexible}, {null_ok}, {min}, |buf| {item})?"),
                    false => format!("buf.array({flexible}, {min}, |buf| {item})?"),
                }
            }
            FieldType::String if nullable => format!("buf.nullable_string({flexible}, {null_ok})?"),
            FieldType::Bytes if nullable => format!("buf.nullable_bytes({flexible}, {null_ok})?"),
            FieldType::Records => format!("buf.nullable_records({flexible}, {null_ok})?"),
            kind => format!("{}?", self.decode_plain(kind, flexible)),
        }
    }

    fn decode_plain(&self, kind: &FieldType, flexible: &str) -> String {
        match kind {
            FieldType::Fixed(name) => format!("buf.{}()", fixed_type(name).1),
            FieldType::String => format!("buf.string({flexible})"),
            FieldType::Bytes => format!("buf.bytes({flexible})"),
            FieldType::Struct(name) => format!("{name}::decode(buf, version)"),
            FieldType::Records | FieldType::Array(_) => panic!("{kind:?} needs a field of its own"),
        }
    }

    /// Statements that write the field to the Writer named `out`.
    pub fn encode(&self, field: &Field, out: &str) -> String {
        let name = field_name(&field.name);
        let flexible = self.flexible(field, self.present(field));
        let nullable = field.is_nullable(self.outer);
        let mut code = String::new();
        let null_ok = self.null_ok(field);
        if nullable && null_ok != "true" {
            let present = self.present(field);
            let refused =
                self.negated(field.nullable.intersect(present), present).filter(|code| code != "true");
            let and_refused = refused.map_or(String::new(), |code| format!(" && {code}"));
            code += &format!(
                "if self.{name}.is_none(){and_refused} {{ return Err(EncodeError::NullNotAllowed {{ field: {:?}, version }}); }}\n",
                field.name
            );
        }
        code += &match &field.kind {
            FieldType::Struct(_) if nullable => format!(
                "match &self.{name} {{ Some(value) => {{ {out}.put_i8(1); value.encode({out}, version)?; }} None => {out}.put_i8(-1), }}"
            ),
            FieldType::Array(element) => {
                let item = self.encode_plain(element, "item", flexible, out, true);
                let items = |list: &str, each: &str| {
                    format!(
                        "{out}.put_length({list}.len(), {flexible})?;\nfor item in {each} {{ {item}; }}\n"
                    )
                };
                match nullable {
                    true => format!(
                        "match &self.{name} {{ Some(items) => {{ {} }} None => {out}.put_null_length({flexible})?, }}",
                        items("items", "items")
                    ),
                    false => items(&format!("self.{name}"), &format!("&self.{name}")),
                }
            }
            FieldType::String if nullable => {
                format!("{out}.put_nullable_string(self.{name}.as_deref(), {flexible})?;")
            }
            FieldType::Bytes if nullable => {
                format!("{out}.put_nullable_bytes(self.{name}.as_ref(), {flexible})?;")
            }
            FieldType::Records => format!("{out}.put_nullable_records(self.{name}.as_ref(), {flexible})?;"),
            kind => self.encode_plain(kind, &format!("self.{name}"), flexible, out, false) + ";",
        };
        code.trim_end().to_owned() + "\n"
    }

    fn encode_plain(&self, kind: &FieldType, value: &str, flexible: &str, out: &str, by_ref: bool) -> String {
        let (deref, borrow) = if by_ref { ("*", "") } else { ("", "&") };
        match kind {
            FieldType::Fixed(name) => format!("{out}.put_{}({deref}{value})", fixed_type(name).1),
            FieldType::String => format!("{out}.put_string({borrow}{value}, {flexible})?"),
            FieldType::Bytes => format!("{out}.put_bytes({borrow}{value}, {flexible})?"),
            FieldType::Struct(_) => format!("{value}.encode({out}, version)?"),
            FieldType::Records | FieldType::Array(_) => panic!("{kind:?} needs a field of its own"),
        }
    }

    /// The field's default as a Rust expression, and whether it is what `Default` would give.
    pub fn default(&self, field: &Field) -> Result<(String, bool)> {
        let nullable = field.is_nullable(self.outer);
        let text = field.default.as_deref();
        // Records have null for their default where they may be null, as in Kafka.
        let null_records = field.kind == FieldType::Records && self.null_ok(field) == "true";
        if nullable && (text == Some("null") || null_records) {
            return Ok(("None".into(), true));
        }
        let (plain, trivial) = match (&field.kind, text) {
            (FieldType::Fixed(name), None) => match name.as_str() {
                "bool" => ("false".into(), true),
                "uuid" => ("Uuid::ZERO".into(), true),
                "float64" => ("0.0".into(), true),
                _ => ("0".into(), true),
            },
            (FieldType::Fixed(name), Some(value)) => (fixed_default(name, value)?, false),
            (FieldType::String, None) => ("String::new()".into(), true),
            (FieldType::String, Some(value)) => (format!("{value:?}.to_owned()"), false),
            (FieldType::Bytes, None) => ("Bytes::new()".into(), true),
            (FieldType::Array(_), None) => ("Vec::new()".into(), true),
            (FieldType::Struct(name), None) => (format!("{name}::default()"), true),
            (_, Some(value)) => bail!("{}: default {value} for {:?}", field.name, field.kind),
            (FieldType::Records, None) => ("Records::default()".into(), true),
        };
        Ok(if nullable { (format!("Some({plain})"), false) } else { (plain, trivial) })
    }

    /// Rust condition: the field holds something else than its default.
    pub fn is_set(&self, field: &Field) -> Result<String> {
        let name = field_name(&field.name);
        let (default, _) = self.default(field)?;
        Ok(match &field.kind {
            _ if default == "None" => format!("self.{name}.is_some()"),
            FieldType::String | FieldType::Bytes | FieldType::Records | FieldType::Array(_)
                if default.starts_with("Some(") =>
            {
                format!("self.{name}.as_ref().is_some_and(|value| !value.is_empty())")
            }
            FieldType::String | FieldType::Bytes | FieldType::Array(_) if field.default.is_none() => {
                format!("!self.{name}.is_empty()")
            }
            FieldType::Fixed(kind) if kind == "bool" => {
                let not = if default == "true" { "!" } else { "" };
                format!("{not}self.{name}")
            }
            FieldType::Fixed(kind) if kind == "uuid" => format!("!self.{name}.is_zero()"),
            _ => format!("self.{name} != {default}"),
        })
    }
}

fn fixed_default(name: &str, value: &str) -> Result<String> {
    if name == "bool" {
        return Ok(value.parse::<bool>()?.to_string());
    }
    let number: i64 = value.parse().with_context(|| format!("default {value} of an {name}"))?;
    Ok(match (name, number) {
        ("int16", n) if n == i64::from(i16::MAX) => "i16::MAX".into(),
        ("int32", n) if n == i64::from(i32::MAX) => "i32::MAX".into(),
        ("int32", n) if n == i64::from(i32::MIN) => "i32::MIN".into(),
        ("int64", i64::MAX) => "i64::MAX".into(),
        _ => number.to_string(),
    })
}
