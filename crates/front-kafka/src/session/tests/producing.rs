//! Produce: rules of a batch, order, transactions, and how it is answered.

use super::*;

#[test]
fn produce_requests_overlap_and_are_answered_in_order() {
    let mut bench = Bench::new();
    let first = bench.send(9, &good(0));
    let second = bench.send(9, &good(1));
    let third = bench.send(7, &good(0));
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|(shard, _)| shard.0).collect::<Vec<_>>(), [1, 2, 1]);
    let unanswered = bench.session.unanswered_bytes();
    bench.event(appended(&sent[1].1, 20));
    assert!(bench.frame().is_none(), "the first is not done");
    bench.event(appended(&sent[0].1, 10));
    let (id, answer) = bench.produced(9).unwrap();
    assert_eq!((id, answer.base_offset, answer.error_code), (first, 10, 0));
    let (id, answer) = bench.produced(9).unwrap();
    assert_eq!((id, answer.base_offset), (second, 20));
    bench.event(Event::Failed { token: token(&sent[2].1), reason: Failure::DiskFull });
    let (id, answer) = bench.produced(7).unwrap();
    assert_eq!((id, answer.error_code, answer.base_offset), (third, ErrorCode::KafkaStorageError.code(), -1));
    assert!(unanswered > 0 && bench.session.unanswered_bytes() == 0);
}

#[test]
fn the_appended_record_is_the_producers_batch() {
    let mut bench = Bench::new();
    let sent_batch = batch(b"payload", 1_700_000_000_000);
    bench.send(13, &{
        let mut request = produce(1, 1, sent_batch.clone());
        request.topic_data[0].topic_id = Uuid([4; 16]);
        request
    });
    let sent = bench.sent();
    let Request::Propose(propose) = &sent[0].1 else { panic!() };
    let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
    let append = bowline_model::record::Append::decode(record.body).unwrap();
    assert_eq!((append.partition, append.flags, append.batch), (5, 0, &sent_batch[..]));
}

#[test]
fn acks_0_has_no_response_and_closes_on_failure() {
    let mut bench = Bench::new();
    bench.send(9, &produce(0, 0, batch(b"a", 1)));
    let after = bench.send(9, &good(0));
    let sent = bench.sent();
    bench.event(appended(&sent[0].1, 0));
    bench.event(appended(&sent[1].1, 1));
    assert_eq!(bench.produced(9).unwrap().0, after);
    assert!(bench.session.closed().is_none());
    bench.send(9, &produce(9, 0, batch(b"a", 1)));
    assert!(matches!(bench.session.closed(), Some(Closed::UnacknowledgedFailure)));
    assert!(bench.frame().is_none());
}

#[test]
fn bad_batches_get_their_codes_and_are_not_sent() {
    let now = 1_700_000_000_000;
    let whole = batch(b"hello", now);
    let mut damaged = whole.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut old_magic = whole.to_vec();
    old_magic[16] = 1;
    let mut transactional = BatchBuilder::new(now).producer(1, 0, 0).transactional();
    transactional.append(None, Some(b"x"), &[], now).unwrap();
    let mut control = BatchBuilder::new(now).producer(1, 0, 0).control();
    control.append(None, Some(b"x"), &[], now).unwrap();
    let cases = [
        (damaged.into(), ErrorCode::CorruptMessage),
        (old_magic.into(), ErrorCode::InvalidRecord),
        (Bytes::new(), ErrorCode::InvalidRecord),
        ([&whole[..], &whole[..]].concat().into(), ErrorCode::InvalidRecord),
        (whole.slice(..40), ErrorCode::InvalidRecord),
        (transactional.build().unwrap(), ErrorCode::TransactionalIdAuthorizationFailed),
        (control.build().unwrap(), ErrorCode::InvalidRecord),
        (batch(&vec![0; 1_100_000], now), ErrorCode::MessageTooLarge),
        (batch(b"x", now + 3_700_000), ErrorCode::InvalidTimestamp),
    ];
    let mut bench = Bench::new();
    for (bytes, expected) in cases {
        bench.send(9, &produce(0, -1, bytes));
        let (_, answer) = bench.produced(9).unwrap();
        assert_eq!(ErrorCode::from_i16(answer.error_code), Some(expected));
        assert_eq!((answer.base_offset, bench.sent().len()), (-1, 0));
        if expected == ErrorCode::InvalidTimestamp {
            assert_eq!(answer.record_errors.len(), 1);
        }
    }
    bench.send(9, &produce(0, 2, whole.clone()));
    assert_eq!(bench.produced(9).unwrap().1.error_code, ErrorCode::InvalidRequiredAcks.code());
}

