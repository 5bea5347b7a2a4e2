"""Conversations made from a seed. Each theme is a function that gives steps; names begin with the conversation's own
prefix, so that many can be played at once. A request's version is any that both brokers offer.
"""

import admin_themes
import group_themes
import log_themes
import txn_themes
from peer import At, Ref, Step, TopicId
from records import CODECS, CONTROL, TRANSACTIONAL, Batch, snappy
from talk import Talk, commit, fetch_offsets, join, look_at_group

HOUR = 3_600_000
GARBAGE = b"\xde\xad\xbe\xef" * 5

GOOD_CONFIGS = [
    {"retention.ms": "60000"}, {"retention.ms": "-1"}, {"retention.bytes": "1000000"}, {"max.message.bytes": "2000"},
    {"cleanup.policy": "delete"}, {"cleanup.policy": "compact"}, {"cleanup.policy": "compact,delete"},
    {"compression.type": "producer"}, {"compression.type": "gzip"}, {"compression.type": "uncompressed"},
    {"message.timestamp.type": "LogAppendTime"}, {"message.timestamp.type": "CreateTime"},
    {"min.insync.replicas": "1"}, {"segment.bytes": "10000000"}, {"segment.ms": "100000"}, {"flush.messages": "5"},
    {"delete.retention.ms": "5"}, {"min.cleanable.dirty.ratio": "0.2"}, {"max.compaction.lag.ms": "10000"},
    {"message.timestamp.after.max.ms": "1000"}, {"message.timestamp.before.max.ms": "1000000"},
    {"index.interval.bytes": "100"}, {"preallocate": "true"}, {"file.delete.delay.ms": "1"}, {"segment.jitter.ms": "3"},
    {"unclean.leader.election.enable": "true"}, {"segment.index.bytes": "10000"}, {"min.compaction.lag.ms": "77"},
]
BAD_CONFIGS = [
    {"retention.ms": "soon"}, {"retention.ms": "-2"}, {"retention.ms": ""}, {"retention.ms": None},
    {"retention.bytes": "-2"}, {"retention.bytes": "1e6"}, {"max.message.bytes": "-1"},
    {"max.message.bytes": "99999999999"}, {"cleanup.policy": "shred"}, {"cleanup.policy": "delete,shred"},
    {"compression.type": "brotli"}, {"message.timestamp.type": "Never"}, {"min.insync.replicas": "0"},
    {"segment.bytes": "1"}, {"segment.ms": "0"}, {"flush.messages": "0"}, {"min.cleanable.dirty.ratio": "2"},
    {"min.cleanable.dirty.ratio": "x"}, {"preallocate": "maybe"}, {"no.such.config": "1"}, {"": "1"},
    {"message.timestamp.after.max.ms": "-1"}, {"index.interval.bytes": "-1"}, {"delete.retention.ms": "-1"},
    {"max.compaction.lag.ms": "0"}, {"message.format.version": "2.8"},
]
CONFIG_NAMES = sorted({name for one in GOOD_CONFIGS for name in one})
# Of a new topic's configs, which are told unasked, these are compared.
TOLD_CONFIGS = {"cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "compression.type", "min.insync.replicas"}


def topics(talk):
    """Topics made, looked at, grown and deleted; names and numbers good and bad."""
    names = [talk.name(short) for short in ("t1", "t2", "t.x", "t_x")]
    bad = ["", ".", "..", "a b", "a/b", "ä", "x" * 250, "__" + talk.name("hidden"), talk.name("ok-" + "y" * 200)]
    for _ in range(10):
        topic = talk.some(*names, *names, talk.some(*bad))
        match talk.random.randrange(10):
            case 0 | 1 | 2:
                talk.create(topic, talk.some(1, 2, 3, 0, -1, -2, 5), talk.some({}, {}, *GOOD_CONFIGS[:6]),
                            talk.some(1, 1, 1, -1, 0, 2, -2), **talk.some({}, {}, {"ValidateOnly": True}))
            case 3:
                body = {"Topics": [{"Name": topic, "NumPartitions": talk.some(-1, 2), "ReplicationFactor": talk.some(-1, 1),
                                    "Assignments": talk.some(
                                        [{"PartitionIndex": 0, "BrokerIds": [99]}],
                                        [{"PartitionIndex": 1, "BrokerIds": [1]}],
                                        [{"PartitionIndex": 0, "BrokerIds": []}],
                                        [{"PartitionIndex": 0, "BrokerIds": [1, 1]}])}], "TimeoutMs": 10_000}
                talk.ask("CreateTopics", body)
            case 4:
                body = {"Topics": [{"Name": topic, "NumPartitions": 1, "ReplicationFactor": 1}] * 2, "TimeoutMs": 10_000}
                talk.ask("CreateTopics", body)
            case 5 | 6:
                body = {"TopicNames": [topic], "Topics": [{"Name": topic}], "TimeoutMs": 10_000}
                talk.ask("DeleteTopics", body, versions=talk.some((1, 5), (6, 6)))
            case 7:
                talk.ask("DeleteTopics", {"Topics": [{"Name": None, "TopicId": TopicId(topic)}], "TimeoutMs": 1000}, versions=(6, 6))
            case 8:
                body = {"Topics": [{"Name": topic, "Count": talk.some(1, 2, 3, 4, 0, -1), "Assignments": talk.some(
                    None, None, [{"BrokerIds": [99]}], [])}], "TimeoutMs": 10_000, "ValidateOnly": talk.chance(0.2)}
                talk.ask("CreatePartitions", body)
            case 9:
                talk.ask("Metadata", {"Topics": [{"Name": topic}], "AllowAutoTopicCreation": False}, versions=(4, 99))
        talk.ask("Metadata", {"Topics": [{"Name": name} for name in names], "AllowAutoTopicCreation": False}, versions=(4, 99))


def configs(talk):
    """Topic configs: at creation, altered, described; values good and bad."""
    topic = talk.name("c")
    talk.create(topic, 1, talk.some({}, *GOOD_CONFIGS))
    describe = {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": CONFIG_NAMES}],
                "IncludeSynonyms": False}
    for index in range(8):
        pairs = talk.some(talk.some(*GOOD_CONFIGS), talk.some(*BAD_CONFIGS))
        match talk.random.randrange(6):
            case 0 | 1:
                talk.create(talk.name(f"c{index}"), 1, pairs, **talk.some({}, {"ValidateOnly": True}))
            case 2 | 3 | 4:
                operation = talk.some(0, 0, 0, 1, 2, 3, 9)
                body = {"Resources": [{"ResourceType": talk.some(2, 2, 2, 2, 4, 99), "ResourceName": talk.some(topic, topic, topic, talk.name("nowhere"), ""),
                                       "Configs": [{"Name": name, "ConfigOperation": operation, "Value": value}
                                                   for name, value in pairs.items()]}], "ValidateOnly": talk.chance(0.1)}
                talk.ask("IncrementalAlterConfigs", body)
            case 5:
                body = {"Resources": [{"ResourceType": 2, "ResourceName": topic, "Configs": [
                    {"Name": name, "Value": value} for name, value in pairs.items()]}], "ValidateOnly": talk.chance(0.1)}
                talk.ask("AlterConfigs", body)
        talk.ask("DescribeConfigs", describe)
    for resource in ((2, talk.name("nowhere")), (4, "77"), (4, "x"), (2, "a b"), (2, ""), (99, "x")):
        talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": resource[0], "ResourceName": resource[1],
                                                    "ConfigurationKeys": ["retention.ms"]}]})
    talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": [
        talk.some("no.such", "retention.ms")]}] * talk.some(1, 2), "IncludeSynonyms": True})


