"""Share groups (KIP-932) with librdkafka's share consumer, beside AMQP consumers of the same groups: where the dead go
(KIP-1191, x-dead-letter-exchange), isolation, names."""

import os

import pika
import pytest
from confluent_kafka import AcknowledgeType, Consumer, KafkaError, KafkaException, Producer, ShareConsumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from conftest import Broker, eventually

TAKES_DEAD = {"errors.deadletterqueue.group.enable": "true"}


@pytest.fixture(autouse=True)
def bowline_only():
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("no other broker has this")


@pytest.fixture
def sharded(tmp_path):
    """A broker to be killed, with several data shards."""
    broker = Broker(tmp_path / "data", "--shards", "2").start()
    yield broker
    if broker.process.poll() is None:
        broker.kill()


ADMINS = {}


def admin(broker):
    """Kept: what a client was asked for is given up when the client goes."""
    return ADMINS.setdefault(broker.kafka, AdminClient({"bootstrap.servers": broker.kafka}))


def make_topic(broker, name, partitions=1, config=None):
    topic = NewTopic(name, partitions, 1, config=config or {})
    admin(broker).create_topics([topic])[name].result(20)


def configure(broker, kind, name, **settings):
    entries = [ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
               for key, value in settings.items()]
    resource = ConfigResource(kind, name, incremental_configs=entries)
    admin(broker).incremental_alter_configs([resource])[resource].result(20)


def configure_group(broker, group, **settings):
    configure(broker, ResourceType.GROUP, group, share_auto_offset_reset="earliest", **settings)


def produce(broker, topic, values, partition=0, **options):
    p = Producer({"bootstrap.servers": broker.kafka, **options})
    for value in values:
        p.produce(topic, value, key=f"key of {value}", partition=partition, headers={"from": "test"})
    assert p.flush(20) == 0


def everything(broker, topic, partitions=1):
    """All records of the topic, by partition."""
    c = Consumer({"bootstrap.servers": broker.kafka, "group.id": "none", "auto.offset.reset": "earliest",
                  "isolation.level": "read_uncommitted"})
    got = {}
    for partition in range(partitions):
        _, end = c.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        c.assign([TopicPartition(topic, partition, 0)])
        got[partition] = []
        eventually(lambda: got[partition].extend(c.consume(1000, 0.1)) or len(got[partition]) >= end)
    c.close()
    return got


class Sharing:
    """A share consumer that says of each record what is to become of it."""

    def __init__(self, broker, group, topic, most=100):
        self.consumer = ShareConsumer({"bootstrap.servers": broker.kafka, "group.id": group, "max.poll.records": most,
                                       "share.acknowledgement.mode": "explicit"})
        self.consumer.subscribe([topic])

    def turn(self, verdict):
        """Polls once, passes judgement, and waits until the broker has it; the values."""
        messages = [m for m in self.consumer.poll(0.2) if m.error() is None]
        for message in messages:
            self.consumer.acknowledge(message, verdict(message))
        if messages:
            results = self.consumer.commit_sync(20.0)
            assert not any(results.values()), results
        return [m.value().decode() for m in messages]

    def close(self):
        self.consumer.close()


def rejected(_):
    return AcknowledgeType.REJECT


def accepted(_):
    return AcknowledgeType.ACCEPT


def headers(message):
    return {key: value.decode() for key, value in message.headers()}


class Member:
    """A consumer of the group over AMQP; `verdict` takes channel, method and body."""

    def __init__(self, broker, stream, group, verdict, **arguments):
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, heartbeat=0))
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=10)
        self.got = []

        def work(channel, method, properties, body):
            self.got.append((body.decode(), properties))
            verdict(channel, method, body.decode())

        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.channel.basic_consume(stream, work, arguments={"x-group": group, "x-stream-offset": "first", **arguments})

    def turn(self):
        self.connection.process_data_events(0.05)


def reject(channel, method, _):
    channel.basic_reject(method.delivery_tag, requeue=False)


