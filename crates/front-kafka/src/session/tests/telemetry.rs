//! Clients' metrics (KIP-714): what is asked of clients, what becomes of what they push, and the settings of
//! subscriptions.

use super::*;
use crate::telemetry::{PUSH_BYTES_MAX, Telemetry};
use bowline_codec_kafka::records::{Batch, BatchHeader, Compression, RecordIter};
use bowline_model::acl::{Operation, ResourceKind};
use bowline_model::record::{self, Append};
use messages::*;

const ONE: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

impl Bench {
    fn subscribe(&self, name: &str, configs: &[(&str, &str)]) {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let kind = ConfigKind::ClientMetrics;
        self.catalog.apply(&Command::ConfigPut { kind, name: name.into(), configs: configs.collect() });
    }

    /// Everything of everybody, each second; into a topic of one partition, id 8 (shard 1).
    fn subscribed() -> Bench {
        let bench = Bench::new();
        bench.catalog.add("otlp_metrics", 1, 8, AppendRules::default());
        bench.subscribe("all", &[("metrics", "*"), ("interval.ms", "1000")]);
        bench
    }

    fn asks(&mut self, client_instance_id: Uuid) -> GetTelemetrySubscriptionsResponse {
        self.ask(0, &GetTelemetrySubscriptionsRequest { client_instance_id })
    }

    /// A push that is answered without a record.
    fn refused(&mut self, push: PushTelemetryRequest) -> Option<ErrorCode> {
        ErrorCode::from_i16(self.ask(0, &push).error_code)
    }

    fn pushed(&mut self) -> i16 {
        self.receive::<PushTelemetryResponse>(0).unwrap().1.error_code
    }

    fn later(&mut self, ms: u64) {
        self.now.instant += Duration::from_millis(ms);
    }
}

fn push(told: &GetTelemetrySubscriptionsResponse, metrics: &[u8]) -> PushTelemetryRequest {
    PushTelemetryRequest {
        client_instance_id: told.client_instance_id,
        subscription_id: told.subscription_id,
        terminating: false,
        compression_type: Compression::None as i8,
        metrics: Bytes::copy_from_slice(metrics),
    }
}