def produce(talk):
    """Batches good and bad, on topics of several kinds; what the log has after each."""
    settings = talk.some({}, {}, {"message.timestamp.type": "LogAppendTime"}, {"max.message.bytes": "300"},
                         {"message.timestamp.after.max.ms": "1000"}, {"message.timestamp.before.max.ms": "1000"},
                         {"cleanup.policy": "compact"}, {"compression.type": "gzip"}, {"compression.type": "uncompressed"})
    topic = talk.name("p")
    talk.create(topic, 1, settings)
    for _ in range(9):
        values = talk.values(talk.some(1, 1, 2, 5))
        keys = [value if talk.chance(0.8) else None for value in values] if "cleanup.policy" in settings else None
        good = Batch(*values, codec=talk.some("none", *CODECS), keys=keys, time=talk.some(0, -100, -60_000, 30_000))
        bad = talk.some(
            Batch(*values, crc=1), Batch(*values, magic=3), Batch(*values, magic=1), Batch(*values, magic=0), Batch(*values, cut=-3),
            Batch(*values, cut=-50), b"", b"x", Batch(*values, length=10**6), Batch(*values, length=-1),
            Batch(*values, length=0), Batch(*values, length=30), Batch(*values, behind=b"junk"), Batch(count=0, last_delta=-1), Batch(count=0, last_delta=0),
            Batch(*values, count=len(values) + 1), Batch(*values, count=len(values) - 1 or 3), Batch(*values, last_delta=9),
            Batch(*values, count=-1), Batch(*values, count=2**31 - 1), Batch(*values, attributes=5),
            Batch(*values, attributes=6), Batch(*values, attributes=0x40), Batch(*values, attributes=0x8),
            *(Batch(*values, codec=codec, body=GARBAGE) for codec in CODECS), Batch(*values, codec="gzip", body=b""),
            Batch(*values, codec="snappy", body=snappy(b"\1\2\3")), Batch(*values, attributes=CONTROL),
            Batch(*values, attributes=TRANSACTIONAL), Batch(*values, attributes=TRANSACTIONAL, producer=(5, 0, 0)), Batch(*values, producer=(5, 0, -1)),
            Batch(*values, producer=(5, -1, 0)), Batch(*values, producer=(-1, 0, 0)), Batch(*values, producer=(5, 0, 7)), Batch(*values, time=2 * HOUR),
            Batch(*values, time=-400 * 24 * HOUR), Batch(*values, max_time=5), Batch(*values, base_offset=77),
            Batch(*values, leader_epoch=5), Batch(b"x" * 400), Batch(b"x" * 400, codec="gzip"), Batch(*values, keys=[None] * len(values)))
        batch = talk.some(good, bad, bad)
        acks = talk.some(-1, -1, -1, -1, 1, 0, 2, -2)
        where = talk.some(*[(topic, 0)] * 9, (topic, 1), (topic, -1), (talk.name("nowhere"), 0), ("a b", 0))
        talk.produce(where[0], batch, where[1], acks)
        if acks != 0 or talk.chance(0.5):
            talk.state(topic)


def produce_several(talk):
    """One request with several partitions and topics, some of them bad, some twice."""
    one, two = talk.name("one"), talk.name("two")
    talk.create(one, 2)
    talk.create(two, 1)
    for _ in range(4):
        parts = []
        for topic in talk.random.sample([one, two, talk.name("nowhere")], talk.some(1, 2, 3)):
            indexes = talk.some([0], [0, 1], [1, 0], [0, 5])
            parts.append({"Name": topic, "TopicId": TopicId(topic), "PartitionData": [
                {"Index": index, "Records": talk.some(Batch(*talk.values()), Batch(*talk.values()), Batch(*talk.values(), crc=1))}
                for index in indexes]})
        talk.ask("Produce", {"Acks": talk.some(-1, 1), "TimeoutMs": 5000, "TopicData": parts}, versions=(3, 99))
    for topic, partition in ((one, 0), (one, 1), (two, 0)):
        talk.state(topic, partition)


