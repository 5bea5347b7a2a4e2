//! The `format` file: what a data directory is, in words that people can read.

use crate::disk::{Disk, DiskResult};
use crate::error::OpenError;
use crate::options::Identity;
use bowline_model::AlignedBuf;
use bowline_model::record::crc32c;
use std::fmt::Write;
use std::io::IoSlice;

const FILE: &str = "format";
const UNFINISHED: &str = "format.tmp";
const FORMAT_VERSION: u32 = 1;
const FILE_BYTES: usize = 4096;

/// What a data directory is. Fixed when it is created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub version: u32,
    pub identity: Identity,
}

/// The directory's format; `None` if it has none yet.
pub fn read(disk: &dyn Disk) -> Result<Option<Format>, OpenError> {
    let file = match disk.open(FILE) {
        Ok(file) => file,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut bytes = AlignedBuf::zeroed(FILE_BYTES);
    let n = file.read_at(0, bytes.as_mut_slice())?;
    let text = String::from_utf8_lossy(&bytes.as_slice()[..n]);
    parse(&text).map(Some).map_err(|reason| OpenError::Format {
        path: format!("{}/{FILE}", disk.describe()),
        reason: reason.to_string(),
    })
}

/// Makes the directory a new one of `identity`.
pub fn create(disk: &dyn Disk, identity: Identity) -> DiskResult<Format> {
    let format = Format { version: FORMAT_VERSION, identity };
    let mut bytes = AlignedBuf::zeroed(FILE_BYTES);
    bytes.as_mut_slice().fill(b'\n');
    let text = render(&format);
    bytes.as_mut_slice()[..text.len()].copy_from_slice(text.as_bytes());
    let file = disk.create(UNFINISHED)?;
    file.write_durable(0, &[IoSlice::new(bytes.as_slice())])?;
    file.sync()?;
    disk.rename(UNFINISHED, FILE)?;
    disk.sync_dir("")?;
    Ok(format)
}

fn render(format: &Format) -> String {
    let mut text = format!("bowline data directory\nversion = {}\nnode = ", format.version);
    for (i, byte) in format.identity.node.iter().enumerate() {
        let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(text, "{dash}{byte:02x}");
    }
    let _ = writeln!(text, "\ndata_shards = {}", format.identity.data_shards);
    let crc = crc32c(text.as_bytes());
    let _ = writeln!(text, "crc32c = {crc:08x}");
    text
}

fn parse(text: &str) -> Result<Format, &'static str> {
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ")).ok_or("a line is missing")
    };
    let body = text.find("crc32c = ").ok_or("not a data directory's format file")?;
    let stored = u32::from_str_radix(value("crc32c")?, 16).map_err(|_| "bad checksum line")?;
    if stored != crc32c(&text.as_bytes()[..body]) {
        return Err("checksum does not match");
    }
    let version = value("version")?.parse().map_err(|_| "bad version line")?;
    if version != FORMAT_VERSION {
        return Err("written by another version, which this one cannot read");
    }
    let hex: String = value("node")?.chars().filter(|c| *c != '-').collect();
    let node = u128::from_str_radix(&hex, 16).map_err(|_| "bad node line")?.to_be_bytes();
    let data_shards = value("data_shards")?.parse().map_err(|_| "bad data_shards line")?;
    if data_shards == 0 {
        return Err("data_shards is 0");
    }
    Ok(Format { version, identity: Identity { node, data_shards } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_comes_back_and_damage_is_seen() {
        let format = Format { version: 1, identity: Identity { node: *b"0123456789abcdef", data_shards: 4 } };
        let text = render(&format) + "\n\n\n";
        assert_eq!(parse(&text), Ok(format));
        assert!(parse(&text.replace("shards = 4", "shards = 5")).is_err());
        assert!(parse("").is_err());
    }
}
