//! Every message in every version, against a second reading of the schema.
//!
//! The interpreter here shares nothing with the generator. It writes random messages straight from
//! kafka.json; the generated code must read them to the end and write the same bytes again.

use std::collections::HashMap;

use bowline_codec_kafka::fuzz_decode_any;
use bowline_codec_kafka::messages::catalog;
use bowline_codec_kafka::wire::DECODE_MEMORY_MAX;
use serde_json::Value;

const SCHEMA: &str = include_str!("../schema/kafka.json");
/// Random messages per message and version.
const ROUNDS: u64 = 12;

#[test]
fn random_messages_are_written_as_they_were_read() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let messages = schema["messages"].as_array().unwrap();
    assert_eq!(messages.len(), catalog::ALL.len());
    for (message, codec) in messages.iter().zip(catalog::ALL) {
        assert_eq!(message["name"], codec.name);
        assert_eq!(
            message["versions"].as_str().map(versions),
            Some((codec.first_version, codec.last_version))
        );
        for version in codec.first_version..=codec.last_version {
            for round in 0..ROUNDS {
                let mut sample = Sample::new(message, version, round);
                sample.structure(codec.name);
                let bytes = sample.out;
                let again = codec.recode(bytes.clone().into(), version, DECODE_MEMORY_MAX);
                assert_eq!(again.as_deref(), Ok(&bytes[..]), "{} v{version} round {round}", codec.name);
            }
        }
    }
}

/// Damaged messages get much further into the decoders than arbitrary bytes do.
#[test]
fn damaged_messages_never_panic() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    for (index, message) in schema["messages"].as_array().unwrap().iter().enumerate() {
        let codec = &catalog::ALL[index];
        for version in codec.first_version..=codec.last_version {
            for round in 0..4 * ROUNDS {
                let mut sample = Sample::new(message, version, round);
                sample.structure(codec.name);
                let mut data = vec![index as u8, (version - codec.first_version) as u8];
                data.append(&mut sample.out);
                for _ in 0..=sample.below(3) {
                    let at = sample.below(data.len() as u64 - 2 + 1) as usize + 2;
                    match sample.below(4) {
                        0 => data.truncate(at),
                        _ if at == data.len() => data.push(sample.below(256) as u8),
                        1 => data[at] = [0, 1, 0x7f, 0x80, 0xff][sample.below(5) as usize],
                        _ => data[at] ^= 1 << sample.below(8),
                    }
                }
                fuzz_decode_any(&data);
            }
        }
    }
}

#[test]
fn defaults_are_written_and_read_in_every_version() {
    for codec in catalog::ALL {
        for version in codec.first_version..=codec.last_version {
            let bytes = codec.encode_default(version);
            let bytes = bytes.unwrap_or_else(|error| panic!("{} v{version}: {error}", codec.name));
            let again = codec.recode(bytes.clone(), version, DECODE_MEMORY_MAX);
            assert_eq!(again, Ok(bytes), "{} v{version}", codec.name);
        }
        for version in [codec.first_version - 1, codec.last_version + 1] {
            assert!(codec.encode_default(version).is_err());
        }
    }
}

/// One random message under construction.
struct Sample<'a> {
    structs: HashMap<&'a str, Vec<&'a str>>,
    version: i16,
    flexible: bool,
    random: u64,
    out: Vec<u8>,
}

