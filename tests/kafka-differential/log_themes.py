"""Themes about logs: formats of old, records that are wrong within a good batch, sizes, several partitions in a request,
what DeleteRecords leaves; every version of a request, and requests that end too soon or too late."""

from peer import At, Ref, Step, TopicId
from records import CODECS, TRANSACTIONAL, Batch, MessageSet, Row, record, rough


def old_formats(talk):
    """Message sets of format 0 and 1, several batches in a partition, and mixtures."""
    topic = talk.name("old")
    talk.create(topic, 1, talk.some({}, {}, {"cleanup.policy": "compact"}, {"message.timestamp.type": "LogAppendTime"}))
    for _ in range(8):
        values = talk.values(talk.some(1, 2))
        codec = talk.some("none", "none", "gzip", "snappy", "lz4")
        good, old = Batch(*values), MessageSet(*values, magic=talk.some(0, 1), codec=codec)
        talk.produce(topic, talk.some(old, old, MessageSet(*values, magic=1, crc=7), Row(good, good), Row(good, old), Row(old, good),
                                      Row(good, Batch(*values, crc=3)), Row(Batch(*values, producer=(9, 0, 0)), Batch(*values, producer=(9, 0, 1)))),
                     acks=talk.some(-1, -1, 1))
    talk.state(topic)


def broken_records(talk):
    """A batch whose frame is right around records that are not."""
    topic = talk.name("r")
    talk.create(topic, 1, talk.some({}, {}, {"message.timestamp.type": "LogAppendTime"}, {"cleanup.policy": "compact"}, {"compression.type": "gzip"}))
    good = record(b"good", 0, b"k")
    bodies = {
        "attributes": rough(attributes=0x55), "offset beyond": rough(offset=7), "offset negative": rough(offset=-1), "offsets twice": good + good,
        "offsets backwards": record(b"a", 1, b"k") + record(b"b", 0, b"k"), "too long": rough(size=40), "too short": rough(size=3), "no size": b"",
        "negative size": rough(size=-5), "huge size": rough(size=2**31 - 1), "key beyond": rough(key=50), "key negative": rough(key=-7),
        "value beyond": rough(value_size=99), "value negative": rough(value_size=-9), "value null": rough(b"", value_size=-1), "headers missing": rough(headers=3),
        "headers negative": rough(headers=-1), "header key null": rough(headers=1, tail=b"\x01\x01"), "header value beyond": rough(headers=1, tail=b"\x02k\x50"),
        "rest": rough(tail=b"junk"), "behind": good + b"\0", "junk behind": good + b"more", "time far": rough(time=2**40), "time back": rough(time=-2**40),
        "header": record(b"v", 0, b"k", 0, [(b"h", b"x"), (b"h", None), (b"", b"")]), "varint endless": b"\xff" * 12, "two of one": record(b"v", 0, b"k"),
    }
    for _ in range(8):
        what = talk.some(*bodies)
        count = 2 if what in ("offsets twice", "offsets backwards", "two of one") else 1
        talk.produce(topic, Batch(*[b"v"] * count, codec=talk.some("none", "none", *CODECS), what=what, raw=bodies[what]))
        if talk.chance(0.4):
            talk.state(topic)
    talk.state(topic)


def sizes(talk):
    """max.message.bytes of the topic and what batches weigh, packed and unpacked."""
    topic, limit = talk.name("big"), talk.some(200, 1000, 1_048_588)
    talk.create(topic, 1, {"max.message.bytes": str(limit), **talk.some({}, {}, {"compression.type": "gzip"}, {"compression.type": "uncompressed"}, {"compression.type": "zstd"})})
    for _ in range(6):
        weight = talk.some(limit - 70, limit - 61 - 8, limit - 60, limit, limit + 1, limit * 3) if limit < 10_000 else talk.some(1000, limit - 100, limit, limit + 100)
        talk.produce(topic, Batch(*talk.values(1, weight), codec=talk.some("none", "gzip", *CODECS)))
        talk.list_offsets(topic, -1, versions=(1, 99))