def test_the_dead_go_to_the_groups_topic(broker, name):
    """What is rejected and what is delivered too often, once, into the partition of the same number; with the records
    themselves if that is wanted."""
    make_topic(broker, name, 3)
    dead = f"dlq.{name}"
    make_topic(broker, dead, 2, TAKES_DEAD)
    configure_group(broker, name, errors_deadletterqueue_topic_name=dead, share_delivery_count_limit="2")
    for partition in range(3):
        produce(broker, name, [f"{partition}-{i}" for i in range(4)], partition)

    def verdict(message):
        i = int(message.value().decode()[-1])
        return [AcknowledgeType.ACCEPT, AcknowledgeType.REJECT, AcknowledgeType.RELEASE, AcknowledgeType.ACCEPT][i]

    sharing, seen = Sharing(broker, name, name), []
    eventually(lambda: seen.extend(sharing.turn(verdict)) or len(seen) >= 15)
    sharing.close()
    assert sorted(seen) == sorted([f"{p}-{i}" for p in range(3) for i in [0, 1, 2, 2, 3]])

    found = everything(broker, dead, 2)
    assert [len(found[0]), len(found[1])] == [4, 2]
    for partition, messages in found.items():
        for message in messages:
            told = headers(message)
            assert (message.key(), message.value()) == (None, None), "only where it is"
            assert told["__dlq.errors.topic"] == name and told["__dlq.errors.group"] == name
            assert int(told["__dlq.errors.partition"]) % 2 == partition
            offset = told["__dlq.errors.offset"]
            why = {"1": ("1", "Offset rejected by client."),
                   "2": ("2", "Offset delivery count exceeded the threshold.")}[offset]
            assert (told["__dlq.errors.delivery.count"], told["__dlq.errors.message"]) == why
    places = {(headers(m)["__dlq.errors.partition"], headers(m)["__dlq.errors.offset"]) for m in found[0] + found[1]}
    assert len(places) == 6

    configure_group(broker, name, errors_deadletterqueue_copy_record_enable="true")
    produce(broker, name, ["poison"], 1, **{"compression.type": "zstd"})
    sharing, seen = Sharing(broker, name, name), []
    eventually(lambda: seen.extend(sharing.turn(rejected)) or seen == ["poison"])
    sharing.close()
    message = everything(broker, dead, 2)[1][-1]
    assert (message.key(), message.value()) == (b"key of poison", b"poison")
    assert headers(message)["from"] == "test" and headers(message)["__dlq.errors.offset"] == "4"


def test_share_consumers_and_amqp_consumers_have_the_same_dead(broker, name):
    make_topic(broker, name)
    dead = f"dlq.{name}"
    make_topic(broker, dead, 1, TAKES_DEAD)
    configure_group(broker, name, errors_deadletterqueue_topic_name=dead,
                    errors_deadletterqueue_copy_record_enable="true", share_delivery_count_limit="3")

    def verdict(channel, method, body):
        # By the limit or at once.
        channel.basic_nack(method.delivery_tag, requeue=int(body) % 2 == 0)

    member, sharing = Member(broker, name, name, verdict), Sharing(broker, name, name)
    over_kafka, sent = [], 0
    while not over_kafka or not member.got or sent < 40:
        assert sent < 4000, "both get something"
        produce(broker, name, [str(i) for i in range(sent, sent + 20)])
        sent += 20
        member.turn()
        over_kafka += sharing.turn(lambda m: AcknowledgeType.REJECT if int(m.value()) % 2 else AcknowledgeType.RELEASE)
    assert set(over_kafka) and set(body for body, _ in member.got)

    def done():
        member.turn()
        over_kafka.extend(sharing.turn(rejected))
        return len({m.value() for m in everything(broker, dead)[0]}) == sent

    eventually(done)
    sharing.close()
    letters = everything(broker, dead)[0]
    assert len(letters) == sent, "once each"
    assert sorted(int(m.value()) for m in letters) == list(range(sent))
    member.connection.close()


