//! Octets as the head of a segment file and as the head of a block. The checksum is put right first in half of the
//! cases, or else all damage would hide behind it. What decodes must be written the same way again.
#![no_main]

use bowline_fuzz as _;
use bowline_model::Lsn;
use bowline_model::record::crc32c;
use bowline_storage::header::{BlockHeader, SegmentHeader, SegmentKind};
use libfuzzer_sys::fuzz_target;

/// Used octets of a segment header, and of a block header.
const SEGMENT: usize = 512;
const BLOCK: usize = 128;

fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else { return };
    let kind = if how & 2 == 0 { SegmentKind::Log } else { SegmentKind::Cold };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 && bytes.len() >= SEGMENT {
        repair(&mut bytes[..SEGMENT], 8, 12);
    }
    let number = bytes.get(20..24).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    if let Ok(header) = SegmentHeader::decode(&bytes, kind, number) {
        let mut out = vec![0; 4096];
        header.encode(&mut out);
        assert_eq!(SegmentHeader::decode(&out, kind, number), Ok(header));
    }
    if how & 1 == 1 && bytes.len() >= BLOCK {
        repair(&mut bytes[..BLOCK], 4, 8);
    }
    if let Ok((header, crc)) = BlockHeader::decode(&bytes) {
        let mut out = vec![0; BLOCK];
        let again = header.encode(&mut out);
        assert_eq!(BlockHeader::decode(&out), Ok((header, again)));
        assert_eq!(BlockHeader::decode_at(&bytes, header.lsn, header.epoch), Ok((header, crc)));
        assert!(BlockHeader::decode_at(&bytes, Lsn(header.lsn.0 ^ 4096), 0).is_err());
        for sector in [512, 4096] {
            assert!(header.block_bytes(sector) >= header.payload_len.into());
        }
    }
});

/// Writes the checksum of what lies from `from` on at `at`.
fn repair(header: &mut [u8], at: usize, from: usize) {
    let crc = crc32c(&header[from..]);
    header[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}