def several(talk):
    """Fetch and ListOffsets of several partitions and topics, some of them not there, some twice; limits of bytes over all."""
    one, two = talk.name("one"), talk.name("two")
    talk.create(one, 3)
    talk.create(two, 1)
    for topic, partition in ((one, 0), (one, 1), (two, 0)):
        for _ in range(talk.some(1, 2)):
            talk.produce(topic, Batch(*talk.values(talk.some(1, 3), 40), codec=talk.some("none", *CODECS), time=talk.some(0, -60_000)), partition)
    names = (one, two, talk.name("nowhere"))
    for _ in range(5):
        asked = [(topic, talk.some([0], [0, 1], [1, 0, 2], [2], [0, 7])) for topic in talk.random.sample(names, talk.some(1, 2, 3))]
        epoch, limit = talk.some(-1, -1, 0, 3), talk.some(1 << 20, 150, 1, 0)
        talk.ask("Fetch", {"ReplicaId": -1, "MaxWaitMs": talk.some(0, 20), "MinBytes": talk.some(0, 1, 5000), "MaxBytes": talk.some(1 << 20, 300, 150, 1),
                           "SessionEpoch": -1, "IsolationLevel": talk.some(0, 1), "Topics": [
                               {"Topic": topic, "TopicId": TopicId(topic), "Partitions": [
                                   {"Partition": part, "FetchOffset": talk.some(0, 0, 1, 50), "PartitionMaxBytes": limit, "CurrentLeaderEpoch": epoch, "LastFetchedEpoch": -1}
                                   for part in parts]} for topic, parts in asked]})
        talk.ask("ListOffsets", {"ReplicaId": talk.some(-1, -1, -1, -2, 5), "IsolationLevel": talk.some(0, 1), "Topics": [
            {"Name": topic, "Partitions": [{"PartitionIndex": part, "Timestamp": talk.some(-1, -2, At(0), At(-60_000)), "CurrentLeaderEpoch": epoch}
                                           for part in parts + talk.some([], [], parts[:1])]} for topic, parts in asked]})
        talk.ask("OffsetForLeaderEpoch", {"ReplicaId": -1, "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": part, "CurrentLeaderEpoch": epoch, "LeaderEpoch": talk.some(0, 0, 1, -1)} for part in parts]} for topic, parts in asked]})
        talk.ask("DeleteRecords", {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": part, "Offset": talk.some(0, 0, 1)} for part in parts]}
                                              for topic, parts in asked], "TimeoutMs": 5000})


