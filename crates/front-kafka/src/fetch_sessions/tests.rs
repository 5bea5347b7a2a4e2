//! A consumer's requests against the cache; the shards' part is played by [`Consumer::full`].

use super::*;
use bowline_codec_kafka::Records;
use bowline_codec_kafka::messages::fetch_request::ForgottenTopic;
use bowline_codec_kafka::messages::fetch_response::FetchableTopicResponse;

/// One client: what the partitions of topic `t` hold, and the last answer.
struct Consumer<'a> {
    sessions: &'a FetchSessions,
    now: Instant,
    /// By partition: high watermark and log start, and whether there are records to hand out.
    state: Vec<(i64, i64, bool)>,
    /// The next id that a new session gets.
    next_id: i32,
}

impl<'a> Consumer<'a> {
    fn new(sessions: &'a FetchSessions, partitions: usize) -> Consumer<'a> {
        Consumer { sessions, now: Instant::now(), state: vec![(10, 0, false); partitions], next_id: 7 }
    }

    /// Asks, and tells session id, error, and which partitions were answered.
    fn ask(&mut self, id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> (i32, i16, Vec<i32>) {
        let mut request = request(id, epoch, partitions, forgotten);
        match self.sessions.enter(&mut request, false, self.now) {
            Err(error) => (0, error.code(), vec![]),
            Ok((mode, all)) => self.answer(mode, &all),
        }
    }

    fn answer(&mut self, mode: Mode, all: &[FetchTopic]) -> (i32, i16, Vec<i32>) {
        let mut response = self.full(all);
        let mut id = self.next_id;
        self.next_id += 1;
        let ids = || {
            id += 1;
            id - 1
        };
        self.sessions.leave(mode, false, &mut response, self.now, ids);
        let told = response.responses.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition_index));
        (response.session_id, response.error_code, told.collect())
    }

    fn full(&self, all: &[FetchTopic]) -> FetchResponse {
        let data = |asked: &FetchPartition| match self.state.get(asked.partition as usize) {
            None => PartitionData { partition_index: asked.partition, error_code: 3, ..Default::default() },
            Some((high_watermark, log_start_offset, records)) => PartitionData {
                partition_index: asked.partition,
                high_watermark: *high_watermark,
                log_start_offset: *log_start_offset,
                records: Some(Records { segments: vec![b"batch".as_slice().into(); usize::from(*records)] }),
                ..Default::default()
            },
        };
        let topic = |asked: &FetchTopic| FetchableTopicResponse {
            topic: asked.topic.clone(),
            partitions: asked.partitions.iter().map(data).collect(),
            ..Default::default()
        };
        FetchResponse { responses: all.iter().map(topic).collect(), ..Default::default() }
    }
}

fn request(id: i32, epoch: i32, partitions: &[i32], forgotten: &[i32]) -> FetchRequest {
    let asked = |partition: &i32| FetchPartition { partition: *partition, ..Default::default() };
    let named = |topic: &str, partitions: &[i32]| match partitions.is_empty() {
        true => vec![],
        false => vec![ForgottenTopic {
            topic: topic.into(),
            partitions: partitions.to_vec(),
            ..Default::default()
        }],
    };
    let topic = FetchTopic {
        topic: "t".into(),
        partitions: partitions.iter().map(asked).collect(),
        ..Default::default()
    };
    FetchRequest {
        session_id: id,
        session_epoch: epoch,
        topics: if partitions.is_empty() { vec![] } else { vec![topic] },
        forgotten_topics_data: named("t", forgotten),
        ..Default::default()
    }
}

const NO_ID: i16 = 70;
const BAD_EPOCH: i16 = 71;
const TOPIC_IDS: i16 = 106;