def test_the_dead_survive_kills_once_each(sharded, name):
    """Whoever rejects, and whichever data shard the dead-letter topic lies in: nothing is lost and nothing doubled."""
    make_topic(sharded, name, 4)
    dead = f"dlq.{name}"
    # So many others that pairs of partitions lie in different shards.
    make_topic(sharded, f"{name}-between", 1)
    make_topic(sharded, dead, 3, TAKES_DEAD)
    configure_group(sharded, name, errors_deadletterqueue_topic_name=dead,
                    errors_deadletterqueue_copy_record_enable="true", share_delivery_count_limit="100")
    sent = []
    for turn in range(3):
        for partition in range(4):
            values = [f"{partition}-{turn}-{i}" for i in range(10)]
            produce(sharded, name, values, partition)
            sent += values
        sharing, seen = Sharing(sharded, name, name, 8), []
        eventually(lambda: seen.extend(sharing.turn(rejected)) or len(seen) >= 8)
        member = Member(sharded, name, name, reject)
        member.turn()
        # The kill comes in between.
        for message in sharing.consumer.poll(0.5):
            sharing.consumer.acknowledge(message, AcknowledgeType.REJECT)
        sharing.consumer.commit_async()
        sharded.restart(kill=True)
        sharing.close()
    member = Member(sharded, name, name, reject)

    def letters():
        for _ in range(10):
            member.turn()
        found = everything(sharded, dead, 3)
        return [m.value().decode() for partition in found.values() for m in partition]

    eventually(lambda: len(set(letters())) >= len(sent))
    assert sorted(letters()) == sorted(sent)


def test_a_consumers_own_exchange_gets_its_dead(sharded, name):
    """x-dead-letter-exchange of a consumer with x-group: into queues and streams, with a history, over kills."""
    make_topic(sharded, name, 2)
    connection = pika.BlockingConnection(pika.ConnectionParameters(sharded.host, sharded.amqp_port))
    channel = connection.channel()
    channel.exchange_declare("dead", "fanout", durable=True)
    for queue in ["dead-1", "dead-2"]:
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, "dead")

    def verdict(channel, method, body):
        channel.basic_nack(method.delivery_tag, requeue=body.endswith("7"))

    arguments = {"x_dead_letter_exchange": "dead", "x_dead_letter_routing_key": "why", "x_delivery_limit": 1}
    for begin in [0, 20]:
        for partition in range(2):
            produce(sharded, name, [f"{partition}-{i}" for i in range(begin, begin + 20)], partition)
        member = Member(sharded, name, name, verdict, **arguments)
        eventually(lambda: member.turn() or len(member.got) >= 20)
        sharded.restart(kill=True)
    member = Member(sharded, name, name, verdict, **arguments)
    channel = pika.BlockingConnection(pika.ConnectionParameters(sharded.host, sharded.amqp_port)).channel()

    def ready(queue):
        member.turn()
        return channel.queue_declare(queue, durable=True, passive=True).method.message_count

    for queue in ["dead-1", "dead-2"]:
        eventually(lambda: ready(queue) >= 80)
        got = []
        for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=0.3):
            if method is None:
                break
            got.append(body.decode())
            death = properties.headers["x-death"][0]
            assert method.routing_key == "why" and death["queue"] == name
            assert death["reason"] == ("delivery_limit" if body.endswith(b"7") else "rejected")
            assert properties.headers["from"] == "test"
            assert properties.headers["x-bowline-partition"] == int(body[:1])
        channel.cancel()
        assert sorted(got) == sorted(f"{p}-{i}" for p in range(2) for i in range(40)), "once each"