def trimmed(talk):
    """What is left of compressed and transactional batches that DeleteRecords has cut, in every way of asking."""
    topic, name = talk.name("cut"), talk.name("xid")
    talk.create(topic)
    talk.produce(topic, Batch(*talk.values(4), codec=talk.some("none", *CODECS), time=talk.some(0, -60_000)))
    if "EndTxn" in talk.offered:
        talk.init("p", transactional_id=name, versions=(3, 5))
        ids = {"ProducerId": Ref("p", 4321), "ProducerEpoch": Ref("p-epoch", 0)}
        talk.ask("AddPartitionsToTxn", {"V3AndBelowTransactionalId": name, "V3AndBelowProducerId": ids["ProducerId"], "V3AndBelowProducerEpoch": ids["ProducerEpoch"],
                                        "V3AndBelowTopics": [{"Name": topic, "Partitions": [0]}]}, versions=(0, 3))
        talk.produce_in(topic, name, Batch(*talk.values(3), producer=talk.producer("p", 0), attributes=TRANSACTIONAL), 0, (3, 11))
        talk.ask("EndTxn", {"TransactionalId": name, **ids, "Committed": talk.chance(0.5)}, versions=(0, 4))
    talk.produce(topic, Batch(*talk.values(2), codec=talk.some("none", *CODECS), time=60_000))
    for offset in sorted(talk.random.sample([1, 2, 3, 4, 5, 7, 8, 9], 3)):
        talk.ask("DeleteRecords", {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": offset}]}], "TimeoutMs": 5000})
        talk.list_offsets(topic, -2, -1, At(-60_000), At(0), At(60_000), isolation=talk.some(0, 1))
        for isolation in (0, 1):
            talk.fetch(topic, talk.some(offset, offset, offset - 1, offset + 1), isolation=isolation)
    talk.ask("DescribeProducers", {"Topics": [{"Name": topic, "PartitionIndexes": [0]}]})


def leftovers(talk):
    """What is told of a log after DeleteRecords, by every way of asking, on topics of several kinds and while a transaction is open."""
    topic = talk.name("left")
    talk.create(topic, 2, talk.some({}, {}, {"cleanup.policy": "compact"}, {"cleanup.policy": "compact,delete"}, {"cleanup.policy": ""}, {"message.timestamp.type": "LogAppendTime"}))
    for _ in range(3):
        talk.produce(topic, Batch(*talk.values(3), keys=[b"a", b"b", b"c"], codec=talk.some("none", *CODECS), time=talk.some(0, -60_000, 60_000)))
    if talk.chance(0.4) and "EndTxn" in talk.offered:
        name = talk.name("xid")
        talk.init("p", transactional_id=name, versions=(3, 5))
        talk.ask("AddPartitionsToTxn", {"V3AndBelowTransactionalId": name, "V3AndBelowProducerId": Ref("p", 4321), "V3AndBelowProducerEpoch": Ref("p-epoch", 0),
                                        "V3AndBelowTopics": [{"Name": topic, "Partitions": [0]}]}, versions=(0, 3))
        talk.produce_in(topic, name, Batch(*talk.values(2), keys=[b"a", b"b"], producer=talk.producer("p", 0), attributes=TRANSACTIONAL), 0, (3, 11))
        talk.produce(topic, Batch(*talk.values(1), keys=[b"d"]))
    for _ in range(4):
        cuts = talk.some([(0, talk.some(1, 3, 4, 9, 10, -1))], [(0, 2), (1, 0)], [(0, -1), (1, -1)], [(0, 100)], [(0, -2), (1, 1)], [(7, 0), (0, 5)], [(0, 3), (1, 100)])
        talk.ask("DeleteRecords", {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": part, "Offset": offset} for part, offset in cuts]}], "TimeoutMs": talk.some(5000, 5000, 0)})
        talk.list_offsets(topic, -1, -2, -3, -4, At(-60_000), At(0), At(60_000), isolation=talk.some(0, 1))
        for epoch in talk.random.sample([-1, 0, 1, 2**31 - 1], 2):
            talk.ask("OffsetForLeaderEpoch", {"ReplicaId": talk.some(-1, -1, -2), "Topics": [{"Topic": topic, "Partitions": [
                {"Partition": part, "CurrentLeaderEpoch": talk.some(-1, 0), "LeaderEpoch": epoch} for part in (0, 1)]}]})
        for _ in range(2):
            talk.fetch(topic, talk.some(0, 1, 2, 4, 5, 8, 9, 10, 12, 13), isolation=talk.some(0, 1), epoch=talk.some(-1, 0, 1), max_bytes=talk.some(1 << 20, 1))
        if talk.chance(0.4):
            talk.produce(topic, Batch(*talk.values(1), keys=[b"e"], time=30_000))
    talk.state(topic)
    talk.state(topic, 1)


def long_sessions(talk):
    """A fetch session while its topics grow, go and come back; partitions named and forgotten in one request, or twice; sessions
    taken over by another connection, opened anew in place of the old, and closed."""
    one, two = talk.name("s1"), talk.name("s2")
    talk.create(one, 2)
    talk.create(two, 1)
    talk.produce(one, Batch(*talk.values(2)))
    versions = talk.some((7, 12), (13, 99), (13, 99))

    def ask(epoch, parts=(), forgotten=(), session=Ref("s", 0), connection="a", keep=None, max_bytes=1 << 20, isolation=0):
        topics, gone = {}, {}
        for topic, partition, offset in parts:
            topics.setdefault(topic, []).append({"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20})
        for topic, partition in forgotten:
            gone.setdefault(topic, []).append(partition)
        talk.ask("Fetch", {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": max_bytes, "SessionId": session, "SessionEpoch": epoch, "IsolationLevel": isolation,
                           "Topics": [{"Topic": topic, "TopicId": TopicId(topic), "Partitions": found} for topic, found in topics.items()],
                           "ForgottenTopicsData": [{"Topic": topic, "TopicId": TopicId(topic), "Partitions": found} for topic, found in gone.items()]},
                 versions=versions, keep=keep, connection=connection)

    ask(0, talk.some([(one, 0, 0), (one, 1, 0), (two, 0, 0)], [(one, 0, 0)], [(one, 0, 2), (one, 7, 0)]), session=0, keep={"s": ("SessionId",)})
    epoch = 1
    for _ in range(9):
        match talk.random.randrange(10):
            case 0 | 1:
                talk.produce(talk.some(one, two), Batch(*talk.values(1)), talk.some(0, 0, 1))
                ask(epoch, talk.some([], [], [(one, 0, 2)]), max_bytes=talk.some(1 << 20, 1 << 20, 1), connection=talk.some("a", "a", "b"))
                epoch += 1
            case 2:
                # Named twice, forgotten twice, and what is not in it; the last of it forgotten, which ends it.
                ask(epoch, *talk.some(([(one, 0, 0)], [(two, 0), (two, 0)]), ([(two, 0, 0), (two, 0, 0)], [(two, 9), (one, 0)]), ([], [(one, 0), (one, 0)]), ([(one, 1, 0)], [(talk.name("nowhere"), 0)]),
                                      ([], [(one, 0), (one, 1), (two, 0)])))
                epoch += 1
            case 3:
                ask(epoch, [], [(one, 1), (two, 0)])
                ask(epoch + 1, [(two, 0, talk.some(0, 1, 50))])
                epoch += 2
            case 4:
                talk.ask("DeleteTopics", {"TopicNames": [two], "Topics": [{"Name": two}], "TimeoutMs": 10_000}, versions=(1, 6))
                ask(epoch, talk.some([], [(two, 0, 0)]))
                epoch += 1
                if talk.chance(0.6):
                    talk.create(two, talk.some(1, 2))
                    ask(epoch, talk.some([], [(two, 0, 0)]))
                    epoch += 1
            case 5:
                talk.ask("CreatePartitions", {"Topics": [{"Name": one, "Count": 3, "Assignments": None}], "TimeoutMs": 10_000})
                ask(epoch, [(one, 2, 0)])
                epoch += 1
            case 6:
                talk.ask("DeleteRecords", {"Topics": [{"Name": one, "Partitions": [{"PartitionIndex": 0, "Offset": talk.some(1, -1)}]}], "TimeoutMs": 5000})
                ask(epoch)
                epoch += 1
            case 7:
                # A new one in place of the old; the old is no more.
                ask(0, [(one, 0, 0)], keep={"s2": ("SessionId",)})
                ask(epoch)
                ask(1, session=Ref("s2", 0))
                break
            case 8:
                ask(talk.some(0, epoch, epoch + 1, 2**31 - 1), talk.some([], [(one, 0, 0)]), session=talk.some(0, 77, Ref("s", 0)), connection="c")
                break
            case 9:
                ask(epoch, [(one, 0, 0)], isolation=1)
                epoch += 1
    ask(-1, talk.some([], [(one, 0, 0)], [(one, 0, 0), (two, 0, 0)]), session=talk.some(Ref("s", 0), 0, 77))
    ask(epoch)


def every_version(talk):
    """The same request in each version that there is."""
    topic, group = talk.name("v"), talk.name("g")
    talk.create(topic, 2)
    talk.produce(topic, Batch(*talk.values(2)))
    named = {"Name": topic, "TopicId": TopicId(topic)}
    recipes = {
        "Metadata": {"Topics": [{"Name": topic}], "AllowAutoTopicCreation": False, "IncludeTopicAuthorizedOperations": True, "IncludeClusterAuthorizedOperations": True},
        "Produce": {"Acks": -1, "TimeoutMs": 5000, "TopicData": [{**named, "PartitionData": [{"Index": part, "Records": Batch(b"x", codec=talk.some("none", "gzip", "lz4"))}
                                                                                            for part in (0, 5)]}]},
        "Fetch": {"ReplicaId": -1, "MaxWaitMs": 0, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionEpoch": -1, "Topics": [
            {"Topic": topic, "TopicId": TopicId(topic), "Partitions": [
                {"Partition": part, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20, "CurrentLeaderEpoch": -1} for part in (0, 1, 7)]}]},
        "ListOffsets": {"ReplicaId": -1, "TimeoutMs": 1000, "Topics": [{"Name": topic, "Partitions": [
            {"PartitionIndex": part, "Timestamp": at, "CurrentLeaderEpoch": -1} for part, at in ((0, -1), (1, -2), (9, -1))]}]},
        "OffsetCommit": {"GroupId": group, "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [{**named, "Partitions": [
            {"PartitionIndex": part, "CommittedOffset": 1, "CommittedMetadata": "m"} for part in (0, 8)]}]},
        "OffsetFetch": {"GroupId": group, "Topics": [{"Name": topic, "PartitionIndexes": [0, 1, 8]}], "Groups": [
            {"GroupId": group, "MemberId": None, "MemberEpoch": -1, "Topics": [{**named, "PartitionIndexes": [0, 1, 8]}]}]},
        "FindCoordinator": {"Key": group, "KeyType": talk.some(0, 0, 1), "CoordinatorKeys": [group]},
        "JoinGroup": {"GroupId": group, "SessionTimeoutMs": 10_000, "RebalanceTimeoutMs": 10_000, "MemberId": "made-up", "ProtocolType": "consumer",
                      "Protocols": [{"Name": "range", "Metadata": b""}]},
        "SyncGroup": {"GroupId": group, "GenerationId": 1, "MemberId": "made-up", "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": []},
        "Heartbeat": {"GroupId": group, "GenerationId": 1, "MemberId": "made-up"},
        "LeaveGroup": {"GroupId": group, "MemberId": "made-up", "Members": [{"MemberId": "made-up"}, {"MemberId": "", "GroupInstanceId": "i"}]},
        "DescribeGroups": {"Groups": [group, talk.name("nobody"), ""], "IncludeAuthorizedOperations": True},
        "ListGroups": {"StatesFilter": [], "TypesFilter": []},
        "DeleteTopics": {"TopicNames": [talk.name("nowhere"), ""], "Topics": [{"Name": talk.name("nowhere")}], "TimeoutMs": 1000},
        "DeleteRecords": {"Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Offset": 1}, {"PartitionIndex": 9, "Offset": 1}]}], "TimeoutMs": 5000},
        "InitProducerId": {"TransactionalId": None, "TransactionTimeoutMs": 60_000, "ProducerId": -1, "ProducerEpoch": -1},
        "OffsetForLeaderEpoch": {"ReplicaId": -1, "Topics": [{"Topic": topic, "Partitions": [
            {"Partition": part, "CurrentLeaderEpoch": -1, "LeaderEpoch": 0} for part in (0, 9)]}]},
        "DescribeConfigs": {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": ["retention.ms", "cleanup.policy"]}], "IncludeSynonyms": True},
        "AlterConfigs": {"Resources": [{"ResourceType": 2, "ResourceName": topic, "Configs": [{"Name": "retention.ms", "Value": "77777"}]}]},
        "IncrementalAlterConfigs": {"Resources": [{"ResourceType": 2, "ResourceName": topic, "Configs": [{"Name": "retention.ms", "ConfigOperation": 0, "Value": "88888"}]}]},
        "CreatePartitions": {"Topics": [{"Name": topic, "Count": 2, "Assignments": None}], "TimeoutMs": 5000},
        "DescribeLogDirs": {"Topics": [{"Topic": topic, "Partitions": [0, 1]}]},
        "DeleteGroups": {"GroupsNames": [talk.name("nobody"), ""]},
        "ElectLeaders": {"ElectionType": 0, "TopicPartitions": [{"Topic": topic, "Partitions": [0]}], "TimeoutMs": 1000},
        "DescribeCluster": {"IncludeClusterAuthorizedOperations": True, "EndpointType": 1},
        "ApiVersions": {"ClientSoftwareName": "a", "ClientSoftwareVersion": "1"},
        "DescribeAcls": {"ResourceTypeFilter": 2, "ResourceNameFilter": topic, "PatternTypeFilter": 3, "PrincipalFilter": None, "HostFilter": None,
                         "Operation": 1, "PermissionType": 1},
        "AlterReplicaLogDirs": {"Dirs": [{"Path": "/nowhere/at/all", "Topics": [{"Name": topic, "Partitions": [0]}]}]},
        "DescribeClientQuotas": {"Components": [{"EntityType": "user", "MatchType": 0, "Match": talk.name("u")}], "Strict": True},
        "AddPartitionsToTxn": {"V3AndBelowTransactionalId": talk.name("nobody"), "V3AndBelowProducerId": 1, "V3AndBelowProducerEpoch": 0,
                               "V3AndBelowTopics": [{"Name": topic, "Partitions": [0]}]},
        "AddOffsetsToTxn": {"TransactionalId": talk.name("nobody"), "ProducerId": 1, "ProducerEpoch": 0, "GroupId": group},
        "EndTxn": {"TransactionalId": talk.name("nobody"), "ProducerId": 1, "ProducerEpoch": 0, "Committed": True},
        "TxnOffsetCommit": {"TransactionalId": talk.name("nobody"), "GroupId": group, "ProducerId": 1, "ProducerEpoch": 0, "Topics": [
            {"Name": topic, "TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]},
        "ListTransactions": {"StateFilters": ["Nonsense"], "ProducerIdFilters": [123456789]},
        "ConsumerGroupDescribe": {"GroupIds": [group, talk.name("nobody")], "IncludeAuthorizedOperations": True},
        "ShareGroupDescribe": {"GroupIds": [group, talk.name("nobody")], "IncludeAuthorizedOperations": True},
        "CreateDelegationToken": {"Renewers": [], "MaxLifetimeMs": -1},
        "RenewDelegationToken": {"Hmac": b"x", "RenewPeriodMs": 1000},
        "ExpireDelegationToken": {"Hmac": b"x", "ExpiryTimePeriodMs": 1000},
        "DescribeDelegationToken": {"Owners": None},
        "UpdateFeatures": {"TimeoutMs": 1000, "FeatureUpdates": [{"Feature": "no.such.feature", "MaxVersionLevel": 1, "UpgradeType": 1}]},
    }
    for api in talk.random.sample(sorted(set(recipes) & set(talk.offered)), 8):
        low, high = talk.offered[api]
        if api in ("Produce", "OffsetFetch"):
            low = max(low, {"Produce": 3, "OffsetFetch": 1}[api])
        # Later versions of AddPartitionsToTxn are for brokers.
        high = min(high, 3) if api == "AddPartitionsToTxn" else high
        for version in range(low, high + 1):
            talk.ask(api, {**recipes[api]}, versions=(version, version))


def unfinished(talk):
    """Requests with octets missing at the end, or with some that nobody asked for."""
    topic, group = talk.name("u"), talk.name("g")
    talk.create(topic)
    bodies = {
        "Metadata": {"Topics": [{"Name": topic}], "AllowAutoTopicCreation": False},
        "Heartbeat": {"GroupId": group, "GenerationId": 1, "MemberId": "made-up"},
        "ListOffsets": {"ReplicaId": -1, "TimeoutMs": 1000, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1, "CurrentLeaderEpoch": -1}]}]},
        "DescribeGroups": {"Groups": [group]}, "FindCoordinator": {"Key": group, "KeyType": 0, "CoordinatorKeys": [group]},
        "OffsetCommit": {"GroupId": group, "GenerationIdOrMemberEpoch": -1, "MemberId": "", "Topics": [{"Name": topic, "TopicId": TopicId(topic), "Partitions": [
            {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": "m"}]}]},
        "DeleteGroups": {"GroupsNames": [talk.name("nobody")]}, "DescribeCluster": {"EndpointType": 1},
    }
    for _ in range(8):
        api = talk.some(*bodies)
        low, high = talk.offered[api]
        talk.steps.append(Step(api, talk.random.randint(low, high), bodies[api], cut=talk.some(1, 2, 5, 9, -1, -7)))


THEMES = {old_formats: (), broken_records: (), sizes: (), several: (), trimmed: (), leftovers: (), long_sessions: (), every_version: (), unfinished: ()}