#[test]
fn a_session_is_told_news_only() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 3);
    assert_eq!(consumer.ask(0, 0, &[0, 1, 2], &[]), (7, 0, vec![0, 1, 2]), "opened, and told everything");
    assert_eq!(consumer.ask(7, 1, &[], &[]), (7, 0, vec![]), "nothing is new");
    consumer.state[1] = (11, 0, true);
    assert_eq!(consumer.ask(7, 2, &[], &[]), (7, 0, vec![1]));
    consumer.state[1].2 = false;
    consumer.state[2] = (10, 4, false);
    assert_eq!(consumer.ask(7, 3, &[1], &[]), (7, 0, vec![2]), "a log start that moved is news");
    consumer.state[0].0 = 11;
    assert_eq!(consumer.ask(7, 4, &[], &[]), (7, 0, vec![0]), "so is a high watermark");
    assert_eq!(consumer.ask(7, 5, &[], &[]), (7, 0, vec![]));
}

#[test]
fn partitions_come_and_go() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 4);
    consumer.ask(0, 0, &[0, 1], &[]);
    assert_eq!(consumer.ask(7, 1, &[2, 3], &[0, 1]), (7, 0, vec![2, 3]), "new ones are told");
    for state in &mut consumer.state {
        state.0 += 1;
    }
    assert_eq!(consumer.ask(7, 2, &[], &[]), (7, 0, vec![2, 3]), "forgotten ones are not");
    // When the last one goes, so does the session.
    assert_eq!(consumer.ask(7, 3, &[], &[2, 3]), (0, 0, vec![]));
    assert_eq!(consumer.ask(7, 4, &[0], &[]), (0, NO_ID, vec![]));
    assert_eq!(sessions.cache.lock().bytes, 0);
}

#[test]
fn offsets_are_taken_over() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 2);
    consumer.ask(0, 0, &[0, 1], &[]);
    let mut moved = request(7, 1, &[1], &[]);
    moved.topics[0].partitions[0].fetch_offset = 99;
    let (_, all) = sessions.enter(&mut moved, false, consumer.now).unwrap();
    let asked: Vec<_> = all[0].partitions.iter().map(|p| (p.partition, p.fetch_offset)).collect();
    assert_eq!(asked, [(0, 0), (1, 99)]);
}

#[test]
fn an_error_is_told_until_it_is_over_and_then_the_end_of_it() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 1);
    assert_eq!(consumer.ask(0, 0, &[0, 1], &[]).2, [0, 1]);
    assert_eq!(consumer.ask(7, 1, &[], &[]).2, [1]);
    assert_eq!(consumer.ask(7, 2, &[], &[]).2, [1]);
    consumer.state.push((10, 0, false));
    assert_eq!(consumer.ask(7, 3, &[], &[]).2, [1]);
    assert!(consumer.ask(7, 4, &[], &[]).2.is_empty());
}

#[test]
fn epochs_and_names_are_checked() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 1);
    consumer.ask(0, 0, &[0], &[]);
    assert_eq!(consumer.ask(8, 1, &[], &[]), (0, NO_ID, vec![]));
    assert_eq!(consumer.ask(0, 1, &[], &[]), (0, NO_ID, vec![]));
    for wrong in [2, -2, i32::MAX] {
        assert_eq!(consumer.ask(7, wrong, &[], &[]), (0, BAD_EPOCH, vec![]), "{wrong}");
    }
    let by_id = sessions.enter(&mut request(7, 1, &[], &[]), true, consumer.now);
    assert_eq!(by_id.unwrap_err().code(), TOPIC_IDS);
    assert_eq!(consumer.ask(7, 1, &[], &[]), (7, 0, vec![]), "refused requests change nothing");
    // Closing and opening end the session that is named; an unknown one is nobody's business.
    assert_eq!(consumer.ask(7, -1, &[0], &[]), (0, 0, vec![0]));
    assert_eq!(consumer.ask(7, 2, &[], &[]), (0, NO_ID, vec![]));
    let again = consumer.ask(7, 0, &[0], &[]).0;
    assert_ne!(consumer.ask(again, 0, &[0], &[]).0, again);
    assert_eq!(sessions.cache.lock().sessions.len(), 1);
    assert_eq!(next(i32::MAX), 1);
}