impl<'a> Sample<'a> {
    fn new(message: &'a Value, version: i16, round: u64) -> Self {
        let fields = |owner: &'a Value| {
            let fields = owner["fields"].as_array().unwrap().iter();
            (owner["name"].as_str().unwrap(), fields.map(|field| field.as_str().unwrap()).collect())
        };
        let mut structs: HashMap<_, _> =
            message["structs"].as_array().into_iter().flatten().map(fields).collect();
        structs.extend([fields(message)]);
        let flexible = message["flexible"].as_i64().is_some_and(|first| i64::from(version) >= first);
        Self { structs, version, flexible, random: round * 1000 + version as u64, out: Vec::new() }
    }

    /// A number below `bound`, from SplitMix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % bound
    }

    fn structure(&mut self, name: &str) {
        let fields = self.structs[name].clone();
        let mut tags = Vec::new();
        for field in fields {
            let [_, kind, carried, options @ ..] = &field.split(' ').collect::<Vec<_>>()[..] else {
                panic!()
            };
            let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
            if !self.in_range(carried) {
                continue;
            }
            let null_ok = option("null=").is_some_and(|range| self.in_range(range));
            let compact = self.flexible && option("flexible=") != Some("none");
            let Some(tag) = option("tag=") else {
                self.value(kind, compact, null_ok);
                continue;
            };
            let (number, range) = tag.split_once('/').unwrap();
            if self.in_range(range) && self.below(2) == 0 {
                let outer = std::mem::take(&mut self.out);
                self.value(kind, true, false);
                let bytes = std::mem::replace(&mut self.out, outer);
                tags.push((number.parse().unwrap(), bytes));
            }
        }
        if self.flexible {
            self.tags(tags);
        }
    }

    /// Default values of tagged fields do not travel; the ones here have only zeros, apart from a
    /// compact length of none, or are random beyond coincidence.
    fn tags(&mut self, mut tags: Vec<(u32, Vec<u8>)>) {
        tags.retain(|(_, bytes)| bytes.iter().any(|&byte| byte > 1));
        tags.sort();
        self.uvarint(tags.len() as u32);
        for (number, bytes) in tags {
            self.uvarint(number);
            self.uvarint(bytes.len() as u32);
            self.out.extend(bytes);
        }
    }

    fn value(&mut self, kind: &str, compact: bool, null_ok: bool) {
        let null = null_ok && self.below(4) == 0;
        if let Some(element) = kind.strip_prefix("[]") {
            let count = self.below(4) as i32;
            self.length(if null { -1 } else { count }, compact, 4);
            for _ in 0..if null { 0 } else { count } {
                self.value(element, compact, false);
            }
            return;
        }
        match kind {
            "string" | "bytes" | "records" => {
                // Now and then long enough for a two-byte compact length, and for a segment.
                let bound = if self.below(8) == 0 { 3000 } else { 12 };
                let length = self.below(bound) as i32;
                self.length(if null { -1 } else { length }, compact, if kind == "string" { 2 } else { 4 });
                for _ in 0..if null { 0 } else { length } {
                    let letter = b'a' + self.below(26) as u8;
                    self.out.push(letter);
                }
            }
            "bool" => {
                let truth = self.below(2) as u8;
                self.out.push(truth);
            }
            "int8" => self.number(1),
            "int16" | "uint16" => self.number(2),
            "int32" | "uint32" => self.number(4),
            "int64" | "float64" => self.number(8),
            "uuid" => self.number(16),
            structure => {
                if null_ok {
                    self.out.push(if null { 0xff } else { 1 });
                }
                if !null {
                    self.structure(structure);
                }
            }
        }
    }

    fn number(&mut self, bytes: usize) {
        for _ in 0..bytes {
            let byte = self.below(256) as u8;
            self.out.push(byte);
        }
    }

    fn length(&mut self, length: i32, compact: bool, bytes: usize) {
        match (compact, bytes) {
            (true, _) => self.uvarint((length + 1) as u32),
            (false, 2) => self.out.extend((length as i16).to_be_bytes()),
            (false, _) => self.out.extend(length.to_be_bytes()),
        }
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn in_range(&self, range: &str) -> bool {
        let (first, last) = versions(range);
        (first..=last).contains(&self.version)
    }
}

fn versions(range: &str) -> (i16, i16) {
    let number = |text: &str| text.parse::<i16>().unwrap();
    match range.split_once('-') {
        _ if range == "none" => (1, 0),
        Some((first, last)) => (number(first), number(last)),
        None => match range.strip_suffix('+') {
            Some(first) => (number(first), i16::MAX),
            None => (number(range), number(range)),
        },
    }
}
