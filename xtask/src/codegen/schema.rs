//! The compact schema: how a message and its fields are written in kafka.json, and version ranges.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::types::FieldType;

pub struct Schema {
    pub messages: Vec<Message>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Header,
    Request,
    Response,
    Data,
}

pub struct Message {
    pub name: String,
    pub kind: Kind,
    pub key: Option<i16>,
    pub versions: Versions,
    /// First version with compact types and tagged fields.
    pub flexible: Option<i16>,
    /// The highest version is not released: decodable, but never advertised.
    pub unstable_latest: bool,
    /// The message's own struct first, then those nested in it.
    pub structs: Vec<Struct>,
}

pub struct Struct {
    pub name: String,
    /// Versions in which this struct can appear at all.
    pub versions: Versions,
    pub fields: Vec<Field>,
}

pub struct Field {
    pub name: String,
    pub kind: FieldType,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<(u32, Versions)>,
    pub default: Option<String>,
    pub ignorable: bool,
    /// The request header's client id stays in the old encoding for ever (KIP-482).
    pub never_flexible: bool,
}

/// An inclusive range of versions; empty when `first > last`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { first: 1, last: 0 };

    /// `3`, `3-5`, `3+` or `none`.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        let number = |s: &str| s.parse::<i16>().with_context(|| format!("version range {text:?}"));
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: number(first)?, last: i16::MAX });
        }
        match text.split_once('-') {
            Some((first, last)) => Ok(Self { first: number(first)?, last: number(last)? }),
            None => Ok(Self { first: number(text)?, last: number(text)? }),
        }
    }

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub fn intersect(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// The smallest range that holds both.
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { first: self.first.min(other.first), last: self.last.max(other.last) },
        }
    }

    pub fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

#[derive(Deserialize)]
struct RawSchema {
    messages: Vec<RawMessage>,
}

#[derive(Deserialize)]
struct RawMessage {
    name: String,
    kind: Kind,
    key: Option<i16>,
    versions: String,
    flexible: Option<i16>,
    #[serde(default)]
    unstable_latest: bool,
    fields: Vec<String>,
    #[serde(default)]
    structs: Vec<RawStruct>,
}

#[derive(Deserialize)]
struct RawStruct {
    name: String,
    fields: Vec<String>,
}

impl Schema {
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let raw: RawSchema = serde_json::from_str(&text)?;
        let messages = raw.messages.into_iter().map(Message::from_raw).collect::<Result<_>>()?;
        Ok(Self { messages })
    }
}

impl Message {
    fn from_raw(raw: RawMessage) -> Result<Self> {
        let versions = Versions::parse(&raw.versions)?;
        let mut structs = vec![Struct::from_raw(raw.name.clone(), &raw.fields)?];
        for nested in raw.structs {
            structs.push(Struct::from_raw(nested.name, &nested.fields)?);
        }
        structs[0].versions = versions;
        narrow_versions(&mut structs)?;
        Ok(Self {
            name: raw.name,
            kind: raw.kind,
            key: raw.key,
            versions,
            flexible: raw.flexible,
            unstable_latest: raw.unstable_latest,
            structs,
        })
    }

    pub fn nested(&self, name: &str) -> Option<&Struct> {
        self.structs.iter().find(|s| s.name == name)
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible.is_some_and(|first| version >= first)
    }
}

/// Gives every nested struct the versions in which something refers to it, and drops the fields
/// that no valid version carries. Repeats until nothing changes, since structs nest.
fn narrow_versions(structs: &mut [Struct]) -> Result<()> {
    loop {
        let mut changed = false;
        for i in 0..structs.len() {
            let outer = structs[i].versions;
            let uses: Vec<(String, Versions)> = structs[i]
                .fields
                .iter()
                .filter_map(|f| Some((f.kind.struct_name()?.to_owned(), f.versions.intersect(outer))))
                .collect();
            for (name, versions) in uses {
                let Some(inner) = structs.iter_mut().find(|s| s.name == name) else {
                    bail!("struct {name} is not described");
                };
                let wider = inner.versions.hull(versions);
                changed |= wider != inner.versions;
                inner.versions = wider;
            }
        }
        if !changed {
            break;
        }
    }
    for s in structs.iter_mut() {
        let versions = s.versions;
        s.fields.retain(|f| !f.versions.intersect(versions).is_empty());
    }
    Ok(())
}

impl Struct {
    fn from_raw(name: String, fields: &[String]) -> Result<Self> {
        let fields = fields.iter().map(|f| Field::parse(f)).collect::<Result<_>>()?;
        Ok(Self { name, versions: Versions::NONE, fields })
    }
}

impl Field {
    fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(kind), Some(versions)) = (words.next(), words.next(), words.next()) else {
            bail!("field {text:?}: name, type and versions expected");
        };
        let mut field = Field {
            name: name.to_owned(),
            kind: FieldType::parse(kind),
            versions: Versions::parse(versions)?,
            nullable: Versions::NONE,
            tag: None,
            default: None,
            ignorable: false,
            never_flexible: false,
        };
        for word in words {
            match word.split_once('=') {
                None if word == "ignorable" => field.ignorable = true,
                Some(("null", versions)) => field.nullable = Versions::parse(versions)?,
                Some(("default", value)) => field.default = Some(value.to_owned()),
                Some(("flexible", "none")) => field.never_flexible = true,
                Some(("tag", tag)) => {
                    let (number, versions) = tag.split_once('/').context("tag=NUMBER/VERSIONS")?;
                    field.tag = Some((number.parse()?, Versions::parse(versions)?));
                }
                _ => bail!("field {text:?}: {word:?} is not understood"),
            }
        }
        Ok(field)
    }

    /// Whether the Rust type is an `Option`, within a struct that appears in `outer`. Records always
    /// are, so that all messages with records look alike.
    pub fn is_nullable(&self, outer: Versions) -> bool {
        self.kind == FieldType::Records || !self.nullable.intersect(self.versions).intersect(outer).is_empty()
    }
}
