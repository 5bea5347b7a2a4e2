//! What every request has to bear: negotiation, mistakes, and the order of answers.

use super::*;

#[test]
fn metadata_creates_a_topic_and_answers_with_it() {
    let mut bench = Bench::new();
    let named = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let request = messages::MetadataRequest {
        topics: Some(vec![named("new"), named("t"), named("bad name"), named("new")]),
        ..Default::default()
    };
    bench.send(9, &request);
    let asked = bench.asked_meta();
    let [(token, MetaRequest::Propose(Command::TopicCreate(spec)))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((spec.name.as_str(), spec.vhost.as_str(), spec.partitions), ("new", "/", 1));
    assert!(bench.frame().is_none());
    bench.catalog.add("new", 1, 8, AppendRules::default());
    let outcome = Outcome::Topic { id: spec.id, partitions: vec![PartitionId(8)] };
    bench.event(Event::Meta { token: *token, result: Ok(outcome) });
    let (_, response) = bench.receive::<messages::MetadataResponse>(9).unwrap();
    let codes: Vec<_> = response.topics.iter().map(|t| (t.error_code, t.partitions.len())).collect();
    assert_eq!(codes, [(0, 1), (0, 2), (17, 0)], "what is named twice is told once");
    assert_eq!(response.brokers[0].port, 9092);
    // Not allowed by the client.
    let request = messages::MetadataRequest {
        topics: Some(vec![named("other")]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    bench.send(9, &request);
    assert_eq!(bench.receive::<messages::MetadataResponse>(9).unwrap().1.topics[0].error_code, 3);
    // Null asks for all, empty for none; in version 0 empty asks for all.
    for (version, topics, count) in [(1, None, 2), (1, Some(vec![]), 0), (0, Some(vec![]), 2)] {
        bench.send(version, &messages::MetadataRequest { topics, ..Default::default() });
        let (_, response) = bench.receive::<messages::MetadataResponse>(version).unwrap();
        assert_eq!(response.topics.len(), count, "v{version}");
    }
}

/// The bytes of a librdkafka 2.x ApiVersions v3 request, and the answer's fixed part.
#[test]
fn negotiation_as_clients_send_it() {
    let mut bench = Bench::new();
    let golden = b"\0\x12\0\x03\0\0\0\x01\0\x07rdkafka\0\x0blibrdkafka\x062.5.3\0";
    bench.session.frame(Bytes::from_static(golden), bench.now);
    let answer = bench.frame().unwrap();
    // Correlation id, no header tags, no error, rows + 1.
    assert_eq!(answer[..7], [0, 0, 0, 1, 0, 0, versions::SERVED.len() as u8 + 1]);
    // Produce 0-13.
    assert_eq!(answer[7..14], [0, 0, 0, 0, 0, 13, 0]);
    // Features that are in force, by which clients choose: whether transactions are of the second kind, for one.
    let told = messages::ApiVersionsResponse::decode(&mut Reader::new(answer.slice(4..)), 3).unwrap();
    let told =
        told.finalized_features.iter().map(|feature| (feature.name.as_str(), feature.max_version_level));
    let on = crate::features::FEATURES.iter().filter(|feature| feature.level > 0);
    assert_eq!(told.collect::<Vec<_>>(), on.map(|feature| (feature.name, feature.level)).collect::<Vec<_>>());

    // kafka-python and others begin with version 0.
    bench.session.frame(Bytes::from_static(b"\0\x12\0\0\0\0\0\x02\0\x01c"), bench.now);
    let answer = bench.frame().unwrap();
    assert_eq!(answer[..10], [0, 0, 0, 2, 0, 0, 0, 0, 0, versions::SERVED.len() as u8]);

    // From the future: version 0 of the answer, error 35, the one row that matters (KIP-511). The body is not read.
    bench.session.frame(Bytes::from_static(b"\0\x12\0\x63\0\0\0\x03\xff\xff\0anything"), bench.now);
    assert_eq!(bench.frame().unwrap()[..], [0, 0, 0, 3, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);

    let request = messages::ApiVersionsRequest {
        client_software_name: "-bad-".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    bench.send(4, &request);
    let (_, response) = bench.receive::<messages::ApiVersionsResponse>(4).unwrap();
    assert_eq!((response.error_code, response.api_keys.len()), (ErrorCode::InvalidRequest.code(), 0));
    assert!(bench.session.closed().is_none());
}

#[test]
fn what_is_not_served_closes() {
    for frame in [
        // Produce v2, Fetch v3, an API that nobody knows, SaslHandshake v2, and no header at all.
        &b"\0\0\0\x02\0\0\0\x01\xff\xff"[..],
        b"\0\x01\0\x03\0\0\0\x01\xff\xff",
        b"\x01\xf4\0\0\0\0\0\x01\xff\xff",
        b"\0\x11\0\x02\0\0\0\x01\xff\xff\0\x05PLAIN",
        b"",
        b"\0\x03",
    ] {
        let mut bench = Bench::new();
        bench.session.frame(Bytes::copy_from_slice(frame), bench.now);
        assert!(bench.session.closed().is_some() && bench.frame().is_none(), "{frame:?}");
    }
}

/// What is ready before a bad request still leaves, and nothing after it.
#[test]
fn a_malformed_request_ends_the_connection_behind_its_predecessors() {
    let mut bench = Bench::new();
    let before = bench.send(0, &messages::ApiVersionsRequest::default());
    bench.session.frame(Bytes::from_static(b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff"), bench.now);
    assert!(matches!(bench.session.closed(), Some(Closed::Malformed { api: ApiKey::Metadata, .. })));
    bench.send(0, &messages::ApiVersionsRequest::default());
    assert_eq!(bench.receive::<messages::ApiVersionsResponse>(0).unwrap().0, before);
    assert!(bench.frame().is_none());
}

/// Stopping: what was produced is answered, what waits is not, and then it is over.
#[test]
fn a_stopping_node_answers_producers_first() {
    let mut bench = Bench::new();
    bench.send(9, &good(0));
    let sent = bench.sent();
    bench.event(Event::Shutdown);
    assert!(bench.session.closed().is_none());
    bench.event(appended(&sent[0].1, 1));
    assert!(bench.produced(9).is_some());
    assert!(matches!(bench.session.closed(), Some(Closed::Stopping)));
}

/// Damaged requests of every API: whatever comes of them, no panic, and no request of the node's that is out of bounds.
#[test]
fn damage_never_panics() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut originals: Vec<Vec<u8>> = Vec::new();
    for (api, offered) in versions::SERVED {
        for version in [*offered.end(), (*offered.start()).max(*api.versions().start())] {
            let codec =
                catalog::ALL.iter().find(|c| c.kind == Kind::Request && c.key == Some(*api as i16)).unwrap();
            let mut frame = (*api as i16).to_be_bytes().to_vec();
            frame.extend(version.to_be_bytes());
            frame.extend([0, 0, 0, 1, 0xff, 0xff]);
            if api.request_header_version(version) == 2 {
                frame.push(0);
            }
            frame.extend_from_slice(&codec.encode_default(version).unwrap());
            originals.push(frame);
        }
    }
    originals.push(encode_request(9, 1, None, &good(0)).unwrap().concat()[4..].to_vec());
    originals.push(encode_request(12, 1, None, &fetch(500, 1)).unwrap().concat()[4..].to_vec());
    for _ in 0..20_000 {
        let mut bench = Bench::new();
        let mut frame = originals[random() as usize % originals.len()].clone();
        for _ in 0..1 + random() % 4 {
            let at = (random() as usize) % frame.len();
            match random() % 4 {
                0 => frame.truncate(at.max(8)),
                1 => frame[at] = random() as u8,
                2 => frame.insert(at, random() as u8),
                _ => frame[at] ^= 1 << (random() % 8),
            }
        }
        bench.session.frame(frame.into(), bench.now);
        for (shard, request) in bench.sent() {
            assert!((1..=DATA_SHARDS).contains(&shard.0));
            if !matches!(request, Request::Unwatch { .. }) {
                bench.event(Event::Failed { token: token(&request), reason: Failure::Stopping });
            }
        }
        for (token, _) in bench.asked_meta() {
            bench.event(Event::Failed { token, reason: Failure::Stopping });
        }
        bench.now.instant += Duration::from_secs(1 << 22);
        bench.session.expire(bench.now);
        while bench.frame().is_some() {}
    }
}
