//! The four compressions of record batches, each in the form that Kafka's clients use.
//!
//! Decompression is bounded: the caller says how much may come out, and no more is ever produced.

use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

/// As numbered in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i16)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    /// Written in the Java library's framing ("xerial"), as the Java client does; read with or without.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// Consumers know it from Fetch version 10 on (KIP-110).
    Zstd = 4,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    #[error("decompressed size exceeds {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    #[error("{compression:?}: {reason}")]
    Corrupt { compression: Compression, reason: String },
}

/// Kafka's default level for zstd.
const ZSTD_LEVEL: i32 = 3;

const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// Magic, version and lowest compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
/// The Java library's block size.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// Output is reserved up to this much ahead of producing it.
const INITIAL_CAPACITY_MAX: usize = 256 << 10;
const READ_STEP_BYTES: usize = 64 << 10;

impl Compression {
    /// From the three lowest bits of the attributes.
    pub fn from_bits(bits: i16) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .get(usize::try_from(bits).ok()?)
            .copied()
    }

    pub fn compress(self, data: &[u8]) -> Result<Vec<u8>, CompressionError> {
        self.compress_at(data, None)
    }

    /// `level`: 1 to 9 of gzip, −131072 to 22 of zstd; the others have none.
    pub fn compress_at(self, data: &[u8], level: Option<i32>) -> Result<Vec<u8>, CompressionError> {
        let result = match self {
            Self::None => Ok(data.to_vec()),
            Self::Gzip => gzip_compress(data, level),
            Self::Snappy => return snappy_compress(data),
            Self::Lz4 => lz4_compress(data),
            Self::Zstd => zstd::bulk::compress(data, level.unwrap_or(ZSTD_LEVEL)),
        };
        result.map_err(|error| self.corrupt(error))
    }

    /// Fails rather than produce more than `max_bytes`.
    pub fn decompress(self, data: &[u8], max_bytes: usize) -> Result<Vec<u8>, CompressionError> {
        match self {
            Self::None if data.len() > max_bytes => Err(CompressionError::TooLarge { max_bytes }),
            Self::None => Ok(data.to_vec()),
            Self::Gzip => self.read_bounded(MultiGzDecoder::new(data), data.len(), max_bytes),
            Self::Snappy if data.starts_with(XERIAL_MAGIC) => xerial_decompress(data, max_bytes),
            Self::Snappy => {
                let mut out = Vec::new();
                snappy_block(data, &mut out, max_bytes)?;
                Ok(out)
            }
            Self::Lz4 => self.read_bounded(FrameDecoder::new(data), data.len(), max_bytes),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|e| self.corrupt(e))?;
                self.read_bounded(decoder, data.len(), max_bytes)
            }
        }
    }

    fn read_bounded(
        self,
        mut decoder: impl Read,
        input_bytes: usize,
        max_bytes: usize,
    ) -> Result<Vec<u8>, CompressionError> {
        let expected = input_bytes.saturating_mul(4).min(max_bytes).min(INITIAL_CAPACITY_MAX);
        let mut out = Vec::with_capacity(expected);
        loop {
            let filled = out.len();
            // One byte above the limit shows whether there would be more.
            let step = (max_bytes - filled).saturating_add(1).min(READ_STEP_BYTES);
            out.resize(filled + step, 0);
            let read = decoder.read(&mut out[filled..]).map_err(|error| self.corrupt(error))?;
            out.truncate(filled + read);
            if out.len() > max_bytes {
                return Err(CompressionError::TooLarge { max_bytes });
            }
            if read == 0 {
                return Ok(out);
            }
        }
    }

    fn corrupt(self, reason: impl ToString) -> CompressionError {
        CompressionError::Corrupt { compression: self, reason: reason.to_string() }
    }
}

fn gzip_compress(data: &[u8], level: Option<i32>) -> std::io::Result<Vec<u8>> {
    let level = level.and_then(|level| u32::try_from(level).ok()).map(|level| level.min(9));
    let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(data)?;
    encoder.finish()
}

/// Independent blocks of 64 KiB without content checksum: Java's reader accepts nothing linked.
fn lz4_compress(data: &[u8]) -> std::io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

fn snappy_compress(data: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::with_capacity(XERIAL_HEADER_BYTES + data.len() / 2);
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in data.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block).map_err(|error| Compression::Snappy.corrupt(error))?;
        out.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

fn xerial_decompress(data: &[u8], max_bytes: usize) -> Result<Vec<u8>, CompressionError> {
    let corrupt = |reason: &str| Compression::Snappy.corrupt(reason);
    let mut rest = data.get(XERIAL_HEADER_BYTES..).ok_or_else(|| corrupt("header is cut off"))?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (size, behind) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("block size is cut off"))?;
        let size =
            usize::try_from(i32::from_be_bytes(*size)).map_err(|_| corrupt("block size is negative"))?;
        let (block, behind) = behind.split_at_checked(size).ok_or_else(|| corrupt("block is cut off"))?;
        snappy_block(block, &mut out, max_bytes)?;
        rest = behind;
    }
    Ok(out)
}

/// Appends a raw snappy block to `out`, which may grow to `max_bytes` in all.
fn snappy_block(block: &[u8], out: &mut Vec<u8>, max_bytes: usize) -> Result<(), CompressionError> {
    let corrupt = |error: snap::Error| Compression::Snappy.corrupt(error);
    let length = snap::raw::decompress_len(block).map_err(corrupt)?;
    if length > max_bytes.saturating_sub(out.len()) {
        return Err(CompressionError::TooLarge { max_bytes });
    }
    // A copy stands for at most 64 bytes and takes at least two itself: a length beyond that is a lie,
    // and must not be reserved.
    if length / 64 > block.len() {
        return Err(Compression::Snappy.corrupt("block is too short for its length"));
    }
    let filled = out.len();
    out.resize(filled + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[filled..]).map_err(corrupt)?;
    Ok(())
}
