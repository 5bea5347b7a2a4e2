//! The Rust module of one message, and the modules that list all of them.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::names::{field_name, snake_case};
use super::schema::{Field, Kind, Message, Schema, Struct, Versions};
use super::types::{FieldType, Place};

const GENERATED: &str = "//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.\n";

pub fn generate(message: &Message) -> Result<String> {
    let mut body = String::new();
    for (i, s) in message.structs.iter().enumerate() {
        let place = Place { message, outer: s.versions };
        generate_struct(&mut body, &place, s)?;
        generate_default(&mut body, &place, s)?;
        match i {
            0 => generate_root_codec(&mut body, &place, s)?,
            _ => generate_nested_codec(&mut body, &place, s)?,
        }
    }
    Ok(generate_header(message, &body) + &body)
}

pub fn generate_index(schema: &Schema) -> String {
    let mut out = String::from(
        "//! All client-facing messages, one module each; nested structs live with their message.\n//!\n",
    );
    out += GENERATED;
    out += "\n// Tagged fields are matched by number, be it one or many.\n#![allow(clippy::single_match)]\n";
    out += "\npub mod catalog;\n";
    for message in &schema.messages {
        let _ = writeln!(out, "pub mod {};", snake_case(&message.name));
    }
    out.push('\n');
    for message in &schema.messages {
        let _ = writeln!(out, "pub use {}::{};", snake_case(&message.name), message.name);
    }
    out
}

/// A table of all messages, for whoever wants to treat them alike: tests, fuzzing, inspection.
pub fn generate_catalog(schema: &Schema) -> String {
    let mut out = String::from("//! Every message of this crate in one table.\n//!\n");
    out += GENERATED;
    out += "\nuse crate::message::{Codec, Kind};\n\n/// Headers first, then by API key, requests before responses.\npub static ALL: &[Codec] = &[\n";
    for message in &schema.messages {
        let kind = match message.kind {
            Kind::Header => "Header",
            Kind::Request => "Request",
            Kind::Response => "Response",
            Kind::Data => "Data",
        };
        let key = message.key.map_or("None".into(), |key| format!("Some({key})"));
        let _ = writeln!(out, "Codec::of::<super::{}>(Kind::{kind}, {key}),", message.name);
    }
    out += "];\n";
    out
}

fn generate_header(message: &Message, body: &str) -> String {
    let key = message.key.map_or(String::new(), |key| format!("API key {key}, "));
    let flexible = match message.flexible {
        Some(first) => format!("flexible from {first}"),
        None => "never flexible".into(),
    };
    let mut out = format!(
        "//! {}: {key}versions {}–{}, {flexible}.\n//!\n{GENERATED}\n",
        message.name, message.versions.first, message.versions.last
    );
    out += "use std::ops::RangeInclusive;\n\n";
    let uses = |name: &str| mentions(body, name);
    if uses("Bytes") {
        out += "use bytes::Bytes;\n\n";
    }
    out += match message.kind {
        Kind::Request | Kind::Response => "use crate::message::{Message, ",
        Kind::Header | Kind::Data => "use crate::message::Message;\n",
    };
    match message.kind {
        Kind::Request => out += "Request};\n",
        Kind::Response => out += "Response};\n",
        Kind::Header | Kind::Data => {}
    }
    if uses("Records") {
        out += "use crate::records::Records;\n";
    }
    if uses("Uuid") {
        out += "use crate::uuid::Uuid;\n";
    }
    out += "use crate::wire::{DecodeError, EncodeError, Reader, Writer};\n\n";
    out
}

fn generate_struct(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    let derivable = derives_default(place, s)?;
    let default = if derivable { ", Default" } else { "" };
    let _ = writeln!(out, "#[derive(Debug, Clone, PartialEq{default})]\npub struct {} {{", s.name);
    for field in &s.fields {
        if let Some(note) = field_note(place, field) {
            let _ = writeln!(out, "/// {note}");
        }
        let _ = writeln!(out, "pub {}: {},", field_name(&field.name), place.rust_type(field));
    }
    *out += "}\n\n";
    Ok(())
}

/// Which versions carry the field, where it is not all of them.
fn field_note(place: &Place, field: &Field) -> Option<String> {
    let present = field.versions.intersect(place.outer);
    let range = |v: Versions, within: Versions| match (v.first > within.first, v.last < within.last) {
        (false, false) => None,
        (true, false) => Some(format!("{}+", v.first)),
        _ if v.first == v.last => Some(format!("{}", v.first)),
        _ => Some(format!("{}–{}", v.first, v.last)),
    };
    let mut notes: Vec<String> = Vec::new();
    if let Some(versions) = range(present, place.outer) {
        notes.push(format!("Versions {versions}."));
    }
    if field.is_nullable(place.outer)
        && let Some(versions) = range(field.nullable.intersect(present), present)
    {
        notes.push(format!("Null in versions {versions}."));
    }
    if let Some((tag, _)) = field.tag {
        notes.push(format!("Tagged field {tag}."));
    }
    if notes.is_empty() { None } else { Some(notes.join(" ")) }
}