#[test]
fn metrics_become_a_record() {
    let mut bench = Bench::subscribed();
    let named = ApiVersionsRequest {
        client_software_name: "librdkafka".into(),
        client_software_version: "2.6.0".into(),
        ..Default::default()
    };
    bench.ask(4, &named);
    let told = bench.asks(Uuid::ZERO);
    assert!(!told.client_instance_id.is_zero() && told.delta_temporality && told.error_code == 0);
    assert_eq!((told.push_interval_ms, told.telemetry_max_bytes), (1000, 1 << 20));
    assert_eq!(
        (&told.requested_metrics[..], &told.accepted_compression_types[..]),
        (&["*".to_owned()][..], &[4, 3, 1, 2][..])
    );
    let otlp = b"\x0a\x05hello".repeat(100);
    for compression in told.accepted_compression_types.iter().chain(&[0]) {
        let compressed = Compression::from_bits((*compression).into()).unwrap().compress(&otlp).unwrap();
        bench.send(0, &PushTelemetryRequest { compression_type: *compression, ..push(&told, &compressed) });
        let sent = bench.sent();
        assert_eq!((sent.len(), sent[0].0), (1, ShardId(1)));
        let Request::Propose(propose) = &sent[0].1 else { panic!("{sent:?}") };
        let framed = record::iter(&propose.records).next().unwrap().unwrap();
        let append = Append::decode(framed.body).unwrap();
        assert_eq!(append.partition, 8);
        let header = BatchHeader::parse(append.batch).unwrap();
        let bytes = Bytes::copy_from_slice(append.batch);
        let records = Batch { header, bytes }.records(1 << 20).unwrap();
        let found = RecordIter::new(&records, header.records_count).next().unwrap().unwrap();
        assert_eq!(found.key, Some(told.client_instance_id.to_string().as_bytes()));
        assert_eq!(found.value, Some(&otlp[..]));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers: Vec<_> = found.headers.clone().map(|h| (text(h.key), h.value.map(text))).collect();
        let expected = [
            ("client_id", "test"),
            ("client_software_name", "librdkafka"),
            ("client_software_version", "2.6.0"),
            ("client_source_address", "127.0.0.1"),
            ("client_source_port", "40123"),
            ("principal", "User:ANONYMOUS"),
        ];
        assert_eq!(headers, expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
        assert!(bench.frame().is_none(), "not before it is durable");
        bench.event(appended(&sent[0].1, 0));
        assert_eq!(bench.pushed(), 0);
        bench.later(1000);
    }
    // Nothing is nothing.
    assert_eq!(bench.refused(push(&told, b"")), Some(ErrorCode::None));
}

#[test]
fn the_first_metrics_make_the_topic() {
    let mut bench = Bench::new();
    let told = bench.asks(Uuid::ZERO);
    bench.send(0, &push(&told, b"metrics"));
    let asked = bench.asked_meta();
    let [(token, MetaRequest::Propose(Command::TopicCreate(spec)))] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((spec.name.as_str(), spec.partitions), ("otlp_metrics", 1));
    assert_eq!(spec.configs, [("retention.ms".to_owned(), "604800000".to_owned())]);
    bench.catalog.add("otlp_metrics", 1, 8, AppendRules::default());
    let made = Outcome::Topic { id: spec.id, partitions: vec![PartitionId(8)] };
    bench.event(Event::Meta { token: *token, result: Ok(made) });
    let sent = bench.sent();
    bench.event(appended(&sent[0].1, 0));
    assert_eq!(bench.pushed(), 0);
}

/// What cannot be taken now is dropped, and the client comes again: on most errors it would never.
#[test]
fn metrics_that_cannot_be_kept_end_nobodys_telemetry() {
    let later = ErrorCode::ThrottlingQuotaExceeded.code();
    let mut bench = Bench::subscribed();
    let told = bench.asks(Uuid::ZERO);
    bench.send(0, &push(&told, b"metrics"));
    let sent = bench.sent();
    bench.event(Event::Failed { token: token(&sent[0].1), reason: Failure::DiskFull });
    assert_eq!(bench.pushed(), later);
    let mut bench = Bench::new();
    let told = bench.asks(Uuid::ZERO);
    bench.send(0, &push(&told, b"metrics"));
    let asked = bench.asked_meta();
    bench.event(Event::Failed { token: asked[0].0, reason: Failure::Stopping });
    assert_eq!(bench.pushed(), later);
    assert!(bench.sent().is_empty());
    // A topic of smaller batches.
    let mut bench = Bench::new();
    let rules = AppendRules { message_bytes_max: 500, ..AppendRules::default() };
    bench.catalog.add("otlp_metrics", 1, 8, rules);
    let told = bench.asks(Uuid::ZERO);
    assert_eq!(bench.refused(push(&told, &[7; 600])), Some(ErrorCode::TelemetryTooLarge));
}

#[test]
fn pushes_are_refused_with_kafkas_codes() {
    let mut bench = Bench::subscribed();
    let told = bench.asks(Uuid::ZERO);
    let good = || push(&told, b"metrics");
    for id in [Uuid::ZERO, ONE] {
        let push = PushTelemetryRequest { client_instance_id: id, ..good() };
        assert_eq!(bench.refused(push), Some(ErrorCode::InvalidRequest), "{id}");
    }
    let other = PushTelemetryRequest { subscription_id: told.subscription_id + 1, ..good() };
    assert_eq!(bench.refused(other), Some(ErrorCode::UnknownSubscriptionId));
    assert_eq!(bench.refused(good()), Some(ErrorCode::ThrottlingQuotaExceeded));
    let large = vec![0; PUSH_BYTES_MAX + 1];
    let zstd = |bytes: &[u8]| Compression::Zstd.compress(bytes).unwrap();
    for (compression_type, metrics, expected) in [
        (5, b"metrics".to_vec(), ErrorCode::UnsupportedCompressionType),
        (-1, b"metrics".to_vec(), ErrorCode::UnsupportedCompressionType),
        (0, large.clone(), ErrorCode::TelemetryTooLarge),
        // A bomb: no more than the bound is ever made of it.
        (4, zstd(&large), ErrorCode::TelemetryTooLarge),
        (4, b"no such thing".to_vec(), ErrorCode::InvalidRecord),
        (1, b"no such thing".to_vec(), ErrorCode::InvalidRecord),
        (2, b"no such thing".to_vec(), ErrorCode::InvalidRecord),
        (3, b"no such thing".to_vec(), ErrorCode::InvalidRecord),
    ] {
        bench.later(1000);
        let push = PushTelemetryRequest { compression_type, ..push(&told, &metrics) };
        assert_eq!(bench.refused(push), Some(expected), "{compression_type}");
    }
    bench.later(1000);
    let last = || PushTelemetryRequest { terminating: true, metrics: Bytes::new(), ..good() };
    assert_eq!(bench.refused(last()), Some(ErrorCode::None));
    bench.later(1000);
    assert_eq!(bench.refused(last()), Some(ErrorCode::InvalidRequest));
    assert_eq!(bench.refused(good()), Some(ErrorCode::InvalidRequest));
}

#[test]
fn a_changed_subscription_is_told_at_once() {
    let mut bench = Bench::subscribed();
    let told = bench.asks(Uuid::ZERO);
    let id = told.client_instance_id;
    let early = bench.asks(id);
    assert_eq!(early.error_code, ErrorCode::ThrottlingQuotaExceeded.code());
    assert!(early.requested_metrics.is_empty() && early.client_instance_id.is_zero());
    // A topic more changes nothing for the client.
    bench.catalog.add("more", 1, 20, AppendRules::default());
    assert_eq!(bench.asks(id).error_code, ErrorCode::ThrottlingQuotaExceeded.code());
    bench.subscribe("all", &[("metrics", "org.apache.kafka.producer."), ("interval.ms", "500")]);
    assert_eq!(bench.refused(push(&told, b"metrics")), Some(ErrorCode::UnknownSubscriptionId));
    let changed = bench.asks(id);
    assert_eq!((changed.error_code, changed.push_interval_ms), (0, 500));
    assert_eq!(changed.requested_metrics, ["org.apache.kafka.producer."]);
    assert!(changed.client_instance_id == id && changed.subscription_id != told.subscription_id);
    bench.subscribe("all", &[]);
    let nothing = bench.asks(id);
    assert_eq!((nothing.error_code, nothing.push_interval_ms), (0, 300_000));
    assert!(nothing.requested_metrics.is_empty());
}

#[test]
fn a_subscription_is_for_the_clients_that_it_matches() {
    let mut bench = Bench::new();
    let wanted = |bench: &mut Bench, pattern: &str| {
        bench.subscribe("m", &[("metrics", "a."), ("match", pattern)]);
        !bench.asks(Uuid([3; 16])).requested_metrics.is_empty()
    };
    assert!(wanted(&mut bench, "client_software_name=unknown"), "it has not said what it is");
    let request = ApiVersionsRequest {
        client_software_name: "apache-kafka-java".into(),
        client_software_version: "4.3.1".into(),
        ..Default::default()
    };
    bench.ask(3, &request);
    for (pattern, expected) in [
        ("client_id=test", true),
        ("client_id=tes", false),
        ("client_software_name=apache-.*,client_software_version=4\\..*", true),
        ("client_source_address=127\\.0\\.0\\.1,client_source_port=40123", true),
        ("client_source_port=40124", false),
        ("client_instance_id=AwMDAwMDAwMDAwMDAwMDAw", true),
    ] {
        assert_eq!(wanted(&mut bench, pattern), expected, "{pattern}");
    }
}

/// The connection's end forgets the client, so that it may come back at once over another.
#[test]
fn an_instance_goes_with_its_connection() {
    let options = Options::default();
    let mut bench = Bench::with(near(), options.clone());
    let told = bench.asks(Uuid::ZERO);
    let mut other = Bench::with(near(), options.clone());
    assert_eq!(other.asks(told.client_instance_id).error_code, ErrorCode::ThrottlingQuotaExceeded.code());
    drop((bench, other));
    let mut back = Bench::with(near(), options);
    let again = back.asks(told.client_instance_id);
    assert_eq!((again.error_code, again.subscription_id), (0, told.subscription_id));
}

fn setting(
    resource_name: &str,
    configs: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    };
    let resource_name = resource_name.into();
    let configs = configs.iter().map(config).collect();
    let resources = vec![AlterConfigsResource { resource_type: 16, resource_name, configs }];
    IncrementalAlterConfigsRequest { resources, validate_only }
}

