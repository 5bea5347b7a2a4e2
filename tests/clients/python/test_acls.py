"""Kafka's access rules, with clients that are known by their certificates."""

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
    ResourceType)
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import TopicAuthorizationFailedError

from conftest import eventually
from test_tls import authority, start  # noqa: F401, fixtures

WITH_RULES = ("--kafka-acls", "--kafka-super-user", "User:root")


def as_user(broker, authority, name, **more):
    """librdkafka's options for a client with that certificate."""
    certificate, key = authority.client(name)
    return {
        "bootstrap.servers": f"localhost:{broker.kafka_tls_port}", "security.protocol": "ssl",
        "ssl.ca.location": str(authority.file), "ssl.certificate.location": certificate, "ssl.key.location": key,
        **{option.replace("_", "."): value for option, value in more.items()},
    }


def as_kafka_python(broker, authority, name):
    certificate, key = authority.client(name)
    return {
        "bootstrap_servers": f"localhost:{broker.kafka_tls_port}", "security_protocol": "SSL",
        "ssl_cafile": str(authority.file), "ssl_certfile": certificate, "ssl_keyfile": key,
    }


def start_with_rules(start, authority, *options):
    return start("--tls-client-ca", str(authority.file), *WITH_RULES, *options)


def allow(resource, name, principal, operation, pattern=ResourcePatternType.LITERAL,
          permission=AclPermissionType.ALLOW):
    return AclBinding(resource, name, pattern, principal, "*", operation, permission)


def create(admin, *rules):
    for done in admin.create_acls(list(rules)).values():
        assert done.result(20) is None


def produce(producer, topic):
    """The error's code, or 0."""
    codes = []
    try:
        producer.produce(topic, b"x", on_delivery=lambda error, _: codes.append(error.code() if error else 0))
    except KafkaException as refused:  # librdkafka knows already that it may not
        return refused.args[0].code()
    producer.flush(20)
    return codes[0]


def error_of(future):
    with pytest.raises(KafkaException) as raised:
        future.result(20)
    return raised.value.args[0].code()


def test_rules_hold_and_survive_a_kill(start, authority):
    broker = start_with_rules(start, authority)
    root = AdminClient(as_user(broker, authority, "root"))
    for done in root.create_topics([NewTopic("mine", 1, 1), NewTopic("theirs", 1, 1)]).values():
        done.result(20)
    alice = Producer(as_user(broker, authority, "alice"))
    assert produce(alice, "mine") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    create(
        root,
        allow(ResourceType.TOPIC, "mi", "User:alice", AclOperation.ALL, ResourcePatternType.PREFIXED),
        allow(ResourceType.GROUP, "readers", "User:alice", AclOperation.READ),
    )
    alice = Producer(as_user(broker, authority, "alice"))
    assert produce(alice, "mine") == 0, "from the moment that it is accepted"

    # Who may not see a topic is not told of it.
    mallory = AdminClient(as_user(broker, authority, "mallory"))
    assert mallory.list_topics(timeout=20).topics == {}
    assert set(AdminClient(as_user(broker, authority, "alice")).list_topics(timeout=20).topics) == {"mine"}
    assert error_of(mallory.create_topics([NewTopic("new", 1, 1)])["new"]) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert error_of(mallory.delete_topics(["mine"])["mine"]) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    rule = allow(ResourceType.TOPIC, "mine", "User:mallory", AclOperation.ALL)
    assert error_of(mallory.create_acls([rule])[rule]) == KafkaError.CLUSTER_AUTHORIZATION_FAILED

    broker.restart()
    alice = Producer(as_user(broker, authority, "alice"))
    assert produce(alice, "mine") == 0
    assert produce(alice, "theirs") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer = Consumer(as_user(broker, authority, "alice", group_id="readers", auto_offset_reset="earliest"))
    consumer.subscribe(["mine"])
    got = []
    eventually(lambda: got.extend(m for m in consumer.consume(10, 0.2) if not m.error()) or len(got) == 2)
    consumer.commit(asynchronous=False)
    consumer.close()
    other = Consumer(as_user(broker, authority, "alice", group_id="others"))
    other.subscribe(["mine"])
    refused = eventually(lambda: other.poll(0.2))
    assert refused.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    other.close()

    # A denial wins, and what is removed holds no more, on the connection that is there.
    root = AdminClient(as_user(broker, authority, "root"))
    create(root, allow(ResourceType.TOPIC, "mine", "User:alice", AclOperation.WRITE, permission=AclPermissionType.DENY))
    assert produce(alice, "mine") == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_transactions_need_their_rights(start, authority):
    broker = start_with_rules(start, authority)
    root = AdminClient(as_user(broker, authority, "root"))
    root.create_topics([NewTopic("t", 1, 1)])["t"].result(20)

    def transaction(group=None):
        """The code of the first thing that is refused."""
        p = Producer(as_user(broker, authority, "alice", transactional_id="mine"))
        offsets = [TopicPartition("t", 0, 0)]
        try:
            p.init_transactions(20)
            p.begin_transaction()
            produce(p, "t")
            if group:
                member = Consumer(as_user(broker, authority, "alice", group_id=group))
                p.send_offsets_to_transaction(offsets, member.consumer_group_metadata(), 20)
                member.close()
            p.commit_transaction(20)
        except KafkaException as refused:
            return refused.args[0].code()
        return 0

    def may(resource, name, operation):
        create(root, allow(resource, name, "User:alice", operation))

    assert transaction() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    may(ResourceType.TRANSACTIONAL_ID, "mine", AclOperation.WRITE)
    may(ResourceType.TOPIC, "t", AclOperation.DESCRIBE)
    assert transaction() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    may(ResourceType.TOPIC, "t", AclOperation.WRITE)
    assert transaction() == 0
    assert transaction("g") == KafkaError.GROUP_AUTHORIZATION_FAILED
    may(ResourceType.GROUP, "g", AclOperation.READ)
    assert transaction("g") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    may(ResourceType.TOPIC, "t", AclOperation.READ)
    assert transaction("g") == 0