fn derives_default(place: &Place, s: &Struct) -> Result<bool> {
    for field in &s.fields {
        if !place.default(field)?.1 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn generate_default(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    if derives_default(place, s)? {
        return Ok(());
    }
    let _ = writeln!(out, "impl Default for {} {{\nfn default() -> Self {{\nSelf {{", s.name);
    for field in &s.fields {
        let _ = writeln!(out, "{}: {},", field_name(&field.name), place.default(field)?.0);
    }
    *out += "}\n}\n}\n\n";
    Ok(())
}

fn generate_root_codec(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    let message = place.message;
    let name = &message.name;
    let Versions { first, last } = message.versions;
    let flexible = message.flexible.map_or("i16::MAX".into(), |first| first.to_string());
    let _ = writeln!(out, "impl {name} {{");
    if let Some(key) = message.key {
        let _ = writeln!(out, "pub const KEY: i16 = {key};");
    }
    let _ = writeln!(
        out,
        "pub const VERSIONS: RangeInclusive<i16> = {first}..={last};\n\
         /// First flexible version.\npub const FLEXIBLE: i16 = {flexible};\n"
    );
    let check = |error: &str| {
        format!(
            "if !Self::VERSIONS.contains(&version) {{\n\
             return Err({error}::UnsupportedVersion {{ message: {name:?}, version }});\n}}\n"
        )
    };
    *out += "pub fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {\n";
    *out += &check("DecodeError");
    decode_body(out, place, s)?;
    *out += "}\n\npub fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {\n";
    *out += &check("EncodeError");
    encode_body(out, place, s)?;
    *out += "}\n}\n\n";
    let _ = writeln!(
        out,
        "impl Message for {name} {{\n\
         const NAME: &'static str = {name:?};\n\
         const VERSIONS: RangeInclusive<i16> = Self::VERSIONS;\n\
         const FLEXIBLE: i16 = Self::FLEXIBLE;\n\n\
         fn decode(buf: &mut Reader, version: i16) -> Result<Self, DecodeError> {{ Self::decode(buf, version) }}\n\n\
         fn encode(&self, out: &mut Writer, version: i16) -> Result<(), EncodeError> {{ self.encode(out, version) }}\n\
         }}\n"
    );
    match message.kind {
        Kind::Request => {
            let Some(api) = name.strip_suffix("Request") else { bail!("request {name} is named otherwise") };
            let _ = writeln!(
                out,
                "impl Request for {name} {{\nconst KEY: i16 = Self::KEY;\ntype Response = super::{api}Response;\n}}\n"
            );
        }
        Kind::Response => {
            let _ = writeln!(out, "impl Response for {name} {{\nconst KEY: i16 = Self::KEY;\n");
            if s.fields.iter().any(|field| field.name == "ThrottleTimeMs") {
                *out += "fn set_throttle_time_ms(&mut self, ms: i32) {\nself.throttle_time_ms = ms;\n}\n";
            }
            *out += "}\n\n";
        }
        Kind::Header | Kind::Data => {}
    }
    Ok(())
}

fn generate_nested_codec(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    let _ = writeln!(out, "impl {} {{", s.name);
    let mut decode = String::new();
    decode_body(&mut decode, place, s)?;
    let mut encode = String::new();
    encode_body(&mut encode, place, s)?;
    let decode_version = if mentions(&decode, "version") { "version" } else { "_version" };
    let encode_version = if mentions(&encode, "version") { "version" } else { "_version" };
    let _ = writeln!(
        out,
        "pub(crate) fn decode(buf: &mut Reader, {decode_version}: i16) -> Result<Self, DecodeError> {{\n{decode}}}\n\n\
         pub(crate) fn encode(&self, out: &mut Writer, {encode_version}: i16) -> Result<(), EncodeError> {{\n{encode}}}\n}}\n"
    );
    Ok(())
}

/// Whether the code uses the identifier.
fn mentions(code: &str, identifier: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == identifier)
}

/// Declares `flexible` for code that uses it.
fn declare_flexible(out: &mut String, place: &Place, body: &str) {
    if mentions(body, "flexible")
        && let Some(first) = place.message.flexible
    {
        let _ = writeln!(out, "let flexible = version >= {first};");
    }
}

fn decode_body(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    let mut body = String::new();
    let tagged: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_some()).collect();
    let ends_in_tags = flexible_condition(place);
    body += match (&ends_in_tags, tagged.is_empty()) {
        (None, _) => "Ok(Self {\n",
        (Some(_), true) => "let message = Self {\n",
        (Some(_), false) => "let mut message = Self {\n",
    };
    for field in &s.fields {
        let name = field_name(&field.name);
        let default = place.default(field)?.0;
        let present = field.versions.intersect(place.outer);
        let value = match place.condition(present, place.outer) {
            _ if field.tag.is_some() => default,
            None => place.decode(field),
            Some(condition) => format!("if {condition} {{ {} }} else {{ {default} }}", place.decode(field)),
        };
        let _ = writeln!(body, "{name}: {value},");
    }
    body += if ends_in_tags.is_some() { "};\n" } else { "})\n" };
    if let Some(condition) = ends_in_tags {
        let read_tags =
            if tagged.is_empty() { "buf.skip_tags()?;\n".into() } else { decode_tags(place, &tagged) };
        if condition == "true" {
            body += &read_tags;
        } else {
            let _ = writeln!(body, "if {condition} {{\n{read_tags}}}");
        }
        body += "Ok(message)\n";
    }
    declare_flexible(out, place, &body);
    *out += &body;
    Ok(())
}

