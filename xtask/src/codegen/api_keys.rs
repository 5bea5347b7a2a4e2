//! `api_key.rs`: the table that the server advertises and both sides negotiate with.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::schema::{Kind, Message, Schema};

/// Librdkafka up to 2.x turns compression off when a broker does not offer Produce from 0 on, so
/// the advertised range begins there although no client may use it (KAFKA-18659).
const PRODUCE: i16 = 0;
const PRODUCE_ADVERTISED_MIN: i16 = 0;
const API_VERSIONS: i16 = 18;

struct Api<'a> {
    name: &'a str,
    request: &'a Message,
}

pub fn generate(schema: &Schema) -> Result<String> {
    let mut apis = Vec::new();
    for request in schema.messages.iter().filter(|m| m.kind == Kind::Request) {
        let name = request.name.strip_suffix("Request").context("requests are named …Request")?;
        let response = schema.messages.iter().find(|m| m.kind == Kind::Response && m.key == request.key);
        let response = response.with_context(|| format!("{name} has no response"))?;
        ensure!(request.versions == response.versions, "{name}: request and response versions differ");
        ensure!(request.flexible == response.flexible, "{name}: request and response flexibility differ");
        apis.push(Api { name, request });
    }
    let mut out = String::from(HEADER);
    enumeration(&mut out, &apis);
    out += "impl ApiKey {\n";
    let _ = writeln!(
        out,
        "/// In ascending order of their numbers.\npub const ALL: [ApiKey; {}] = [",
        apis.len()
    );
    for api in &apis {
        let _ = writeln!(out, "ApiKey::{},", api.name);
    }
    out += "];\n\n";
    out += "pub fn from_i16(key: i16) -> Option<Self> {\nmatch key {\n";
    for api in &apis {
        let _ = writeln!(out, "{} => Some(ApiKey::{}),", key(api), api.name);
    }
    out += "_ => None,\n}\n}\n\n";
    table(&mut out, "The name in the protocol guide.", "name", "&'static str", &apis, |a| {
        format!("{:?}", a.name)
    });
    table(
        &mut out,
        "Versions that this crate reads and writes.",
        "versions",
        "RangeInclusive<i16>",
        &apis,
        |a| format!("{}..={}", a.request.versions.first, a.request.versions.last),
    );
    table(
        &mut out,
        "First version with compact types and tagged fields (KIP-482); i16::MAX when there is none.",
        "first_flexible",
        "i16",
        &apis,
        |a| a.request.flexible.map_or("i16::MAX".into(), |v| v.to_string()),
    );
    let unstable: Vec<&str> = apis.iter().filter(|a| a.request.unstable_latest).map(|a| a.name).collect();
    let unstable = unstable.iter().map(|name| format!("ApiKey::{name}")).collect::<Vec<_>>().join(" | ");
    let produce = apis.iter().find(|a| a.request.key == Some(PRODUCE)).context("no Produce")?.name;
    let api_versions =
        apis.iter().find(|a| a.request.key == Some(API_VERSIONS)).context("no ApiVersions")?.name;
    let _ = writeln!(
        out,
        "/// What a server may offer: without versions that Kafka has not released, and with Produce\n\
         /// from {PRODUCE_ADVERTISED_MIN} on, because older librdkafka stops compressing otherwise (KAFKA-18659).\n\
         /// A request in a version outside `versions` is refused all the same.\n\
         pub fn advertised_versions(self) -> RangeInclusive<i16> {{\n\
         let (first, last) = self.versions().into_inner();\n\
         match self {{\n\
         ApiKey::{produce} => {PRODUCE_ADVERTISED_MIN}..=last,\n\
         {unstable} => first..=last - 1,\n\
         _ => first..=last,\n}}\n}}\n\n\
         pub fn is_flexible(self, version: i16) -> bool {{\nversion >= self.first_flexible()\n}}\n\n\
         /// 1, or 2 for flexible versions.\n\
         pub fn request_header_version(self, version: i16) -> i16 {{\nif self.is_flexible(version) {{ 2 }} else {{ 1 }}\n}}\n\n\
         /// 0, or 1 for flexible versions; always 0 for {api_versions}, which a client must be able to read\n\
         /// before it knows the server (KIP-511).\n\
         pub fn response_header_version(self, version: i16) -> i16 {{\n\
         let flexible = self.is_flexible(version) && self != ApiKey::{api_versions};\nflexible.into()\n}}\n}}\n"
    );
    out += FOOTER;
    Ok(out)
}

const HEADER: &str = "//! Which APIs exist, their versions, and which headers they use.
//!
//! Generated from schema/kafka.json by `cargo xtask codegen`; do not edit.

use std::fmt;
use std::ops::RangeInclusive;

";

const FOOTER: &str = "
impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
";

fn key(api: &Api) -> i16 {
    api.request.key.unwrap_or(-1)
}

fn enumeration(out: &mut String, apis: &[Api]) {
    *out += "#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {\n";
    for api in apis {
        let _ = writeln!(out, "{} = {},", api.name, key(api));
    }
    *out += "}\n\n";
}

fn table(out: &mut String, doc: &str, name: &str, kind: &str, apis: &[Api], value: impl Fn(&Api) -> String) {
    let _ = writeln!(out, "/// {doc}\npub fn {name}(self) -> {kind} {{\nmatch self {{");
    // One arm for all APIs that share a value.
    let mut rest: Vec<(String, Vec<&str>)> = Vec::new();
    for api in apis {
        let value = value(api);
        match rest.iter_mut().find(|(v, _)| *v == value) {
            Some((_, names)) => names.push(api.name),
            None => rest.push((value, vec![api.name])),
        }
    }
    for (value, names) in rest {
        let arms: Vec<String> = names.iter().map(|name| format!("ApiKey::{name}")).collect();
        let _ = writeln!(out, "{} => {value},", arms.join(" | "));
    }
    *out += "}\n}\n\n";
}
