"""Groups whose partitions the broker assigns (KIP-848), with confluent-kafka (librdkafka).

Heartbeats come every five seconds, the least that Kafka allows, so moving partitions takes its time.
"""

import time

from confluent_kafka import Consumer, ConsumerGroupType, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from conftest import eventually
from test_confluent import admin, make_topic, produce, producer, take  # noqa: F401 (a fixture)

SLOW = 60


class Member:
    """A consumer and what it was told."""

    def __init__(self, broker, group, topics, protocol="consumer", **options):
        self.events = []
        self.values = []
        options = {key.replace("_", "."): value for key, value in options.items()}
        if protocol == "classic":
            options |= {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 500, "session.timeout.ms": 10_000}
        self.consumer = Consumer({"bootstrap.servers": broker.kafka, "group.id": group, "group.protocol": protocol,
                                  "auto.offset.reset": "earliest", "enable.auto.commit": False, **options})
        self.consumer.subscribe(
            topics,
            on_assign=lambda c, ps: self.events.append(("assign", len(ps))),
            on_revoke=lambda c, ps: self.events.append(("revoke", len(ps))),
            on_lost=lambda c, ps: self.events.append(("lost", len(ps))))

    def poll(self):
        message = self.consumer.poll(0.05)
        if message is not None and not message.error():
            self.values.append(int(message.value()))

    def owned(self):
        return {(p.topic, p.partition) for p in self.consumer.assignment()}

    def position(self):
        """Over all that it owns; what one reads before another comes, and does not commit, the other reads again."""
        return sum(max(p.offset, 0) for p in self.consumer.position(self.consumer.assignment()))

    def close(self):
        self.consumer.close()


def spread(members, counts):
    def check():
        for member in members:
            member.poll()
        return sorted(len(member.owned()) for member in members) == sorted(counts)
    return check


def partitioned(p, topic, values, partitions):
    for value in values:
        p.produce(topic, str(value).encode(), partition=value % partitions)
    assert p.flush(20) == 0


def kind(admin, group):
    listed = admin.list_consumer_groups().result(20).valid
    return next((g.type for g in listed if g.group_id == group), None)


def test_members_share_commit_and_resume(broker, admin, name):
    make_topic(admin, name, 6)
    partitioned(producer(broker), name, range(60), 6)
    one = Member(broker, name, [name])
    eventually(spread([one], [6]), timeout=SLOW)
    two = Member(broker, name, [name])
    eventually(spread([one, two], [3, 3]), timeout=SLOW)
    assert not one.owned() & two.owned() and len(one.owned() | two.owned()) == 6
    assert ("revoke", 3) in one.events and ("lost", 3) not in one.events
    described = admin.describe_consumer_groups([name])[name].result(20)
    assert described.type == ConsumerGroupType.CONSUMER and described.state.name in ("STABLE", "RECONCILING")
    assert sorted(len(m.assignment.topic_partitions) for m in described.members) == [3, 3]
    assert kind(admin, name) == ConsumerGroupType.CONSUMER

    def all_read():
        one.poll()
        two.poll()
        return one.position() + two.position() == 60

    eventually(all_read, timeout=SLOW)
    assert set(one.values) | set(two.values) == set(range(60))
    one.consumer.commit(asynchronous=False)
    two.consumer.commit(asynchronous=False)
    two.close()
    eventually(spread([one], [6]), timeout=SLOW)
    one.close()
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)])[name].result(20).topic_partitions
    assert sum(p.offset for p in offsets) == 60
    partitioned(producer(broker), name, range(60, 66), 6)
    again = Member(broker, name, [name])

    def resumed():
        again.poll()
        return len(again.values) >= 6

    eventually(resumed, timeout=SLOW)
    assert sorted(again.values) == list(range(60, 66))
    again.close()
    admin.delete_consumer_groups([name])[name].result(20)
    assert kind(admin, name) is None