def sequences(talk):
    """Idempotent producers: in order, repeated, with gaps, with epochs that are over or to come."""
    topic = talk.name("s")
    talk.create(topic, 2)
    talk.init("p")
    talk.init("q", producer=talk.some(-1, 5), epoch=talk.some(-1, 0))
    sent, following = [], 0
    for _ in range(14):
        values = talk.values(talk.some(1, 2, 3))
        match talk.random.randrange(9):
            case 0 | 1 | 2 | 3:
                batch = Batch(*values, producer=talk.producer("p", following))
                following += len(values)
                sent.append(batch)
            case 4 if sent:
                batch = talk.some(*sent)
            case 5:
                batch = Batch(*values, producer=talk.producer("p", talk.some(following + 1, following + 5, 0, 2**31 - 1)))
            case 6:
                batch = Batch(*values, producer=talk.producer("p", talk.some(0, following), epoch=talk.some(1, 1, 2)))
            case 7:
                batch = Batch(*values, producer=talk.producer(talk.some("p", "q"), talk.some(0, 3, following)))
            case _ if sent:
                # The same numbers with other records: a duplicate is known by its numbers alone.
                last = sent[-1]
                batch = Batch(*[value.upper() for value in last.values], *talk.some([], [b"more"]), producer=last.producer)
            case _:
                batch = Batch(*values, producer=(talk.some(4321, 0), talk.some(0, 3), talk.some(0, 9)))
        talk.produce(topic, batch, talk.some(0, 0, 0, 0, 1))
    talk.state(topic)
    if "DescribeProducers" in talk.offered:
        talk.ask("DescribeProducers", {"Topics": [{"Name": topic, "PartitionIndexes": [0, 1, 7]}]})


def wrapping(talk):
    """Sequence numbers begin again at 0 after 2^31 - 1."""
    topic = talk.name("w")
    talk.create(topic)
    talk.init("p")
    last = 2**31 - 1
    for first, count in ((last - 2, 2), (last, 1), (0, 1), (1, 1), (last, 1), (0, 1), (last - 1, 4), (5, 1)):
        talk.produce(topic, Batch(*talk.values(count), producer=talk.producer("p", first)))
    talk.state(topic)


def fetch(talk):
    """Offsets in and out of range, sizes, epochs, by name and by id, several partitions."""
    topic = talk.name("f")
    talk.create(topic, 2)
    for _ in range(3):
        talk.produce(topic, Batch(*talk.values(talk.some(1, 2, 4)), codec=talk.some("none", *CODECS)))
    end = talk.bodies
    for _ in range(8):
        offset = talk.some(0, 0, 1, 2, 3, end - 1, end, end + 1, -1, -5, 2**62)
        talk.fetch(topic if talk.chance(0.9) else talk.name("nowhere"), offset, talk.some(0, 0, 0, 0, 1, 2, -1),
                   max_bytes=talk.some(1 << 20, 1 << 20, 1, 0, 100), partition_bytes=talk.some(1 << 20, 1, 0, 100),
                   wait=talk.some(0, 0, 30), min_bytes=talk.some(1, 1, 0, 10_000), epoch=talk.some(-1, -1, 0, 1, 7),
                   isolation=talk.some(0, 1), MaxWaitMs=talk.some(0, 20, -1))
    talk.ask("Fetch", {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1000, "SessionEpoch": -1, "Topics": [
        {"Topic": name, "TopicId": TopicId(name), "Partitions": [
            {"Partition": part, "FetchOffset": 0, "PartitionMaxBytes": 1000, "CurrentLeaderEpoch": -1} for part in parts]}
        for name, parts in ((topic, [0, 1]), (talk.name("nowhere"), [0]))]})


def offsets(talk):
    """ListOffsets by time and by every sentinel."""
    topic = talk.name("o")
    talk.create(topic, 1, talk.some({}, {}, {"message.timestamp.type": "LogAppendTime"}))
    talk.list_offsets(topic, -1, -2, -3, -4, -5, -6, At(0))
    for at in talk.random.sample([-60_000, 0, 60_000, -120_000, 120_000], 3):
        talk.produce(topic, Batch(*talk.values(talk.some(1, 3)), time=at, codec=talk.some("none", "gzip", "lz4")))
    sentinels = [-1, -2, -3, -4, -5, -6, -7, -100, 0, 1]
    talk.list_offsets(topic, *talk.random.sample(sentinels, 5), *(At(talk.some(0, 1, 2, 3)
                      + talk.some(-60_000, 0, 60_000, 120_000, -120_000)) for _ in range(4)), isolation=talk.some(0, 1))
    talk.list_offsets(topic, -1, partition=talk.some(0, 3, -1), epoch=talk.some(-1, 0, 1, 9))
    talk.list_offsets(talk.name("nowhere"), -1)
    for asked in (-1, 0, 1, 5):
        talk.ask("OffsetForLeaderEpoch", {"ReplicaId": -1, "Topics": [{"Topic": talk.some(topic, topic, talk.name("nowhere")), "Partitions": [
            {"Partition": talk.some(0, 0, 4), "CurrentLeaderEpoch": talk.some(-1, -1, 0, 3), "LeaderEpoch": asked}]}]})


def deletions(talk):
    """DeleteRecords: to offsets within batches, beyond, and up to the end."""
    topic = talk.name("d")
    talk.create(topic)
    for _ in range(3):
        talk.produce(topic, Batch(*talk.values(3)))
    for _ in range(5):
        offset = talk.some(0, 1, 2, 4, 5, 8, 9, 10, -1, -2, 100)
        talk.ask("DeleteRecords", {"Topics": [{"Name": talk.some(topic, topic, topic, talk.name("nowhere")), "Partitions": [
            {"PartitionIndex": talk.some(0, 0, 0, 1), "Offset": offset}]}], "TimeoutMs": 5000})
        talk.list_offsets(topic, -2, -1, -3, At(0))
        talk.fetch(topic, talk.some(0, 1, 4, 8, 9))
    talk.produce(topic, Batch(*talk.values(1)))
    talk.state(topic)