#[test]
fn an_answer_that_was_overtaken_is_an_error() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 1);
    consumer.ask(0, 0, &[0], &[]);
    let (first, all) = sessions.enter(&mut request(7, 1, &[], &[]), false, consumer.now).unwrap();
    let (second, _) = sessions.enter(&mut request(7, 2, &[], &[]), false, consumer.now).unwrap();
    assert_eq!(consumer.answer(first, &all), (0, BAD_EPOCH, vec![]));
    assert_eq!(consumer.answer(second, &all), (7, 0, vec![]));
    // One that is closed meanwhile still gets what was read.
    let (mode, all) = sessions.enter(&mut request(7, 3, &[], &[]), false, consumer.now).unwrap();
    consumer.ask(7, -1, &[0], &[]);
    assert_eq!(consumer.answer(mode, &all), (7, 0, vec![0]));
}

#[test]
fn who_had_records_is_read_last() {
    let sessions = FetchSessions::default();
    let mut consumer = Consumer::new(&sessions, 3);
    consumer.state[0].2 = true;
    consumer.ask(0, 0, &[0, 1, 2], &[]);
    consumer.ask(7, 1, &[], &[]);
    let (_, all) = sessions.enter(&mut request(7, 2, &[], &[]), false, consumer.now).unwrap();
    let order: Vec<_> = all[0].partitions.iter().map(|p| p.partition).collect();
    assert_eq!(order, [1, 2, 0]);
}

#[test]
fn room_is_made_for_larger_ones_and_from_stale_ones() {
    let evict_after = Duration::from_secs(120);
    let sessions = FetchSessions::new(Bounds { sessions_max: 2, bytes_max: 1 << 20, evict_after });
    let mut consumer = Consumer::new(&sessions, 5);
    let small = consumer.ask(0, 0, &[0], &[]).0;
    let large = consumer.ask(0, 0, &[0, 1, 2], &[]).0;
    assert_eq!(consumer.ask(0, 0, &[0, 1, 2, 3], &[]), (0, 0, vec![0, 1, 2, 3]), "both are young");
    consumer.now += evict_after;
    assert_eq!(consumer.ask(small, 1, &[], &[]).1, 0);
    assert_eq!(consumer.ask(large, 1, &[], &[]).1, 0);
    consumer.now += Duration::from_secs(1);
    assert_eq!(consumer.ask(0, 0, &[0], &[]).0, 0, "it is no larger than either");
    let larger = consumer.ask(0, 0, &[0, 1], &[]).0;
    assert_ne!(larger, 0);
    assert_eq!(consumer.ask(small, 2, &[], &[]).1, NO_ID, "the smallest made room");
    consumer.now += Duration::from_millis(1);
    assert_eq!(consumer.ask(large, 2, &[], &[]).1, 0);
    consumer.now += evict_after + Duration::from_secs(1);
    assert_ne!(consumer.ask(0, 0, &[0], &[]).0, 0, "one that is stale makes room for any");
    assert_eq!(consumer.ask(larger, 1, &[], &[]).1, NO_ID, "the one idle the longest");
}

#[test]
fn memory_is_bounded() {
    let bytes_max = size_of::<Session>() + 10 * (size_of::<Remembered>() + 1);
    let sessions = FetchSessions::new(Bounds { bytes_max, ..Bounds::default() });
    let mut consumer = Consumer::new(&sessions, 20);
    let eleven: Vec<i32> = (0..11).collect();
    assert_eq!(consumer.ask(0, 0, &eleven, &[]).0, 0, "too large for a session");
    let id = consumer.ask(0, 0, &eleven[..10], &[]).0;
    assert_ne!(id, 0);
    assert_eq!(consumer.ask(0, 0, &[0], &[]).0, 0, "no room beside it");
    assert_eq!(consumer.ask(id, 1, &[10], &[]), (0, NO_ID, vec![]), "one that grows too large ends");
    assert_eq!(sessions.cache.lock().bytes, 0);
}
