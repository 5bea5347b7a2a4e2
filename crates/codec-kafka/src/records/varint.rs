//! Zigzag varints, as records use them (the same as in protocol buffers' sint types).

/// Takes a varint of at most 32 bits off the front.
pub fn read_i32(buf: &mut &[u8]) -> Option<i32> {
    let raw = u32::try_from(read_raw(buf, 5)?).ok()?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a varint of at most 64 bits off the front.
pub fn read_i64(buf: &mut &[u8]) -> Option<i64> {
    let raw = read_raw(buf, 10)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_i64(out, value.into());
}

pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that `write_i64` would write; `write_i32` writes as many for the same number.
pub fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn read_raw(buf: &mut &[u8], max_bytes: usize) -> Option<u64> {
    let mut value: u64 = 0;
    for (i, &byte) in buf.iter().take(max_bytes).enumerate() {
        // The tenth byte has room for one bit only.
        if i == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *buf = &buf[i + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for value in
            [0, 1, -1, 63, 64, -64, -65, 300, i64::from(i32::MAX), i64::from(i32::MIN), i64::MAX, i64::MIN]
        {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            assert_eq!(out.len(), size(value), "{value}");
            assert_eq!(read_i64(&mut out.as_slice()), Some(value));
            let narrow = read_i32(&mut out.as_slice());
            assert_eq!(narrow, i32::try_from(value).ok());
            assert_eq!(read_i64(&mut &out[..out.len() - 1]), None);
        }
        assert_eq!(read_i64(&mut [0x80u8; 11].as_slice()), None);
    }
}