def plain_offsets(talk):
    """Offsets of groups without members."""
    topic, groups = talk.name("t"), [talk.name("g"), talk.name("h")]
    talk.create(topic, 2)
    for _ in range(8):
        group = talk.some(*groups)
        match talk.random.randrange(8):
            case 0 | 1 | 2:
                commit(talk, group, talk.some(topic, topic, topic, talk.name("nowhere")), talk.some(0, 5, 5, -1, -2, 2**62), talk.some(-1, -1, -1, 0, 3),
                       talk.some("", "", "", "made-up"), talk.some("", "about", None, "x" * 4096, "x" * 4097), talk.some(0, 1, 0, 7, -1))
            case 3 | 4:
                fetch_offsets(talk, group, topic, talk.some((0, 1), (0,), (7,), ()), everything=talk.chance(0.4), stable=talk.chance(0.3))
            case 5:
                look_at_group(talk, group)
            case 6:
                talk.ask("DeleteGroups", {"GroupsNames": talk.some([group], [group, talk.name("nobody")], [])})
            case 7:
                talk.ask("OffsetDelete", {"GroupId": talk.some(group, talk.name("nobody"), ""), "Topics": [
                    {"Name": talk.some(topic, topic, talk.name("nowhere")), "Partitions": [{"PartitionIndex": talk.some(0, 0, 1, 9)}]}]})
    commit(talk, "", topic, 1)
    fetch_offsets(talk, "", topic)
    for group in groups:
        fetch_offsets(talk, group, topic)


def membership(talk):
    """One or two members of a classic group: in their places and out of them."""
    topic, group = talk.name("t"), talk.name("g")
    talk.create(topic, 2)
    # The first join gives an id, the second brings it; older versions are let in at once.
    version = talk.some((4, 99), (0, 3))
    join(talk, group, "", versions=version)
    if version[0] == 4:
        join(talk, group, Ref("m", ""), versions=version)
    heartbeat = {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")}
    if talk.chance(0.3):
        talk.ask("Heartbeat", heartbeat)
        commit(talk, group, topic, 3, Ref("g", 1), Ref("m", ""))
        look_at_group(talk, group)
    talk.ask("SyncGroup", {"GroupId": group, "GenerationId": Ref("g", 1, talk.some(0, 0, 0, 0, 1)), "MemberId": Ref("m", ""),
                           "ProtocolType": talk.some("consumer", "consumer", "consumer", "other", None), "ProtocolName": talk.some("range", "range", "range", "other"),
                           "Assignments": [{"MemberId": Ref("m", ""), "Assignment": b"\0\1"}]})
    for _ in range(9):
        member = talk.some(*[Ref("m", "")] * 5, "made-up", "")
        generation = talk.some(*[Ref("g", 1)] * 5, Ref("g", 1, 1), Ref("g", 1, -1), -1)
        match talk.random.randrange(9):
            case 0:
                talk.ask("Heartbeat", {"GroupId": talk.some(group, group, talk.name("nobody"), ""), "GenerationId": generation, "MemberId": member})
            case 1 | 2:
                commit(talk, group, topic, talk.some(1, 2, 3), generation, member)
            case 3:
                fetch_offsets(talk, group, topic, everything=talk.chance(0.5))
            case 4:
                look_at_group(talk, talk.some(group, group, talk.name("nobody"), ""))
            case 5:
                talk.ask("SyncGroup", {"GroupId": group, "GenerationId": generation, "MemberId": member, "ProtocolType": "consumer",
                                       "ProtocolName": "range", "Assignments": []})
            case 6:
                talk.ask("DeleteGroups", {"GroupsNames": [group]})
            case 7:
                talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0}]}]})
            case 8:
                join(talk, group, talk.some("made-up", Ref("m", "")), kind=talk.some("consumer", "other", ""), as_="n", generation="o",
                     protocols=talk.some((("range", b"m"),), (("other", b"m"),), (), (("range", b"m"), ("other", b""))), session=talk.some(10_000, 10_000, 1, 10**8))
                talk.ask("SyncGroup", {"GroupId": group, "GenerationId": Ref("g", 1, talk.some(0, 1)), "MemberId": Ref("m", ""), "ProtocolType": "consumer",
                                       "ProtocolName": "range", "Assignments": [{"MemberId": Ref("m", ""), "Assignment": b"\0\2"}]})
    member = talk.some(Ref("m", ""), Ref("m", ""), "made-up")
    talk.ask("LeaveGroup", {"GroupId": group, "MemberId": member, "Members": [{"MemberId": member}]})
    look_at_group(talk, group)
    fetch_offsets(talk, group, topic, everything=True)