fn decode_tags(place: &Place, tagged: &[&Field]) -> String {
    let mut out = String::from(
        "for _ in 0..buf.tag_count()? {\nlet (tag, outer_end) = buf.begin_tag()?;\nmatch tag {\n",
    );
    for field in tagged {
        let Some((tag, versions)) = field.tag else { continue };
        let guard = match place.condition(tag_versions(place, field, versions), flexible_versions(place)) {
            Some(condition) => format!(" if {condition}"),
            None => String::new(),
        };
        let _ =
            writeln!(out, "{tag}{guard} => message.{} = {},", field_name(&field.name), place.decode(field));
    }
    out += "_ => {}\n}\nbuf.end_tag(outer_end);\n}\n";
    out
}

/// Versions of this struct that end in tagged fields.
fn flexible_versions(place: &Place) -> Versions {
    match place.message.flexible {
        Some(first) => place.outer.intersect(Versions { first, last: i16::MAX }),
        None => Versions::NONE,
    }
}

fn tag_versions(place: &Place, field: &Field, tagged: Versions) -> Versions {
    tagged.intersect(field.versions).intersect(flexible_versions(place))
}

/// `None`: no version of the struct is flexible; `Some("true")`: all are.
fn flexible_condition(place: &Place) -> Option<&'static str> {
    let flexible = flexible_versions(place);
    if flexible.is_empty() {
        None
    } else if flexible == place.outer {
        Some("true")
    } else {
        Some("flexible")
    }
}

fn encode_body(out: &mut String, place: &Place, s: &Struct) -> Result<()> {
    let mut body = String::new();
    for field in &s.fields {
        let present = match field.tag {
            Some((_, versions)) => tag_versions(place, field, versions),
            None => field.versions.intersect(place.outer),
        };
        let condition = place.condition(present, place.outer);
        let refuse = match (&condition, field.ignorable) {
            (Some(_), false) => Some(format!(
                "{{ return Err(EncodeError::UnsupportedField {{ field: {:?}, version }}); }}",
                field.name
            )),
            _ => None,
        };
        let is_set = place.is_set(field)?;
        match (condition, field.tag) {
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                if let (Some(refuse), Some(absent)) = (refuse, place.negated(present, place.outer)) {
                    let _ = writeln!(body, "if {absent} && {is_set} {refuse}");
                }
            }
            (None, None) => body += &place.encode(field, "out"),
            (Some(condition), None) => {
                let _ = write!(body, "if {condition} {{ {} }}", place.encode(field, "out").trim_end());
                if let Some(refuse) = refuse {
                    let _ = write!(body, " else if {is_set} {refuse}");
                }
                body.push('\n');
            }
        }
    }
    let tagged: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_some()).collect();
    if let Some(condition) = flexible_condition(place) {
        let tags =
            if tagged.is_empty() { "out.put_uvarint(0);\n".into() } else { encode_tags(place, &tagged)? };
        if condition == "true" {
            body += &tags;
        } else {
            let _ = writeln!(body, "if {condition} {{\n{tags}}}");
        }
    }
    body += "Ok(())\n";
    declare_flexible(out, place, &body);
    *out += &body;
    Ok(())
}

/// Tagged fields are written only when they differ from their default.
fn encode_tags(place: &Place, tagged: &[&Field]) -> Result<String> {
    let mut sorted: Vec<(u32, &Field, String)> = Vec::new();
    for field in tagged {
        let Some((tag, versions)) = field.tag else { continue };
        let within = flexible_versions(place);
        let is_set = place.is_set(field)?;
        let condition = match place.condition(tag_versions(place, field, versions), within) {
            Some(condition) => format!("{condition} && {is_set}"),
            None => is_set,
        };
        sorted.push((tag, field, condition));
    }
    sorted.sort_by_key(|(tag, _, _)| *tag);
    let counts: Vec<String> =
        sorted.iter().map(|(_, _, condition)| format!("u32::from({condition})")).collect();
    let mut out = format!("out.put_uvarint({});\n", counts.join(" + "));
    for (tag, field, condition) in &sorted {
        if matches!(field.kind, FieldType::Records) {
            bail!("{}: records in a tagged field would be copied", field.name);
        }
        let _ = writeln!(
            out,
            "if {condition} {{\nlet mut field = Writer::new();\n{}out.put_tag({tag}, field)?;\n}}",
            place.encode(field, "&mut field").replace("&mut field.", "field.")
        );
    }
    Ok(out)
}