def test_where_there_is_no_topic_for_the_dead(broker, name):
    """Without the topic, or without its consent, the dead are archived all the same; the broker makes the topic if it may."""
    make_topic(broker, name)
    dead = f"dlq.{name}"
    configure_group(broker, name, errors_deadletterqueue_topic_name=dead)
    for bad in ["__dead", "dead/letters"]:
        with pytest.raises(KafkaException) as refused:
            configure_group(broker, name, errors_deadletterqueue_topic_name=bad)
        assert refused.value.args[0].code() == KafkaError.INVALID_CONFIG

    def reject_one(value):
        produce(broker, name, [value])
        sharing, seen = Sharing(broker, name, name), []
        eventually(lambda: seen.extend(sharing.turn(rejected)) or seen)
        sharing.close()
        assert seen == [value]

    reject_one("no topic")
    make_topic(broker, dead)
    reject_one("no consent")
    assert everything(broker, dead)[0] == []
    configure(broker, ResourceType.TOPIC, dead, errors_deadletterqueue_group_enable="true")
    reject_one("good")
    assert [headers(m)["__dlq.errors.offset"] for m in everything(broker, dead)[0]] == ["2"]

    made = f"graves.{name}"
    configure(broker, ResourceType.BROKER, "1", errors_deadletterqueue_auto_create_topics_enable="true",
              errors_deadletterqueue_topic_name_prefix="graves.")
    try:
        reject_one("no prefix")
        assert len(everything(broker, dead)[0]) == 1
        configure_group(broker, name, errors_deadletterqueue_topic_name=made)
        reject_one("made")
        assert len(sum(everything(broker, made).values(), [])) == 1

        # Nobody but AMQP consumers is there when the record dies, and the topic is not.
        others = f"graves.{name}.others"
        configure_group(broker, name, errors_deadletterqueue_topic_name=others)
        member = Member(broker, name, name, reject)
        for value in ["of amqp", "of amqp, too"]:
            produce(broker, name, [value])
            eventually(lambda: member.turn() or any(body == value for body, _ in member.got))

        def offsets():
            try:
                return [headers(m)["__dlq.errors.offset"] for m in everything(broker, others)[0]]
            except KafkaException:
                return []  # Not made yet.

        eventually(lambda: len(offsets()) >= 2)
        assert offsets() == ["5", "6"]
        admin(broker).delete_topics([others])[others].result(20)
        produce(broker, name, ["made anew"])
        eventually(lambda: member.turn() or any(body == "made anew" for body, _ in member.got))
        eventually(lambda: offsets() == ["7"])
        member.connection.close()
    finally:
        for key in ["errors.deadletterqueue.auto.create.topics.enable", "errors.deadletterqueue.topic.name.prefix"]:
            entry = ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE)
            resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=[entry])
            admin(broker).incremental_alter_configs([resource])[resource].result(20)


def test_isolation(broker, name):
    """Open and aborted transactions are for groups that want them, which is the default; not for AMQP consumers."""
    make_topic(broker, name)
    p = Producer({"bootstrap.servers": broker.kafka, "transactional.id": name, "metadata.recovery.strategy": "none"})
    p.init_transactions(30)
    p.begin_transaction()
    p.produce(name, "aborted")
    p.flush()
    p.abort_transaction(30)
    produce(broker, name, ["plain"])
    p.begin_transaction()
    p.produce(name, "open")
    assert p.flush(20) == 0
    produce(broker, name, ["behind"])
    for group, isolation in [("all", None), ("committed", "read_committed")]:
        settings = {"share_isolation_level": isolation} if isolation else {}
        configure_group(broker, f"{name}-{group}", **settings)
    everyone, careful = [Sharing(broker, f"{name}-{group}", name) for group in ["all", "committed"]]
    seen, certain = [], []
    eventually(lambda: seen.extend(everyone.turn(accepted)) or len(seen) >= 4)
    assert seen == ["aborted", "plain", "open", "behind"]
    eventually(lambda: certain.extend(careful.turn(accepted)) or certain)
    assert certain + careful.turn(accepted) == ["plain"]
    p.commit_transaction(30)
    eventually(lambda: certain.extend(careful.turn(accepted)) or len(certain) >= 3)
    assert certain == ["plain", "open", "behind"]
    everyone.close()
    careful.close()


