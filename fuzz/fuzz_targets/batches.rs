//! Record batches as a producer might send them. The first octet says whether length and checksum are put right first:
//! otherwise damage would hide behind them. What passes the checks must read the same after it was built again.
#![no_main]

use bowline_codec_kafka::records::{
    Batch, BatchBuilder, BatchHeader, Batches, Header, RecordIter, validate_batch, validate_records,
    verify_batch,
};
use bowline_fuzz as _;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 61;
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let [repair, batch @ ..] = data else { return };
    let mut batch = batch.to_vec();
    if repair & 1 == 1 && batch.len() >= HEADER_BYTES {
        let length = batch.len() as i32 - 12;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = bowline_model::record::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let bytes = Bytes::from(batch);
    if let Ok(header) = validate_batch(&bytes)
        && let Ok(summary) = validate_records(&header, &bytes, DECOMPRESSED_BYTES_MAX)
    {
        assert!(summary.decompressed_bytes <= DECOMPRESSED_BYTES_MAX);
        rebuild(header, &bytes);
    }
    for batch in Batches::new(bytes).map_while(Result::ok) {
        if let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) {
            assert!(records.len() <= DECOMPRESSED_BYTES_MAX);
            for record in RecordIter::new(&records, batch.header.records_count).map_while(Result::ok) {
                let announced = record.headers.len();
                assert_eq!(record.headers.count(), announced);
            }
        }
    }
});

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64);

fn read(header: &BatchHeader, bytes: &Bytes) -> Vec<Owned> {
    let batch = Batch { header: *header, bytes: bytes.clone() };
    let body = batch.records(DECOMPRESSED_BYTES_MAX).expect("it was read before");
    RecordIter::new(&body, header.records_count)
        .map(|record| {
            let record = record.expect("it was read before");
            let headers = record
                .headers
                .map(|h| (String::from_utf8_lossy(h.key).into_owned(), h.value.map(<[u8]>::to_vec)));
            let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
            (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers.collect(), timestamp)
        })
        .collect()
}

fn rebuild(header: BatchHeader, bytes: &Bytes) {
    let records = read(&header, bytes);
    let mut builder = BatchBuilder::new(header.base_timestamp);
    for (key, value, headers, timestamp) in &records {
        let headers: Vec<_> = headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        builder.append(key.as_deref(), value.as_deref(), &headers, *timestamp).expect("small enough");
    }
    let built = builder.build().expect("not empty");
    let again = verify_batch(&built).expect("our own");
    assert_eq!(read(&again, &built), records);
}