def test_rules_are_described_and_deleted(start, authority):
    broker = start_with_rules(start, authority)
    root = AdminClient(as_user(broker, authority, "root"))
    create(
        root,
        allow(ResourceType.TOPIC, "a", "User:alice", AclOperation.READ),
        allow(ResourceType.TOPIC, "a", "User:bob", AclOperation.WRITE, ResourcePatternType.PREFIXED),
        allow(ResourceType.TOPIC, "*", "User:carol", AclOperation.DESCRIBE),
    )

    def every(name, pattern):
        return AclBindingFilter(
            ResourceType.TOPIC, name, pattern, None, None, AclOperation.ANY, AclPermissionType.ANY)

    def found(name, pattern):
        return sorted(rule.principal for rule in root.describe_acls(every(name, pattern)).result(20))

    assert found(None, ResourcePatternType.ANY) == ["User:alice", "User:bob", "User:carol"]
    assert found("a", ResourcePatternType.ANY) == ["User:alice", "User:bob"]
    assert found("ab", ResourcePatternType.MATCH) == ["User:bob", "User:carol"]
    assert found("a", ResourcePatternType.PREFIXED) == ["User:bob"]
    gone = list(root.delete_acls([every("ab", ResourcePatternType.MATCH)]).values())[0].result(20)
    assert sorted(rule.principal for rule in gone) == ["User:bob", "User:carol"]
    assert found(None, ResourcePatternType.ANY) == ["User:alice"]
    bad = allow(ResourceType.BROKER, "other", "User:alice", AclOperation.ALTER)
    assert error_of(root.create_acls([bad])[bad]) == KafkaError.INVALID_REQUEST


def test_kafka_python_meets_its_own_errors(start, authority):
    broker = start_with_rules(start, authority)
    root = KafkaAdminClient(**as_kafka_python(broker, authority, "root"))
    from kafka.admin import NewTopic as Topic

    root.create_topics([Topic(name="t", num_partitions=1, replication_factor=1)])
    # Without any right to write there is no producer id either: an idempotent producer is told so at once.
    producer = KafkaProducer(**as_kafka_python(broker, authority, "alice"), enable_idempotence=False)
    with pytest.raises(TopicAuthorizationFailedError):
        producer.send("t", b"x").get(20)
    producer.close()
    alice = KafkaAdminClient(**as_kafka_python(broker, authority, "alice"))
    with pytest.raises(TopicAuthorizationFailedError):
        alice.create_topics([Topic(name="u", num_partitions=1, replication_factor=1)])
    alice.close()
    root.close()


def test_without_the_authorizer_users_permissions_hold(start, authority, tmp_path):
    """Over Kafka nobody gets round what they may not do over AMQP."""
    definitions = tmp_path / "definitions.json"
    definitions.write_text("""{
        "users": [{"name": "app", "password": "secret", "tags": ""}],
        "permissions": [{"user": "app", "vhost": "/", "configure": "^own", "write": "^(own|out)", "read": "^own"}]
    }""")
    broker = start("--tls-client-ca", str(authority.file), "--definitions", str(definitions))
    anonymous = AdminClient({"bootstrap.servers": broker.kafka})
    for done in anonymous.create_topics([NewTopic("out", 1, 1), NewTopic("other", 1, 1)]).values():
        done.result(20)
    app = Producer(as_user(broker, authority, "app"))
    assert produce(app, "out") == 0
    assert produce(app, "other") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    admin = AdminClient(as_user(broker, authority, "app"))
    assert set(admin.list_topics(timeout=20).topics) == {"out"}
    admin.create_topics([NewTopic("own", 1, 1)])["own"].result(20)
    assert error_of(admin.delete_topics(["out"])["out"]) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    rule = allow(ResourceType.TOPIC, "other", "User:app", AclOperation.ALL)
    assert error_of(admin.create_acls([rule])[rule]) == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    assert error_of(anonymous.create_acls([rule])[rule]) == KafkaError.SECURITY_DISABLED


def test_rules_name_who_logged_in(tmp_path):
    """Principals of SASL; also of users of the configuration, whom AMQP lets do everything."""
    from conftest import Broker

    broker = Broker(tmp_path / "data", "--user", "root:secret", "--user", "bob:secret", "--anonymous", "off", *WITH_RULES)
    broker.start()

    def login(user):
        return {"bootstrap.servers": broker.kafka, "security.protocol": "sasl_plaintext",
                "sasl.mechanism": "SCRAM-SHA-256", "sasl.username": user, "sasl.password": "secret"}

    root = AdminClient(login("root"))
    root.create_topics([NewTopic("t", 1, 1)])["t"].result(20)
    assert produce(Producer(login("bob")), "t") == KafkaError.TOPIC_AUTHORIZATION_FAILED
    create(root, allow(ResourceType.TOPIC, "t", "User:bob", AclOperation.WRITE))
    assert produce(Producer(login("bob")), "t") == 0
    assert broker.stop() == 0
