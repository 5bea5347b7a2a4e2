//! Helpers of the checkpoint format: numbers are varints, signed ones zigzag, strings and sections have a length.

use bowline_model::varint;

/// A checkpoint that cannot be read: what was wrong. It is not used then; the log is replayed from further back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged(pub &'static str);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "checkpoint of topics and groups: {}", self.0)
    }
}

impl std::error::Error for Damaged {}

/// Appends what `write` writes with its length (u64 LE) in front.
pub fn section(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mark = out.len();
    out.extend_from_slice(&[0; 8]);
    write(out);
    let len = (out.len() - mark - 8) as u64;
    out[mark..mark + 8].copy_from_slice(&len.to_le_bytes());
}

pub fn take_section<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Damaged> {
    let (len, rest) = input.split_first_chunk::<8>().ok_or(Damaged("no section"))?;
    let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| Damaged("section length"))?;
    if len > rest.len() {
        return Err(Damaged("section cut short"));
    }
    let (section, rest) = rest.split_at(len);
    *input = rest;
    Ok(section)
}

pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    varint::put(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub fn take(input: &mut &[u8]) -> Result<u64, Damaged> {
    varint::take(input).ok_or(Damaged("number"))
}

pub fn take_u32(input: &mut &[u8]) -> Result<u32, Damaged> {
    varint::take_u32(input).ok_or(Damaged("number"))
}

pub fn take_signed(input: &mut &[u8]) -> Result<i64, Damaged> {
    let value = take(input)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

pub fn take_i32(input: &mut &[u8]) -> Result<i32, Damaged> {
    i32::try_from(take_signed(input)?).map_err(|_| Damaged("number"))
}

pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Damaged> {
    let len = usize::try_from(take(input)?).map_err(|_| Damaged("length"))?;
    if len > input.len() {
        return Err(Damaged("length"));
    }
    let (bytes, rest) = input.split_at(len);
    *input = rest;
    Ok(bytes)
}

pub fn take_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, Damaged> {
    std::str::from_utf8(take_bytes(input)?).map_err(|_| Damaged("text"))
}