#[test]
fn a_transaction_joins_partitions_once_and_batches_do_not_overtake() {
    let mut bench = Bench::new();
    let now = 1_700_000_000_000;
    let request = |sequence| {
        let mut batch = BatchBuilder::new(now).producer(7, 3, sequence).transactional();
        batch.append(None, Some(b"x"), &[], now).unwrap();
        let mut request = produce(0, -1, batch.build().unwrap());
        request.transactional_id = Some("tx".into());
        request
    };
    // Older versions have said so to the coordinator; the partition knows.
    bench.send(11, &request(0));
    assert!(matches!(&bench.sent()[..], [(_, Request::Propose(_))]));
    let mut bench = Bench::new();
    bench.send(12, &request(0));
    bench.send(12, &request(1));
    let asked = bench.sent();
    assert!(asked.iter().all(|(_, request)| matches!(request, Request::Txn { .. })), "{asked:?}");
    let joined = |request: &Request| {
        let reply = bowline_model::txn::Reply::Added(Ok(()));
        Event::Txn { token: token(request), reply }
    };
    bench.event(joined(&asked[0].1));
    // The second still waits, so the third has to.
    bench.send(12, &request(2));
    let sent = bench.sent();
    assert!(matches!(&sent[..], [(_, Request::Propose(_)), (_, Request::Txn { .. })]), "{sent:?}");
    bench.event(joined(&asked[1].1));
    bench.event(joined(&sent[1].1));
    bench.send(12, &request(3));
    let sent = bench.sent();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(_, request)| matches!(request, Request::Propose(_))), "known by now: {sent:?}");
    // Another epoch is another transaction.
    let mut batch = BatchBuilder::new(now).producer(7, 4, 0).transactional();
    batch.append(None, Some(b"x"), &[], now).unwrap();
    let mut request = produce(0, -1, batch.build().unwrap());
    request.transactional_id = Some("tx".into());
    bench.send(12, &request);
    let sent = bench.sent();
    let [(_, ask @ Request::Txn { .. })] = &sent[..] else { panic!("{sent:?}") };
    let fenced = bowline_model::txn::Reply::Added(Err(bowline_model::txn::Error::ProducerFenced));
    bench.event(Event::Txn { token: token(ask), reply: fenced });
    assert!(bench.sent().is_empty());
}

#[test]
fn log_append_time_is_stamped_and_told() {
    let mut bench = Bench::new();
    bench.catalog.add("stamped", 1, 8, AppendRules { log_append_time: true, ..Default::default() });
    let mut request = good(0);
    request.topic_data[0].name = "stamped".into();
    bench.send(9, &request);
    let sent = bench.sent();
    let Request::Propose(propose) = &sent[0].1 else { panic!() };
    let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
    let append = bowline_model::record::Append::decode(record.body).unwrap();
    let header = bowline_codec_kafka::records::verify_batch(append.batch).unwrap();
    assert_eq!(header.max_timestamp, bench.now.millis);
    assert_eq!(header.timestamp_type(), bowline_codec_kafka::records::TimestampType::LogAppendTime);
    bench.event(appended(&sent[0].1, 0));
    assert_eq!(bench.produced(9).unwrap().1.log_append_time_ms, bench.now.millis);
}