def test_new_topics_that_match_are_read(broker, admin, name):
    make_topic(admin, f"{name}-a", 2)
    one = Member(broker, name, [f"^{name}-.*"])
    eventually(spread([one], [2]), timeout=SLOW)
    make_topic(admin, f"{name}-b", 3)
    eventually(spread([one], [5]), timeout=SLOW)
    admin.delete_topics([f"{name}-a"])[f"{name}-a"].result(20)
    eventually(spread([one], [3]), timeout=SLOW)
    one.close()


def test_a_static_member_keeps_its_place(broker, admin, name):
    make_topic(admin, name, 4)
    members = [Member(broker, name, [name], group_instance_id=f"i{n}") for n in range(2)]
    eventually(spread(members, [2, 2]), timeout=SLOW)
    had, others = members[0].owned(), len(members[1].events)
    members[0].close()
    members[0] = Member(broker, name, [name], group_instance_id="i0")
    eventually(spread(members, [2, 2]), timeout=SLOW)
    assert members[0].owned() == had and len(members[1].events) == others
    for member in members:
        member.close()


def test_members_go_on_over_a_kill(own_broker, name):
    """Nobody is told anything new by a coordinator that has started again, and commits are taken as before."""
    admin = AdminClient({"bootstrap.servers": own_broker.kafka})
    make_topic(admin, name, 4)
    partitioned(producer(own_broker), name, range(40), 4)
    members = [Member(own_broker, name, [name], reconnect_backoff_max_ms=200) for _ in range(2)]
    eventually(spread(members, [2, 2]), timeout=SLOW)

    def read(n):
        def check():
            for member in members:
                member.poll()
            return sum(member.position() for member in members) == n
        return check

    eventually(read(40), timeout=SLOW)
    told = [list(member.events) for member in members]
    for _ in range(2):
        own_broker.restart(kill=True)
        start = time.monotonic()
        while time.monotonic() < start + 7:  # A heartbeat's time and more: what would come has come then.
            for member in members:
                member.poll()
    partitioned(producer(own_broker), name, range(40, 80), 4)
    eventually(read(80), timeout=SLOW)
    for member in members:
        member.consumer.commit(asynchronous=False)
    assert [member.events for member in members] == told
    committed = members[0].consumer.committed([TopicPartition(name, p) for p in range(4)], timeout=20)
    assert sum(p.offset for p in committed) == 80
    for member in members:
        member.close()


def test_a_group_is_converted_while_it_runs(broker, admin, name):
    """Classic, then mixed, then of the new protocol alone; and back."""
    make_topic(admin, name, 4)
    old = Member(broker, name, [name], protocol="classic")
    eventually(spread([old], [4]), timeout=SLOW)
    assert kind(admin, name) == ConsumerGroupType.CLASSIC
    new = Member(broker, name, [name])
    eventually(spread([old, new], [2, 2]), timeout=SLOW)
    assert kind(admin, name) == ConsumerGroupType.CONSUMER
    assert not old.owned() & new.owned()
    p = producer(broker)
    partitioned(p, name, range(20), 4)

    def read(members, n):
        def check():
            for member in members:
                member.poll()
            return sum(member.position() for member in members) == n
        return check

    eventually(read([old, new], 20), timeout=SLOW)
    old.consumer.commit(asynchronous=False)
    new.consumer.commit(asynchronous=False)
    old.close()
    eventually(spread([new], [4]), timeout=SLOW)
    # A classic member may join a group of the new protocol, and the group goes back with the last of that.
    again = Member(broker, name, [name], protocol="classic")
    eventually(spread([new, again], [2, 2]), timeout=SLOW)
    new.close()
    eventually(spread([again], [4]), timeout=SLOW)
    assert kind(admin, name) == ConsumerGroupType.CLASSIC
    partitioned(p, name, range(20, 40), 4)
    eventually(read([again], 40), timeout=SLOW)
    assert not set(again.values) & set(range(20)), "what was committed is not read again"
    again.close()
