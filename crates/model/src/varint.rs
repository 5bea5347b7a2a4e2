//! LEB128 unsigned varints, at most ten bytes; longer or truncated input is `None`, never a panic.

pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint at the front of `input` and moves `input` past it.
pub fn take(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Some(value);
        }
    }
    None
}

/// As [`take`], refusing what does not fit 32 bits.
pub fn take_u32(input: &mut &[u8]) -> Option<u32> {
    take(input).and_then(|v| u32::try_from(v).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_every_width() {
        for value in (0..64).map(|s| 1u64 << s).chain([0, u64::MAX, 127, 128, 16383, 16384]) {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut input = &out[..];
            assert_eq!(take(&mut input), Some(value));
            assert!(input.is_empty());
            for cut in 0..out.len() {
                assert_eq!(take(&mut &out[..cut]), None);
            }
        }
        assert_eq!(take(&mut &[0xff; 11][..]), None);
    }
}
