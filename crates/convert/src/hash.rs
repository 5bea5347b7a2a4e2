//! SipHash-2-4 with 128 bits of output and a fixed key: hashes that are kept in the log, so they must never change.
//!
//! J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF", with the later 128-bit variant.

/// Part of the meaning of stored records: never to be changed.
const KEY: [u64; 2] = [0x6f72_6b20_6e65_7665, 0x6c69_6e65_2062_6f77];

/// Of what makes a message the same as another.
pub fn hash128(bytes: &[u8]) -> u128 {
    sip128(KEY, bytes)
}

/// Of a key that messages share.
pub fn hash64(bytes: &[u8]) -> u64 {
    sip128(KEY, bytes) as u64
}

fn sip128([k0, k1]: [u64; 2], bytes: &[u8]) -> u128 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        compress(&mut v, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    compress(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xee;
    let low = finish(&mut v);
    v[1] ^= 0xdd;
    let high = finish(&mut v);
    u128::from(high) << 64 | u128::from(low)
}

fn compress(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn finish(v: &mut [u64; 4]) -> u64 {
    for _ in 0..4 {
        round(v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two vectors of the reference implementation: key 00..0f, inputs of 0 and 1 octets.
    #[test]
    fn reference_vectors() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        let expected = |hex: u128| u128::from_be_bytes(hex.to_le_bytes());
        assert_eq!(sip128(key, &[]), expected(0xa381_7f04_ba25_a8e6_6df6_7214_c755_0293));
        assert_eq!(sip128(key, &[0]), expected(0xda87_c1d8_6b99_af44_3476_5911_9b22_fc45));
    }

    #[test]
    fn what_is_stored_stays_what_it_is() {
        assert_ne!(hash128(b"a"), hash128(b"b"));
        assert_ne!(hash64(b""), hash64(&[0]));
    }
}