#[test]
fn what_a_batch_says_of_its_youngest_record_is_true_in_the_log() {
    use bowline_codec_kafka::records::{set_max_timestamp, verify_batch};
    let mut bench = Bench::new();
    let time = bench.now.millis - 1_000;
    for told in [5, i64::MAX, time] {
        let mut batch = batch(b"x", time).to_vec();
        set_max_timestamp(&mut batch, told).unwrap();
        bench.send(9, &produce(0, -1, batch.into()));
        let sent = bench.sent();
        let Request::Propose(propose) = &sent[0].1 else { panic!() };
        let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
        let append = bowline_model::record::Append::decode(record.body).unwrap();
        assert_eq!(verify_batch(append.batch).unwrap().max_timestamp, time, "{told}");
    }
}

/// A batch of three records, the second without a key, to the topic that follows these rules.
fn to_topic(bench: &mut Bench, rules: AppendRules, acks: i16, second_key: Option<&[u8]>) {
    bench.catalog.add("special", 1, 8, rules);
    let now = bench.now.millis;
    let mut builder = BatchBuilder::new(now);
    for key in [Some(&b"k"[..]), second_key, Some(b"k")] {
        builder.append(key, Some(&[b'v'; 500]), &[], now).unwrap();
    }
    let mut request = produce(0, acks, builder.build().unwrap());
    request.topic_data[0].name = "special".into();
    bench.send(9, &request);
}

#[test]
fn a_compacted_topic_wants_keys() {
    let mut bench = Bench::new();
    let rules = AppendRules { keyed: true, ..Default::default() };
    to_topic(&mut bench, rules.clone(), -1, None);
    let (_, answer) = bench.produced(9).unwrap();
    assert_eq!(answer.error_code, ErrorCode::InvalidRecord.code());
    assert!(answer.error_message.is_some());
    assert_eq!(answer.record_errors.iter().map(|e| e.batch_index).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.sent().len(), 0);
    to_topic(&mut bench, rules, -1, Some(b"k"));
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn batches_are_compressed_as_the_topic_says() {
    use bowline_codec_kafka::records::{Batch, Compression, RecordIter, verify_batch};
    use bowline_topology::config::Recompression;
    for (compression, expected) in [
        (Recompression::Producer, Compression::None),
        (Recompression::Uncompressed, Compression::None),
        (Recompression::Gzip(Some(9)), Compression::Gzip),
        (Recompression::Snappy, Compression::Snappy),
        (Recompression::Lz4, Compression::Lz4),
        (Recompression::Zstd(Some(-5)), Compression::Zstd),
    ] {
        let mut bench = Bench::new();
        to_topic(&mut bench, AppendRules { compression, ..Default::default() }, -1, None);
        let sent = bench.sent();
        let Request::Propose(propose) = &sent[0].1 else { panic!() };
        let record = bowline_model::record::iter(&propose.records).next().unwrap().unwrap();
        let append = bowline_model::record::Append::decode(record.body).unwrap();
        let header = verify_batch(append.batch).unwrap();
        assert_eq!(header.compression().unwrap(), expected);
        let body = Batch { header, bytes: append.batch.to_vec().into() }.records(1 << 20).unwrap();
        let values = RecordIter::new(&body, 3).map(|record| record.unwrap().value.unwrap().len());
        assert_eq!(values.collect::<Vec<_>>(), [500; 3]);
    }
}

#[test]
fn acks_all_asks_for_replicas_that_are_not_there() {
    let mut bench = Bench::new();
    let rules = AppendRules { in_sync_min: 2, ..Default::default() };
    to_topic(&mut bench, rules.clone(), -1, None);
    assert_eq!(bench.produced(9).unwrap().1.error_code, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(bench.sent().len(), 0);
    to_topic(&mut bench, rules, 1, None);
    assert_eq!(bench.sent().len(), 1);
}