def test_order_by_key(broker, name):
    """Of a key one record is out at a time, in order, over both protocols; others go on."""
    make_topic(broker, name)
    configure_group(broker, name, bowline_share_order_by_key="true", share_delivery_count_limit="1000")
    p = Producer({"bootstrap.servers": broker.kafka, "compression.type": "lz4"})
    for i in range(48):
        p.produce(name, str(i), key=f"key {i % 4}")
    assert p.flush(20) == 0
    seen, out = [], []

    def keep(channel, method, body):
        out.append((channel, method.delivery_tag, body))

    member, sharing = Member(broker, name, name, keep), Sharing(broker, name, name)

    def over_kafka(message):
        i = int(message.value())
        assert i % 4 not in {int(body) % 4 for _, _, body in out}, "two of a key at once"
        if len(released) < 7 and i not in released:
            released.add(i)
            return AcknowledgeType.RELEASE
        seen.append(i)
        return AcknowledgeType.ACCEPT

    released = set()

    def turn():
        member.turn()
        assert len({int(body) % 4 for _, _, body in out}) == len(out) <= 4
        sharing.turn(over_kafka)
        for channel, tag, body in out[:2]:
            if released:
                seen.append(int(body))
                channel.basic_ack(tag)
            else:
                # All would be done before the other member has joined.
                channel.basic_nack(tag)
        del out[:2]
        return len(seen) >= 48

    eventually(turn, 60)
    for key in range(4):
        assert [i for i in seen if i % 4 == key] == list(range(key, 48, 4))
    assert member.got and released
    sharing.close()
    member.connection.close()


def test_a_large_fetch_is_as_large_as_it_was_asked_for(broker, name):
    """More than 1 MiB of one partition at a time."""
    make_topic(broker, name)
    configure_group(broker, name)
    produce(broker, name, ["x" * 200_000 + str(i) for i in range(30)])
    c = ShareConsumer({"bootstrap.servers": broker.kafka, "group.id": name, "max.poll.records": 100,
                       "fetch.max.bytes": 8 << 20, "share.acknowledgement.mode": "implicit"})
    c.subscribe([name])
    most, seen = [], []
    eventually(lambda: most.append(len(new := list(c.poll(0.2)))) or seen.extend(new) or len(seen) >= 30)
    assert len(seen) == 30 and max(most) > 10
    c.close()


def test_a_batch_is_handed_out_as_a_whole(broker, name):
    """librdkafka asks for batches (batch_optimized): the last one exceeds what it asked for, and the next member goes on
    behind it."""
    make_topic(broker, name)
    configure_group(broker, name, share_partition_max_record_locks="25")
    for batch in range(2):
        produce(broker, name, [f"{batch}-{i}" for i in range(20)], **{"linger.ms": 1000, "batch.num.messages": 50})
    one, other = Sharing(broker, name, name, most=5), Sharing(broker, name, name, most=5)
    got = []
    eventually(lambda: got.extend(m.offset() for m in one.consumer.poll(0.2) if not m.error()) or got)
    assert got == list(range(20))
    # The second batch goes beyond the 25 records that may be in hand.
    more = []
    eventually(lambda: more.extend(m.offset() for m in other.consumer.poll(0.2) if not m.error()) or more)
    assert more == list(range(20, 40))
    one.close()
    other.close()


def described(broker, kind, name):
    resource = ConfigResource(kind, name)
    return admin(broker).describe_configs([resource])[resource].result(20)