def two_members(talk):
    """A second member comes: the first is told, both join again, the leader assigns, one leaves."""
    group = talk.name("g")
    both = (("range", b"m"), ("other", b"x"))
    join(talk, group, "", both, versions=(4, 99))
    join(talk, group, Ref("m", ""), both, versions=(4, 99))
    talk.ask("SyncGroup", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", ""), "ProtocolType": "consumer",
                           "ProtocolName": "range", "Assignments": [{"MemberId": Ref("m", ""), "Assignment": b"all"}]})
    second = talk.some((("range", b"n"),), (("other", b"n"), ("range", b"n")), (("third", b""),))
    join(talk, group, "", second, connection="b", as_="n", generation="o", versions=(4, 99))
    join(talk, group, Ref("n", ""), second, connection="b", as_="n", generation="o", versions=(4, 99), later=second[0][0] != "third")
    talk.ask("Heartbeat", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")})
    commit(talk, group, talk.name("t"), 1, Ref("g", 1), Ref("m", ""))
    look_at_group(talk, group)
    join(talk, group, Ref("m", ""), both, versions=(4, 99))
    if second[0][0] != "third":
        talk.steps.append(Step("collect", connection="b"))
        sync = {"GroupId": group, "GenerationId": Ref("g", 1), "ProtocolType": "consumer", "ProtocolName": talk.some("range", "range", "other")}
        talk.ask("SyncGroup", {**sync, "MemberId": Ref("n", ""), "Assignments": []}, connection="b", later=True, versions=(0, 4))
        talk.ask("Heartbeat", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")})
        talk.ask("SyncGroup", {**sync, "MemberId": Ref("m", ""), "Assignments": [
            {"MemberId": Ref("m", ""), "Assignment": b"one"}, {"MemberId": Ref("n", ""), "Assignment": b"two"}]}, versions=(0, 4))
        talk.steps.append(Step("collect", connection="b"))
        look_at_group(talk, group)
        talk.ask("LeaveGroup", {"GroupId": group, "MemberId": Ref("n", ""), "Members": [
            {"MemberId": Ref("n", "")}, *talk.some([], [{"MemberId": "made-up"}])]}, connection="b")
        talk.ask("Heartbeat", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")})
    look_at_group(talk, group)
    talk.ask("DeleteGroups", {"GroupsNames": [group]})


def static_members(talk):
    """Members with an instance id: replaced without a rebalance, fenced, removed by an administrator."""
    group, versions = talk.name("g"), (5, 99)
    join(talk, group, "", instance="i", versions=versions)
    sync = {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", ""), "GroupInstanceId": "i", "ProtocolType": "consumer",
            "ProtocolName": "range", "Assignments": [{"MemberId": Ref("m", ""), "Assignment": b"all"}]}
    talk.ask("SyncGroup", sync, versions=(3, 99))
    talk.ask("Heartbeat", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", ""), "GroupInstanceId": talk.some("i", "other", None)}, versions=(3, 99))
    join(talk, group, "", talk.some((("range", b"m"),), (("range", b"different"),)), instance="i", versions=versions, as_="n", generation="o")
    for member in ("m", "n"):
        talk.ask("Heartbeat", {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref(member, ""), "GroupInstanceId": talk.some("i", "i", None)}, versions=(3, 99))
        commit(talk, group, talk.name("t"), 1, Ref("g", 1), Ref(member, ""))
        talk.ask("SyncGroup", {**sync, "MemberId": Ref(member, ""), "Assignments": []}, versions=(3, 99))
    look_at_group(talk, group)
    talk.ask("LeaveGroup", {"GroupId": group, "Members": [{"MemberId": talk.some("", Ref("m", ""), Ref("n", ""), "made-up"),
                                                           "GroupInstanceId": talk.some("i", "i", "other")}]}, versions=(3, 99))
    look_at_group(talk, group)


def cluster(talk):
    """What there is and who leads it."""
    topic = talk.name("t")
    talk.create(topic, 3)
    for _ in range(8):
        match talk.random.randrange(7):
            case 0:
                talk.ask("Metadata", {"Topics": talk.some(None, [], [{"Name": topic}], [{"Name": talk.name("nowhere")}], [{"Name": "a b"}], [{"Name": ""}]),
                                      "AllowAutoTopicCreation": False}, versions=(4, 99))
            case 1:
                talk.ask("Metadata", {"Topics": [{"Name": None, "TopicId": TopicId(talk.some(topic, talk.name("nowhere")))}],
                                      "AllowAutoTopicCreation": talk.chance(0.5)}, versions=(12, 99))
            case 2:
                talk.ask("FindCoordinator", {"Key": talk.some("", talk.name("g")), "KeyType": talk.some(0, 0, 7),
                                             "CoordinatorKeys": talk.some([], [talk.name("g")], [talk.name("g"), ""])})
            case 3:
                talk.ask("DescribeCluster", {"EndpointType": talk.some(1, 1, 2, 9)})
            case 4:
                talk.ask("DescribeTopicPartitions", {"Topics": [{"Name": talk.some(topic, talk.name("nowhere"), "a b", "")}],
                                                     "ResponsePartitionLimit": talk.some(2000, 2, 0, -1),
                                                     "Cursor": talk.some(None, {"TopicName": topic, "PartitionIndex": talk.some(0, 1, 9, -1)})})
            case 5:
                talk.ask("DescribeLogDirs", {"Topics": talk.some([{"Topic": topic, "Partitions": [0, 1]}], [{"Topic": topic, "Partitions": [9]}], [])})
            case 6:
                talk.ask("ApiVersions", {"ClientSoftwareName": talk.some("a", "a b", "", "-a"), "ClientSoftwareVersion": talk.some("1", "", "1 2")}, versions=(3, 99))


def strange_versions(talk):
    """Requests in versions that there are not."""
    for api in talk.random.sample(sorted(talk.offered), 8):
        if api == "ApiVersions":
            continue
        low, high = talk.offered[api]
        version = talk.some(-1, 0 if low > 0 else -2, high + 7, 99)
        if api == "Produce" and version == 0:
            version = 1
        talk.steps.append(Step(api, version))


def transactions(talk):
    """Transactional producers of one protocol version: in order and out of it, fenced, with offsets, and what readers see."""
    topic, group, name = talk.name("x"), talk.name("xg"), talk.name("xid")
    talk.create(topic, 2)
    # Version 2 of transactions (KIP-890) goes by the versions of these requests.
    second = talk.offered["EndTxn"][1] >= 5 and talk.chance(0.5)
    produce_versions, end_versions, offset_versions = ((12, 99), (5, 5), (5, 99)) if second else ((3, 11), (0, 4), (0, 4))
    ids = {"ProducerId": Ref("p", 4321), "ProducerEpoch": Ref("p-epoch", 0)}
    talk.ask("FindCoordinator", {"Key": name, "KeyType": 1, "CoordinatorKeys": [name]}, versions=(1, 99))
    init = {"transactional_id": name, "versions": (0, 2) if talk.chance(0.2) else (3, 5)}
    talk.init("p", **init)
    following = {0: 0, 1: 0}

    def send(partition=0, epoch=0, sequence=None):
        values = talk.values(talk.some(1, 2))
        first = following[partition] if sequence is None else sequence
        batch = Batch(*values, producer=talk.producer("p", first, epoch), attributes=TRANSACTIONAL)
        talk.produce_in(topic, name, batch, partition, produce_versions)
        if sequence is None and epoch == 0:
            following[partition] += len(values)

    def add(*partitions, **wrong):
        talk.ask("AddPartitionsToTxn", {"V3AndBelowTransactionalId": wrong.get("id", name), "V3AndBelowProducerId": wrong.get("producer", ids["ProducerId"]),
                                        "V3AndBelowProducerEpoch": wrong.get("epoch", ids["ProducerEpoch"]), "V3AndBelowTopics": [
                                            {"Name": wrong.get("topic", topic), "Partitions": list(partitions)}]}, versions=(0, 3))

    def end(commit, **wrong):
        talk.ask("EndTxn", {"TransactionalId": wrong.get("id", name), **ids, **wrong.get("ids", {}), "Committed": commit},
                 versions=end_versions, keep={"p-epoch": ("ProducerEpoch",)} if second else None)
        if second:
            following.update({0: 0, 1: 0})

    def look():
        for isolation in (0, 1):
            talk.fetch(topic, talk.some(0, 0, 1, 2), talk.some(0, 1), isolation=isolation)
            talk.list_offsets(topic, -1, isolation=isolation, versions=(2, 99))
        if "DescribeTransactions" in talk.offered and talk.chance(0.4):
            talk.ask("DescribeTransactions", {"TransactionalIds": [name, talk.name("nobody")]})
            talk.ask("ListTransactions", {"StateFilters": talk.some([], ["Ongoing"], ["CompleteCommit"], ["Nonsense"]), "ProducerIdFilters": []})
            talk.ask("DescribeProducers", {"Topics": [{"Name": topic, "PartitionIndexes": [0]}]})

    for _ in range(talk.some(2, 3)):
        for _ in range(talk.some(2, 3, 4)):
            match talk.random.randrange(10):
                case 0 | 1 | 2 | 3 | 4:
                    partition = talk.some(0, 0, 1)
                    if not second:
                        add(partition)
                    send(partition)
                case 5:
                    talk.ask("AddOffsetsToTxn", {"TransactionalId": name, **ids, "GroupId": group})
                    talk.ask("TxnOffsetCommit", {"TransactionalId": name, "GroupId": group, **ids, "Topics": [
                        {"Name": topic, "TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0, "CommittedOffset": talk.some(1, 2, 3), "CommittedMetadata": "m"}]}]},
                             versions=offset_versions)
                    fetch_offsets(talk, group, topic, stable=talk.chance(0.5))
                case 6:
                    look()
                case 7:
                    add(talk.some(0, 7), **talk.some({"epoch": 7}, {"producer": 12345}, {"id": talk.name("nobody")}, {"id": ""}, {"topic": talk.name("nowhere")}))
                case 8:
                    send(0, sequence=talk.some(50, 9))
                case 9:
                    end(True, **talk.some({"id": talk.name("nobody")}, {"ids": {"ProducerEpoch": 9}}, {"ids": {"ProducerId": 12345}}))
        commit = talk.chance(0.6)
        if talk.chance(0.85):
            end(commit)
            if talk.chance(0.3) and not second:
                # Said again, as after a lost answer; or the other way round.
                end(talk.some(commit, commit, not commit))
        else:
            talk.init("p", **init)
            following.update({0: 0, 1: 0})
        look()
        fetch_offsets(talk, group, topic, stable=True)
    talk.init("p", transactional_id=talk.some(name, "", None), timeout=talk.some(60_000, 0, -1, 10**9), producer=talk.some(-1, 77), epoch=talk.some(-1, 3), versions=(3, 5))


def sessions(talk):
    """Fetch sessions (KIP-227): opened, continued, with partitions added and forgotten, closed; and wrong ones."""
    one, two = talk.name("f1"), talk.name("f2")
    talk.create(one, 2)
    talk.create(two, 1)
    versions = talk.some((7, 12), (13, 99))

    def ask(session, epoch, parts=(), forgotten=(), keep=None):
        topics = {}
        for topic, partition, offset in parts:
            topics.setdefault(topic, []).append({"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20})
        talk.ask("Fetch", {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": session, "SessionEpoch": epoch,
                           "Topics": [{"Topic": topic, "TopicId": TopicId(topic), "Partitions": found} for topic, found in topics.items()],
                           "ForgottenTopicsData": [{"Topic": topic, "TopicId": TopicId(topic), "Partitions": [partition]} for topic, partition in forgotten]},
                 versions=versions, keep=keep)

    talk.produce(one, Batch(*talk.values(2)))
    ask(0, 0, [(one, 0, 0), (one, 1, 0), (two, 0, 0)], keep={"s": ("SessionId",)})
    epoch, at = 1, 2
    for _ in range(6):
        match talk.random.randrange(7):
            case 0 | 1:
                ask(Ref("s", 0), epoch, talk.some([], [(one, 0, at)]))
                epoch += 1
            case 2:
                talk.produce(talk.some(one, two), Batch(*talk.values(1)))
            case 3:
                ask(Ref("s", 0), epoch, [], [(talk.some(one, two), 0)])
                epoch += 1
            case 4:
                ask(Ref("s", 0), talk.some(epoch + 3, epoch - 1))
            case 5:
                ask(424242, talk.some(1, 5))
            case 6:
                ask(Ref("s", 0), epoch, [(talk.name("nowhere"), 0, 0), (one, 5, 0), (one, 0, talk.some(0, 999))])
                epoch += 1
    ask(Ref("s", 0), -1, [(one, 0, 0)])
    ask(Ref("s", 0), epoch)


def administration(talk):
    """What tools ask of a cluster, answered for one node."""
    topic = talk.name("a")
    talk.create(topic, 2)
    some = [{"Topic": talk.some(topic, talk.name("nowhere")), "Partitions": talk.some([0], [0, 1], [9])}]
    talk.ask("ElectLeaders", {"ElectionType": talk.some(0, 0, 1), "TopicPartitions": some, "TimeoutMs": 5000})
    talk.ask("ListPartitionReassignments", {"Topics": talk.some(None, [{"Name": topic, "PartitionIndexes": [0]}])})
    talk.ask("AlterPartitionReassignments", {"Topics": [{"Name": talk.some(topic, topic, talk.name("nowhere")), "Partitions": [
        {"PartitionIndex": talk.some(0, 9), "Replicas": talk.some(None, [], [99], [1, 99])}]}]})
    talk.ask("ListConfigResources", {"ResourceTypes": talk.some([], [16], [32], [99])})
    for _ in range(3):
        talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": talk.some(16, 32), "ResourceName": talk.some(talk.name("r"), ""), "ConfigurationKeys": [
            "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "interval.ms", "metrics"]}]})
        talk.ask("IncrementalAlterConfigs", {"Resources": [{"ResourceType": 32, "ResourceName": talk.some(talk.name("r"), ""), "Configs": [
            {"Name": talk.some("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "no.such"), "ConfigOperation": talk.some(0, 0, 1),
             "Value": talk.some("50000", "6000", "1", "x", "999999999")}]}]})


def acls(talk):
    """Rules made, asked for and deleted."""
    def rule():
        return {"ResourceType": talk.some(2, 3, 4, 5, 2, 0, 1, 99), "ResourceName": talk.some(talk.name("t"), talk.name("t"), "", "kafka-cluster"),
                "ResourcePatternType": talk.some(3, 3, 4, 1, 2, 0), "Principal": talk.some("User:" + talk.name("u"), "User:" + talk.name("u"), "nobody", "User:*"),
                "Host": talk.some("*", "*", "10.0.0.1", ""), "Operation": talk.some(2, 3, 4, 8, 3, 0, 1, 99, 12), "PermissionType": talk.some(2, 3, 3, 0, 1, 9)}

    def mask():
        return {"ResourceTypeFilter": talk.some(1, 2, 4, 0), "ResourceNameFilter": talk.some(talk.name("t"), talk.name("t") + "more"),
                "PatternTypeFilter": talk.some(1, 2, 3, 4), "PrincipalFilter": talk.some(None, "User:" + talk.name("u")), "HostFilter": talk.some(None, "*"),
                "Operation": talk.some(1, 1, 3), "PermissionType": talk.some(1, 1, 3, 2)}

    good = {"ResourceType": 2, "ResourceName": talk.name("t"), "ResourcePatternType": 3, "Principal": "User:" + talk.name("u"), "Host": "*",
            "Operation": 3, "PermissionType": 3}
    for _ in range(8):
        match talk.random.randrange(4):
            case 0:
                talk.ask("CreateAcls", {"Creations": [rule() for _ in range(talk.some(1, 2))]})
            case 1:
                talk.ask("CreateAcls", {"Creations": [{**good, "Operation": talk.some(3, 4, 8), "ResourcePatternType": talk.some(3, 4)}]})
            case 2:
                talk.ask("DescribeAcls", mask())
            case 3:
                talk.ask("DeleteAcls", {"Filters": [mask()]})
    talk.ask("DeleteAcls", {"Filters": [{"ResourceTypeFilter": 1, "ResourceNameFilter": talk.name("t"), "PatternTypeFilter": 1, "PrincipalFilter": None,
                                         "HostFilter": None, "Operation": 1, "PermissionType": 1}]})


def quotas(talk):
    """Client quotas set, asked for and removed."""
    user = talk.name("u")
    for _ in range(6):
        entity = talk.some([{"EntityType": "user", "EntityName": user}], [{"EntityType": "user", "EntityName": user}, {"EntityType": "client-id", "EntityName": "c"}],
                           [{"EntityType": "nonsense", "EntityName": user}], [{"EntityType": "user", "EntityName": ""}], [])
        ops = [{"Key": talk.some("producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate", "no_such"),
                "Value": talk.some(1000.0, 50.5, 0.0, -1.0), "Remove": talk.chance(0.3)}]
        talk.ask("AlterClientQuotas", {"Entries": [{"Entity": entity, "Ops": ops}], "ValidateOnly": talk.chance(0.2)})
        talk.ask("DescribeClientQuotas", {"Components": [{"EntityType": talk.some("user", "user", "nonsense"), "MatchType": talk.some(0, 0, 7), "Match": user}],
                                          "Strict": talk.chance(0.5)})


def scram(talk):
    """SCRAM credentials set, asked for and deleted."""
    user = talk.name("u")
    for _ in range(6):
        upsertion = {"Name": talk.some(user, user, ""), "Mechanism": talk.some(1, 2, 0, 9), "Iterations": talk.some(4096, 8192, 1, 10**6),
                     "Salt": b"salt", "SaltedPassword": b"p" * 32}
        deletion = {"Name": talk.some(user, talk.name("nobody")), "Mechanism": talk.some(1, 2, 0)}
        talk.ask("AlterUserScramCredentials", talk.some({"Upsertions": [upsertion], "Deletions": []}, {"Deletions": [deletion], "Upsertions": []},
                                                       {"Upsertions": [upsertion, upsertion], "Deletions": []}))
        talk.ask("DescribeUserScramCredentials", {"Users": talk.some([{"Name": user}], [{"Name": user}, {"Name": user}], [{"Name": ""}])})


def consumer_groups(talk):
    """One member of a KIP-848 group, in its place and out of it."""
    topic, group = talk.name("t"), talk.name("c")
    talk.create(topic, 2)
    member = "made-up-" + talk.prefix
    joining = {"GroupId": group, "MemberId": member, "MemberEpoch": 0, "RebalanceTimeoutMs": 10_000, "SubscribedTopicNames": [topic], "TopicPartitions": []}
    talk.ask("ConsumerGroupHeartbeat", {**joining, **talk.some({"GroupId": ""}, {"SubscribedTopicNames": None}, {"RebalanceTimeoutMs": -1}, {"TopicPartitions": None},
                                                              {"ServerAssignor": "nonsense"}, {"MemberEpoch": 5}, {"MemberEpoch": -1}, {"InstanceId": ""})}, versions=(1, 99))
    talk.ask("ConsumerGroupHeartbeat", {**joining, "ServerAssignor": talk.some(None, "uniform", "range")}, versions=(1, 99), keep={"e": ("MemberEpoch",)})
    own = {"GroupId": group, "MemberId": member, "MemberEpoch": Ref("e", 1)}
    for _ in range(7):
        match talk.random.randrange(7):
            case 0 | 1:
                talk.ask("ConsumerGroupHeartbeat", own, versions=(1, 99))
            case 2:
                talk.ask("ConsumerGroupHeartbeat", {**own, **talk.some({"MemberEpoch": Ref("e", 1, 3)}, {"MemberId": "made-up-other"}, {"GroupId": talk.name("nobody")})}, versions=(1, 99))
            case 3:
                commit(talk, group, topic, talk.some(1, 2), talk.some(Ref("e", 1), Ref("e", 1, 1), -1), talk.some(member, member, "", "made-up-other"))
            case 4:
                fetch_offsets(talk, group, topic, member=talk.some(None, member, "made-up-other"), epoch=talk.some(-1, Ref("e", 1), 9))
            case 5:
                talk.ask("ConsumerGroupDescribe", {"GroupIds": talk.some([group], [group, talk.name("nobody")], [""])})
            case 6:
                talk.ask(*talk.some(("DescribeGroups", {"Groups": [group]}), ("DeleteGroups", {"GroupsNames": [group]}),
                                    ("Heartbeat", {"GroupId": group, "GenerationId": 1, "MemberId": member}),
                                    ("ListGroups", {"StatesFilter": [], "TypesFilter": []})))
    talk.ask("ConsumerGroupHeartbeat", {**own, "MemberEpoch": -1}, versions=(1, 99))
    talk.ask("ConsumerGroupDescribe", {"GroupIds": [group]})


def share_groups(talk):
    """Share groups: heartbeats, sessions and acknowledgements in their places and out of them; offsets."""
    topic, group = talk.name("t"), talk.name("s")
    talk.create(topic, 1)
    member = "made-up-" + talk.prefix
    own = {"GroupId": group, "MemberId": member}
    for _ in range(4):
        talk.ask("ShareGroupHeartbeat", {**own, "MemberEpoch": talk.some(5, -1, -3), "SubscribedTopicNames": talk.some([topic], None, []),
                                         **talk.some({}, {"GroupId": ""}, {"MemberId": ""})})
    talk.ask("ShareGroupHeartbeat", {**own, "MemberEpoch": 0, "SubscribedTopicNames": talk.some(None, [])})
    fetching = {**own, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 20, "MaxRecords": 100, "BatchSize": 100, "Topics": [
        {"TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0}]}]}
    for _ in range(3):
        talk.ask("ShareFetch", {**fetching, "ShareSessionEpoch": talk.some(1, 7), **talk.some({}, {"GroupId": ""}, {"MemberId": ""}, {"MaxRecords": 0})})
        talk.ask("ShareAcknowledge", {**own, "ShareSessionEpoch": talk.some(0, 1, 5, -1), "Topics": [{"TopicId": TopicId(topic), "Partitions": [
            {"PartitionIndex": 0, "AcknowledgementBatches": [{"FirstOffset": 0, "LastOffset": talk.some(0, 5), "AcknowledgeTypes": [talk.some(1, 2, 9)]}]}]}]})
    talk.ask("ShareGroupDescribe", {"GroupIds": talk.some([group], [talk.name("nobody")], [""])})
    if "DescribeShareGroupOffsets" in talk.offered:
        talk.ask("DescribeShareGroupOffsets", {"Groups": [{"GroupId": talk.some(group, talk.name("nobody"), ""), "Topics": talk.some(None, [{"TopicName": topic, "Partitions": [0]}])}]})
        talk.ask("AlterShareGroupOffsets", {"GroupId": talk.some(group, talk.name("nobody"), ""), "Topics": [{"TopicName": talk.some(topic, talk.name("nowhere")), "Partitions": [
            {"PartitionIndex": 0, "StartOffset": 0}]}]})
        talk.ask("DeleteShareGroupOffsets", {"GroupId": talk.some(group, talk.name("nobody"), ""), "Topics": [{"TopicName": topic}]})


# Theme, and the APIs that both must have for it.
THEMES = {
    topics: (), configs: (), produce: (), produce_several: (), sequences: (), wrapping: (), fetch: (), offsets: (), deletions: (), plain_offsets: (),
    membership: (), two_members: (), static_members: (), cluster: (), strange_versions: (),
    transactions: ("EndTxn", "AddPartitionsToTxn", "TxnOffsetCommit", "AddOffsetsToTxn"), sessions: (),
    administration: ("ElectLeaders", "ListPartitionReassignments", "AlterPartitionReassignments", "ListConfigResources"),
    acls: ("CreateAcls", "DescribeAcls", "DeleteAcls"), quotas: ("AlterClientQuotas", "DescribeClientQuotas"),
    scram: ("AlterUserScramCredentials", "DescribeUserScramCredentials"), consumer_groups: ("ConsumerGroupHeartbeat", "ConsumerGroupDescribe"),
    share_groups: ("ShareGroupHeartbeat", "ShareFetch", "ShareAcknowledge", "ShareGroupDescribe"),
    **log_themes.THEMES, **group_themes.THEMES, **admin_themes.THEMES, **txn_themes.THEMES,
}


def conversation(seed, number, offered, prefix, theme=None):
    """(theme's name, steps); or None when the theme needs what is not offered."""
    themes = [it for it in THEMES if theme in (None, it.__name__)]
    chosen = themes[number % len(themes)]
    if not all(api in offered for api in THEMES[chosen]):
        return chosen.__name__, None
    talk = Talk(seed, number, offered, prefix)
    chosen(talk)
    return chosen.__name__, talk.steps