/// Code and text of the answer; the change is made, if it is one.
fn set(bench: &mut Bench, name: &str, configs: &[(&str, i8, Option<&str>)]) -> (i16, Option<String>) {
    bench.send(1, &setting(name, configs, false));
    for (token, request) in bench.asked_meta() {
        let MetaRequest::Propose(command) = request else { panic!("{request:?}") };
        bench.catalog.apply(&command);
        bench.event(Event::Meta { token, result: Ok(Outcome::Ok) });
    }
    let done = bench.receive::<IncrementalAlterConfigsResponse>(1).unwrap().1.responses.remove(0);
    (done.error_code, done.error_message)
}

/// Name, value, source and source of the synonym of each setting.
fn described(bench: &mut Bench, name: &str) -> Vec<(String, String, i8, Option<i8>)> {
    let resource = describe_configs_request::DescribeConfigsResource {
        resource_type: 16,
        resource_name: name.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let result = bench.ask(4, &request).results.remove(0);
    assert_eq!(result.error_code, 0, "{result:?}");
    let shown = |config: describe_configs_response::DescribeConfigsResourceResult| {
        assert!(config.documentation.is_some() && !config.read_only);
        let source = config.synonyms.first().map(|synonym| synonym.source);
        (config.name, config.value.unwrap(), config.config_source, source)
    };
    result.configs.into_iter().map(shown).collect()
}

fn listed(bench: &mut Bench, version: i16) -> Vec<String> {
    let resource_types = if version == 0 { vec![] } else { vec![16] };
    let response = bench.ask(version, &ListConfigResourcesRequest { resource_types });
    response.config_resources.into_iter().map(|resource| resource.resource_name).collect()
}

#[test]
fn subscriptions_are_set_described_listed_and_deleted() {
    let mut bench = Bench::new();
    let of = |name: &str, value: &str, source, synonym| (name.to_owned(), value.to_owned(), source, synonym);
    let defaults =
        [of("interval.ms", "300000", 5, None), of("match", "", 5, None), of("metrics", "", 5, None)];
    assert_eq!(described(&mut bench, "m"), defaults);
    let given = [("metrics", 0, Some(" a. , b.")), ("interval.ms", 0, Some("500"))];
    assert_eq!(set(&mut bench, "m", &given), (0, None));
    let own =
        [of("interval.ms", "500", 7, Some(7)), of("match", "", 5, None), of("metrics", "a.,b.", 7, Some(7))];
    assert_eq!(described(&mut bench, "m"), own);
    assert_eq!((listed(&mut bench, 0), listed(&mut bench, 1)), (vec!["m".into()], vec!["m".into()]));
    for (name, value, code, text) in [
        (
            "interval.ms",
            "99",
            42,
            "Invalid value 99 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
        ),
        ("interval", "100", 42, "Unknown client metrics configuration: interval"),
        ("match", "client_id", 40, "Illegal client matching pattern: client_id"),
    ] {
        assert_eq!(set(&mut bench, "m", &[(name, 0, Some(value))]), (code, Some(text.into())));
    }
    assert_eq!(set(&mut bench, "", &given), (42, Some("Subscription name can't be empty".into())));
    assert_eq!(set(&mut bench, "m", &[("metrics", 2, Some("c."))]).0, 40, "lists are set as a whole");
    assert_eq!(described(&mut bench, "m"), own, "nothing of that was done");
    assert_eq!(set(&mut bench, "m", &[("metrics", 1, None), ("interval.ms", 1, None)]), (0, None));
    assert_eq!((described(&mut bench, "m"), listed(&mut bench, 0)), (defaults.to_vec(), vec![]));
}

#[test]
fn subscriptions_are_the_clusters() {
    let mut bench = Bench::strict();
    let given = [("metrics", 0, Some("*"))];
    let denied = (ErrorCode::ClusterAuthorizationFailed.code(), Some("Authorization failed.".to_owned()));
    assert_eq!(set(&mut bench, "m", &given), denied);
    bench.allow(Operation::AlterConfigs, ResourceKind::Cluster, "kafka-cluster");
    assert_eq!(set(&mut bench, "m", &given), (0, None));
    // Whoever may ask is told; metrics are pushed by clients that may do nothing with the topic.
    let told = bench.asks(Uuid::ZERO);
    assert_eq!(told.requested_metrics, ["*"]);
    bench.catalog.add("otlp_metrics", 1, 8, AppendRules::default());
    bench.send(0, &push(&told, b"metrics"));
    let sent = bench.sent();
    bench.event(appended(&sent[0].1, 0));
    assert_eq!(bench.pushed(), 0);
}

#[test]
fn without_a_topic_there_is_no_telemetry() {
    let mut bench = Bench::with(near(), Options { telemetry: None, ..Options::default() });
    let offered = bench.ask(0, &ApiVersionsRequest::default()).api_keys;
    assert!(offered.iter().all(|row| ![71, 72].contains(&row.api_key)) && offered.len() > 50);
    let (code, text) = set(&mut bench, "m", &[("metrics", 0, Some("*"))]);
    assert_eq!(code, ErrorCode::InvalidRequest.code());
    assert!(text.unwrap().contains("--client-metrics-topic"));
    bench.subscribe("m", &[("metrics", "*")]);
    assert_eq!(listed(&mut bench, 0), Vec::<String>::new());
    bench.send(0, &GetTelemetrySubscriptionsRequest::default());
    assert!(matches!(bench.session.closed(), Some(Closed::NotServed { key: 71, .. })));
    // Of another name than the default.
    let telemetry = Some(Arc::new(Telemetry::new("clients")));
    let mut bench = Bench::with(near(), Options { telemetry, ..Options::default() });
    let told = bench.asks(Uuid::ZERO);
    bench.send(0, &push(&told, b"metrics"));
    let asked = bench.asked_meta();
    assert!(
        matches!(&asked[0].1, MetaRequest::Propose(Command::TopicCreate(spec)) if spec.name == "clients")
    );
}