def test_what_the_broker_was_started_with_holds_for_groups(tmp_path, name):
    started = {"group.share.record.lock.duration.ms": "1000", "group.share.max.size": "1",
               "group.share.delivery.count.limit": "2", "group.min.session.timeout.ms": "1000",
               "group.max.session.timeout.ms": "7000", "group.consumer.heartbeat.interval.ms": "7000"}
    options = [option for key, value in started.items() for option in ("--kafka-config", f"{key}={value}")]
    broker = Broker(tmp_path / "data", *options).start()
    try:
        of_broker = described(broker, ResourceType.BROKER, "1")
        for key, value in started.items():
            entry = of_broker[key]
            assert (entry.value, entry.is_read_only, entry.is_default) == (value, True, False), key
        assert of_broker["group.share.session.timeout.ms"].is_default
        with pytest.raises(KafkaException):
            configure(broker, ResourceType.BROKER, "1", group_share_max_size="3")

        make_topic(broker, name)
        configure_group(broker, name)
        of_group = described(broker, ResourceType.GROUP, name)
        assert of_group["share.record.lock.duration.ms"].value == "1000"
        assert of_group["consumer.heartbeat.interval.ms"].value == "7000"
        produce(broker, name, ["a"])

        # Given back twice, and that was the last time.
        sharing, counts = Sharing(broker, name, name), []

        def release(message):
            counts.append(message.delivery_count())
            return AcknowledgeType.RELEASE

        eventually(lambda: sharing.turn(release) and len(counts) == 2)
        produce(broker, name, ["b"])
        seen = []
        eventually(lambda: seen.extend(sharing.turn(accepted)) or seen)
        assert (counts, seen) == ([1, 2], ["b"])
        more = ShareConsumer({"bootstrap.servers": broker.kafka, "group.id": name})
        more.subscribe([name])
        errors = []

        def refused():
            try:
                errors.extend(m.error().code() for m in more.poll(0.2) if m.error())
            except KafkaException as error:
                errors.append(error.args[0].code())
            return errors

        eventually(refused)
        assert errors[0] == KafkaError.GROUP_MAX_SIZE_REACHED
        more.close()
        sharing.close()

        for timeout, code in [("7001", KafkaError.INVALID_SESSION_TIMEOUT), ("2000", None)]:
            group = f"{name}-{timeout}"
            c = Consumer({"bootstrap.servers": broker.kafka, "group.id": group, "session.timeout.ms": timeout,
                          "heartbeat.interval.ms": "500", "auto.offset.reset": "earliest"})
            c.subscribe([name])
            seen = []
            eventually(lambda: seen.extend(c.consume(1, 0.2)) or seen)
            assert (seen[0].error() and seen[0].error().code()) == code, timeout
            c.close()
    finally:
        broker.kill()


def test_a_name_is_of_one_kind_of_group(broker, name):
    make_topic(broker, name)
    configure_group(broker, name)
    produce(broker, name, ["a"])
    sharing, seen = Sharing(broker, name, name), []
    eventually(lambda: seen.extend(sharing.turn(accepted)) or seen)
    def joins(protocol):
        """What a consumer of that protocol is told."""
        c = Consumer({"bootstrap.servers": broker.kafka, "group.id": name, "group.protocol": protocol})
        c.subscribe([name])
        errors = []
        eventually(lambda: errors.extend(m.error() for m in c.consume(1, 0.2) if m.error()) or errors)
        c.close()
        return errors[0]

    def are_refused():
        assert joins("classic").code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL
        newer = joins("consumer")
        assert newer.code() == KafkaError._FATAL and "group id does not exist" in newer.str()

    are_refused()
    sharing.close()
    # Nor when only what was settled is left of the share group.
    are_refused()

    # Another name, of a consumer group: no share group comes beside it.
    other = f"{name}-other"
    c = Consumer({"bootstrap.servers": broker.kafka, "group.id": other})
    c.commit(offsets=[TopicPartition(name, 0, 1)], asynchronous=False)
    c.close()
    configure_group(broker, other)
    sharing, errors = ShareConsumer({"bootstrap.servers": broker.kafka, "group.id": other}), []
    sharing.subscribe([name])

    def refused():
        try:
            errors.extend(m.error().code() for m in sharing.poll(0.2) if m.error())
        except KafkaException as error:
            errors.append(error.args[0].code())
        return errors

    eventually(refused)
    assert errors[0] == KafkaError.GROUP_ID_NOT_FOUND
    sharing.close()
    admin(broker).delete_consumer_groups([name, other])[name].result(20)
