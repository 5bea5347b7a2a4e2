"""Themes about groups: members that say what they subscribe to, two members whose partitions the broker assigns, groups
asked in the language of another kind, classic members among newer ones, and share groups at work."""

import struct

from peer import Ref, Step, TopicId
from records import CODECS, Batch
from talk import commit, fetch_offsets, join, look_at_group


def subscription(*topics, version=1):
    """A consumer's metadata in the classic protocol."""
    def text(it):
        return struct.pack(">h", len(it)) + it.encode()
    raw = struct.pack(">hi", version, len(topics)) + b"".join(map(text, topics)) + struct.pack(">i", -1)
    return raw + (struct.pack(">i", 0) if version >= 1 else b"") + (struct.pack(">i", -1) if version >= 2 else b"") + (struct.pack(">h", -1) if version >= 3 else b"")


def assignment(topic, *partitions):
    return struct.pack(">hih", 0, 1, len(topic)) + topic.encode() + struct.pack(f">i{len(partitions)}ii", len(partitions), *partitions, -1)


def subscribers(talk):
    """A classic consumer as clients write it: what may be deleted and told of a group that subscribes to a topic."""
    topic, other, group = talk.name("t"), talk.name("other"), talk.name("g")
    talk.create(topic, 2)
    talk.create(other, 1)
    offer = (("range", subscription(topic, version=talk.some(0, 1, 3))),)
    join(talk, group, "", offer, versions=(4, 99))
    join(talk, group, Ref("m", ""), offer, versions=(4, 99))
    me = {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")}
    talk.ask("SyncGroup", {**me, "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": [{"MemberId": Ref("m", ""), "Assignment": assignment(topic, 0, 1)}]})
    for name in (topic, other):
        commit(talk, group, name, 4, Ref("g", 1), Ref("m", ""))
    for _ in range(7):
        match talk.random.randrange(8):
            case 0 | 1:
                talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": name, "Partitions": [{"PartitionIndex": talk.some(0, 0, 5)}]}
                                                                       for name in talk.some([topic], [other], [topic, other], [talk.name("nowhere"), other])]})
            case 2:
                look_at_group(talk, group)
            case 3:
                talk.ask("DeleteGroups", {"GroupsNames": talk.some([group], [group, group], [group, talk.name("nobody"), ""])})
            case 4:
                fetch_offsets(talk, group, talk.some(topic, other), everything=talk.chance(0.5), stable=talk.chance(0.5))
            case 5:
                # What transactions may commit for a group with members.
                talk.init("p", transactional_id=talk.name("xid"), versions=(3, 5))
                ids = {"TransactionalId": talk.name("xid"), "ProducerId": Ref("p", 1), "ProducerEpoch": Ref("p-epoch", 0)}
                talk.ask("AddOffsetsToTxn", {**ids, "GroupId": group})
                talk.ask("TxnOffsetCommit", {**ids, "GroupId": group, "GenerationIdOrMemberEpoch": talk.some(-1, Ref("g", 1), Ref("g", 1, 1), 7), "MemberId": talk.some("", Ref("m", ""), "made-up"),
                                             "Topics": [{"Name": topic, "TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 9, "CommittedMetadata": "x"}]}]},
                         versions=(talk.some(0, 3), 4))
                fetch_offsets(talk, group, topic, stable=True)
                talk.ask("EndTxn", {**ids, "Committed": talk.chance(0.6)}, versions=(0, 4))
                fetch_offsets(talk, group, topic)
            case 6:
                commit(talk, group, talk.some(topic, talk.name("nowhere")), 5, talk.some(Ref("g", 1), -1), talk.some(Ref("m", ""), ""), talk.some("", None, "x" * 4097), talk.some(0, 1, 9))
            case 7:
                talk.ask("Heartbeat", me)
    talk.ask("LeaveGroup", {"GroupId": group, "MemberId": Ref("m", ""), "Members": [{"MemberId": Ref("m", "")}, *talk.some([], [{"MemberId": Ref("m", "")}])]})
    talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0}]}]})
    fetch_offsets(talk, group, topic, everything=True)
    talk.ask("DeleteGroups", {"GroupsNames": [group]})
    fetch_offsets(talk, group, topic, everything=talk.chance(0.5))
    look_at_group(talk, group)


def heartbeat(talk, group, member, epoch, **more):
    keep = more.pop("keep", None)
    talk.ask("ConsumerGroupHeartbeat", {"GroupId": group, "MemberId": member, "MemberEpoch": epoch, **more}, versions=(1, 99), keep=keep)


def readers(talk):
    """Two members of a KIP-848 group: they share partitions, hand over, change what they read, leave and come back."""
    one, two, group = talk.name("t1"), talk.name("t2"), talk.name("c")
    talk.create(one, talk.some(1, 2))
    talk.create(two, 2)
    a, b = "made-up-a" + talk.prefix, "made-up-b" + talk.prefix
    static = talk.some({}, {}, {"InstanceId": "i"})
    names = {"SubscribedTopicNames": talk.some([one], [one, two], [one, talk.name("nowhere")])}
    pattern = {"SubscribedTopicNames": talk.some([], None), "SubscribedTopicRegex": talk.some(talk.prefix + "t.*", "nothing.*", "(", "")}
    joining = {"RebalanceTimeoutMs": 10_000, "TopicPartitions": []}
    heartbeat(talk, group, a, 0, **joining, **names, **static, ServerAssignor=talk.some(None, "range", "uniform"), keep={"a": ("MemberEpoch",)})
    all_of_one = [{"TopicId": TopicId(one), "Partitions": [0]}]
    heartbeat(talk, group, a, Ref("a", 1), TopicPartitions=all_of_one, keep={"a": ("MemberEpoch",)})
    if talk.chance(0.7):
        heartbeat(talk, group, b, 0, **joining, **talk.some(names, names, pattern), keep={"b": ("MemberEpoch",)})
    for _ in range(8):
        who, name = talk.some((a, "a"), (a, "a"), (b, "b"))
        own = {"keep": {name: ("MemberEpoch",)}}
        match talk.random.randrange(8):
            case 0 | 1:
                heartbeat(talk, group, who, Ref(name, 1), **own)
            case 2:
                heartbeat(talk, group, who, Ref(name, 1), TopicPartitions=talk.some([], all_of_one), **own)
            case 3:
                heartbeat(talk, group, who, Ref(name, 1), **talk.some({"SubscribedTopicNames": [two]}, {"SubscribedTopicNames": [one, two]}, {"SubscribedTopicRegex": talk.prefix + "t2"},
                                                                       {"ServerAssignor": "range"}, {"RebalanceTimeoutMs": 20_000}, {"RackId": "r"}, {"SubscribedTopicNames": []}), **own)
            case 4:
                heartbeat(talk, group, who, talk.some(-1, -2), **(static if who == a else {}))
            case 5:
                heartbeat(talk, group, talk.some(who, "made-up-c" + talk.prefix), 0, **joining, **names, **talk.some({}, static), **own)
            case 6:
                commit(talk, group, one, 3, talk.some(Ref(name, 1), Ref(name, 1, -1), Ref(name, 1, 1)), who, versions=talk.some((2, 8), (9, 99), (9, 99)))
                fetch_offsets(talk, group, one, member=talk.some(None, who), epoch=talk.some(Ref(name, 1), Ref(name, 1, 1), -1))
            case 7:
                talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": talk.some(one, two), "Partitions": [{"PartitionIndex": 0}]}]})
        if talk.chance(0.3):
            talk.ask("ConsumerGroupDescribe", {"GroupIds": [group], "IncludeAuthorizedOperations": talk.chance(0.3)})
    look_at_group(talk, group)
    for who in (a, b):
        heartbeat(talk, group, who, -1)
    talk.ask("ConsumerGroupDescribe", {"GroupIds": [group]})
    talk.ask("DeleteGroups", {"GroupsNames": [group]})
    talk.ask("ConsumerGroupDescribe", {"GroupIds": [group]})


def instances(talk):
    """Members of a KIP-848 group with one instance id: who comes while the other is there, after it left for a while or for good;
    wrong epochs and partitions that are not one's own."""
    topic, group = talk.name("t"), talk.name("c")
    talk.create(topic, talk.some(1, 2, 3))
    a, b, c = (f"made-up-{short}{talk.prefix}" for short in "abc")
    joining = {"RebalanceTimeoutMs": 10_000, "TopicPartitions": [], "SubscribedTopicNames": [topic]}
    heartbeat(talk, group, a, 0, **joining, InstanceId="i", keep={"a": ("MemberEpoch",)})
    owned = [{"TopicId": TopicId(topic), "Partitions": [0]}]
    for _ in range(9):
        who, name = talk.some((a, "a"), (a, "a"), (b, "b"))
        own = {"keep": {name: ("MemberEpoch",)}}
        match talk.random.randrange(10):
            case 0:
                heartbeat(talk, group, who, Ref(name, 1), InstanceId=talk.some("i", "i", "j", None), **own)
            case 1:
                heartbeat(talk, group, b, 0, **joining, InstanceId=talk.some("i", "i", "j"), keep={"b": ("MemberEpoch",)})
            case 2:
                heartbeat(talk, group, who, talk.some(-2, -1), InstanceId=talk.some("i", "i", "j", None))
            case 3:
                heartbeat(talk, group, who, talk.some(Ref(name, 1, 5), -3, -100, 2**31 - 1, 0), InstanceId="i")
            case 4:
                heartbeat(talk, group, who, Ref(name, 1, talk.some(0, 0, 5)), InstanceId="i", TopicPartitions=talk.some(
                    owned, [], [{"TopicId": TopicId(topic), "Partitions": [0, 7]}], [{"TopicId": TopicId(talk.name("nowhere")), "Partitions": [0]}], owned + owned), **own)
            case 5:
                heartbeat(talk, group, talk.some(a, b), 0, **joining, InstanceId="i", **own)
            case 6:
                talk.ask("OffsetCommit", {"GroupId": group, "GenerationIdOrMemberEpoch": talk.some(Ref(name, 1), Ref(name, 1, -1), -1), "MemberId": talk.some(who, ""), "GroupInstanceId": talk.some("i", "j", None),
                                          "Topics": [{"Name": topic, "TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 3, "CommittedMetadata": ""}]}]}, versions=(9, 99))
            case 7:
                talk.ask("ConsumerGroupDescribe", {"GroupIds": [group, *talk.some([], [group])]})
            case 8:
                talk.ask("LeaveGroup", {"GroupId": group, "MemberId": who, "Members": [{"MemberId": talk.some("", who), "GroupInstanceId": talk.some("i", "j", None)}]}, versions=(3, 99))
            case 9:
                heartbeat(talk, group, c, 0, **{**joining, **talk.some({}, {"TopicPartitions": owned}, {"RebalanceTimeoutMs": 0}, {"SubscribedTopicNames": [topic, topic]}, {"SubscribedTopicNames": [""]},
                                                                     {"RackId": ""}, {"MemberId": ""})})
    talk.ask("ConsumerGroupDescribe", {"GroupIds": [group]})


def wrong_kinds(talk):
    """A classic group, one of KIP-848, a share group and one that only has offsets, each asked as if it were another."""
    topic = talk.name("t")
    talk.create(topic)
    classic, newer, share, simple = groups = [talk.name(short) for short in ("classic", "newer", "share", "simple")]
    member = "made-up-" + talk.prefix
    join(talk, classic, "", versions=(0, 3))
    heartbeat(talk, newer, member, 0, RebalanceTimeoutMs=10_000, TopicPartitions=[], SubscribedTopicNames=[topic], keep={"e": ("MemberEpoch",)})
    epoch = Ref("e", 1)
    if "ShareGroupHeartbeat" in talk.offered:
        talk.ask("ShareGroupHeartbeat", {"GroupId": share, "MemberId": member, "MemberEpoch": 0, "SubscribedTopicNames": [topic]})
    commit(talk, simple, topic, 3)
    for _ in range(12):
        group = talk.some(*groups, talk.name("nobody"))
        match talk.random.randrange(15):
            case 0:
                talk.ask("DescribeGroups", {"Groups": groups})
            case 1:
                talk.ask("ConsumerGroupDescribe", {"GroupIds": groups})
            case 2:
                talk.ask("ShareGroupDescribe", {"GroupIds": groups})
            case 3:
                talk.ask("ListGroups", {"StatesFilter": talk.some([], ["Stable"], ["Empty"], ["Reconciling", "Stable"]), "TypesFilter": talk.some([], ["share"], ["consumer", "classic"], ["Share"])})
            case 4:
                join(talk, group, "", talk.some((("range", b"m"),), (("range", subscription(topic)),)), versions=(0, 3), as_="x", generation="y")
            case 5:
                talk.ask("Heartbeat", {"GroupId": group, "GenerationId": talk.some(epoch, Ref("e", 1, 1)), "MemberId": member})
            case 6:
                talk.ask("SyncGroup", {"GroupId": group, "GenerationId": 1, "MemberId": member, "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": []})
            case 7:
                talk.ask("LeaveGroup", {"GroupId": group, "MemberId": member, "Members": [{"MemberId": member}]})
            case 8:
                commit(talk, group, topic, 2, talk.some(-1, epoch, Ref("e", 1, 1)), talk.some("", member))
            case 9:
                fetch_offsets(talk, group, topic, everything=talk.chance(0.5), member=talk.some(None, member), epoch=talk.some(-1, epoch))
            case 10:
                heartbeat(talk, group, talk.some(member, "made-up-other" + talk.prefix), talk.some(0, epoch, Ref("e", 1, 3), -1), RebalanceTimeoutMs=10_000, TopicPartitions=[], SubscribedTopicNames=[topic])
            case 11:
                talk.ask("ShareGroupHeartbeat", {"GroupId": group, "MemberId": member, "MemberEpoch": talk.some(0, 1, 2, -1), "SubscribedTopicNames": [topic]})
            case 12:
                talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": topic, "Partitions": [{"PartitionIndex": 0}]}]})
            case 13:
                talk.ask("DeleteGroups", {"GroupsNames": [group]})
            case 14:
                talk.ask("DescribeShareGroupOffsets", {"Groups": [{"GroupId": group, "Topics": talk.some(None, [{"TopicName": topic, "Partitions": [0]}])}]})


def conversion(talk):
    """A classic group into which a newer member comes, and from which it goes again."""
    topic, group = talk.name("t"), talk.name("g")
    talk.create(topic, 2)
    offer = (("range", subscription(topic)),)
    join(talk, group, "", offer, versions=(0, 3))
    me = {"GroupId": group, "GenerationId": Ref("g", 1), "MemberId": Ref("m", "")}
    sync = {**me, "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": [{"MemberId": Ref("m", ""), "Assignment": assignment(topic, 0, 1)}]}
    talk.ask("SyncGroup", sync)
    commit(talk, group, topic, 4, Ref("g", 1), Ref("m", ""))
    newcomer = "made-up-" + talk.prefix
    heartbeat(talk, group, newcomer, 0, RebalanceTimeoutMs=10_000, TopicPartitions=[], SubscribedTopicNames=[topic], keep={"e": ("MemberEpoch",)})
    talk.ask("DescribeGroups", {"Groups": [group]})
    talk.ask("ConsumerGroupDescribe", {"GroupIds": [group]})
    for _ in range(2):
        talk.ask("Heartbeat", me)
        join(talk, group, Ref("m", ""), offer, versions=(0, 3))
        talk.ask("SyncGroup", {**sync, "Assignments": []})
        heartbeat(talk, group, newcomer, Ref("e", 1), keep={"e": ("MemberEpoch",)})
        commit(talk, group, topic, 5, Ref("g", 1), Ref("m", ""))
        commit(talk, group, topic, 6, Ref("e", 1), newcomer, partition=1, versions=(9, 99))
    heartbeat(talk, group, newcomer, -1)
    look_at_group(talk, group)
    talk.ask("Heartbeat", me)
    talk.ask("LeaveGroup", {"GroupId": group, "MemberId": Ref("m", ""), "Members": [{"MemberId": Ref("m", "")}]})
    look_at_group(talk, group)
    fetch_offsets(talk, group, topic)


def sharing(talk):
    """A member of a share group takes records and accepts, releases and rejects them; and what is told of the group's offsets."""
    topic, group = talk.name("t"), talk.name("s")
    talk.create(topic, 1)
    talk.ask("IncrementalAlterConfigs", {"Resources": [{"ResourceType": 32, "ResourceName": group, "Configs": [
        {"Name": "share.auto.offset.reset", "ConfigOperation": 0, "Value": "earliest"}]}]})
    for _ in range(3):
        talk.produce(topic, Batch(*talk.values(3), codec=talk.some("none", *CODECS)))
    member = "AAAAAAAAQACAAAAAAAAA" + "AA"
    own = {"GroupId": group, "MemberId": member}
    talk.ask("ShareGroupHeartbeat", {**own, "MemberEpoch": 0, "SubscribedTopicNames": [topic]}, keep={"e": ("MemberEpoch",)})
    # Until Kafka has made the group's state, there is nothing to read.
    for _ in range(3):
        talk.steps.append(Step("sleep", milliseconds=700))
        talk.steps.append(Step("ShareGroupHeartbeat", 1, {**own, "MemberEpoch": Ref("e", 1)}, keep={"e": ("MemberEpoch",)}, unseen=True))
    place = {"TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0}]}
    # Batches have three records: they are handed out as wholes or not, and told in runs.
    asking = {**own, "MaxWaitMs": 1500, "MinBytes": 1, "MaxBytes": 1 << 20, "MaxRecords": talk.some(100, 100, 1, 2, 3, 4, 7), "BatchSize": talk.some(100, 100, 1, 2, 3, 4),
              "ShareAcquireMode": talk.some(0, 0, 1)}
    talk.ask("ShareFetch", {**asking, "ShareSessionEpoch": 0, "Topics": [place], "MaxWaitMs": 300}, unseen=True)
    for epoch in range(1, 7):
        acknowledged = [{"FirstOffset": talk.some(0, 1, 3), "LastOffset": talk.some(1, 2, 4, 8), "AcknowledgeTypes": [talk.some(1, 1, 2, 3, 0, 4, 9)]}]
        named = [{"TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": 0, "AcknowledgementBatches": acknowledged}]}]
        match talk.random.randrange(4):
            case 0 | 1:
                talk.ask("ShareFetch", {**asking, "ShareSessionEpoch": epoch, "Topics": []})
            case 2:
                talk.ask("ShareFetch", {**asking, "MaxWaitMs": 100, "ShareSessionEpoch": epoch, "Topics": named})
            case 3:
                talk.ask("ShareAcknowledge", {**own, "ShareSessionEpoch": epoch, "Topics": named})
    talk.ask("DescribeShareGroupOffsets", {"Groups": [{"GroupId": group, "Topics": [{"TopicName": topic, "Partitions": [0]}]}]})
    talk.ask("AlterShareGroupOffsets", {"GroupId": group, "Topics": [{"TopicName": topic, "Partitions": [{"PartitionIndex": 0, "StartOffset": 2}]}]})
    talk.ask("DeleteShareGroupOffsets", {"GroupId": group, "Topics": [{"TopicName": topic}]})
    talk.ask("ShareGroupDescribe", {"GroupIds": [group]})
    talk.ask("ShareAcknowledge", {**own, "ShareSessionEpoch": talk.some(-1, 99), "Topics": []})
    talk.ask("ShareGroupHeartbeat", {**own, "MemberEpoch": -1})
    talk.ask("ShareGroupDescribe", {"GroupIds": [group]})
    talk.ask("AlterShareGroupOffsets", {"GroupId": group, "Topics": [{"TopicName": topic, "Partitions": [{"PartitionIndex": talk.some(0, 7), "StartOffset": 2}]},
                                                                     {"TopicName": talk.name("nowhere"), "Partitions": [{"PartitionIndex": 0, "StartOffset": 2}]}]})
    talk.ask("DescribeShareGroupOffsets", {"Groups": [{"GroupId": group, "Topics": talk.some(None, [{"TopicName": topic, "Partitions": [0]}])}]})
    talk.ask("DeleteShareGroupOffsets", {"GroupId": group, "Topics": [{"TopicName": topic}, {"TopicName": talk.name("nowhere")}]})
    talk.ask("DescribeShareGroupOffsets", {"Groups": [{"GroupId": group, "Topics": None}]})
    talk.ask("DeleteGroups", {"GroupsNames": [group]})


def share_sessions(talk):
    """A share session's epochs, partitions and acknowledgements: out of turn, overlapping, beyond what was taken, of the wrong number."""
    topic, other, group = talk.name("t"), talk.name("other"), talk.name("s")
    talk.create(topic, 2)
    talk.create(other, 1)
    talk.ask("IncrementalAlterConfigs", {"Resources": [{"ResourceType": 32, "ResourceName": group, "Configs": [
        {"Name": "share.auto.offset.reset", "ConfigOperation": 0, "Value": "earliest"}]}]})
    talk.produce(topic, Batch(*talk.values(6)))
    member, stranger = "AAAAAAAAQACAAAAAAAAA" + "AA", "AAAAAAAAQACAAAAAAAAAAQ"
    own = {"GroupId": group, "MemberId": member}
    talk.ask("ShareGroupHeartbeat", {**own, "MemberEpoch": 0, "SubscribedTopicNames": [topic]}, keep={"e": ("MemberEpoch",)}, unseen=True)
    # Until Kafka has made the group's state, there is nothing to read.
    for _ in range(3):
        talk.steps.append(Step("sleep", milliseconds=700))
        talk.steps.append(Step("ShareGroupHeartbeat", 1, {**own, "MemberEpoch": Ref("e", 1)}, keep={"e": ("MemberEpoch",)}, unseen=True))
    sizes = {"MaxWaitMs": 100, "MinBytes": 1, "MaxBytes": 1 << 20, "MaxRecords": 100, "BatchSize": 100}

    def place(*batches, topic=topic, partition=0):
        return {"TopicId": TopicId(topic), "Partitions": [{"PartitionIndex": partition, "AcknowledgementBatches": [
            {"FirstOffset": first, "LastOffset": last, "AcknowledgeTypes": types} for first, last, types in batches]}]}

    def fetch(epoch, *topics, who=member, **more):
        talk.ask("ShareFetch", {**sizes, "GroupId": group, "MemberId": who, "ShareSessionEpoch": epoch, "Topics": list(topics), **more})

    def settle(epoch, *topics, who=member):
        talk.ask("ShareAcknowledge", {"GroupId": group, "MemberId": who, "ShareSessionEpoch": epoch, "Topics": list(topics)})

    if talk.chance(0.3):
        settle(talk.some(0, 1, -1), place((0, 0, [1])))
        fetch(talk.some(1, -1, 0), place((0, 0, [1])))
    talk.ask("ShareFetch", {**sizes, **own, "ShareSessionEpoch": 0, "Topics": [place()], "MaxWaitMs": 1500}, unseen=True)
    batches = lambda: talk.some([(0, 2, [1]), (2, 3, [1])], [(0, 1, [1]), (0, 1, [2])], [(3, 3, [1]), (0, 0, [1])], [(2, 1, [1])], [(0, 2, [1, 2])], [(0, 2, [1, 2, 3])],  # noqa: E731
                                [(0, 1, [])], [(4, 9, [1])], [(0, 0, [0])], [(1, 1, [2])], [(5, 5, [3])], [(-1, 0, [1])], [(0, 0, [7])], [(0, 0, [-1])], [], [(0, 0, [4])])
    epoch = 1
    for _ in range(7):
        match talk.random.randrange(8):
            case 0 | 1:
                settle(epoch, place(*batches()))
                epoch += 1
            case 2:
                fetch(epoch, place(*batches()))
                epoch += 1
            case 3:
                settle(talk.some(epoch + 1, epoch + 5, 0), place((0, 0, [1])))
            case 4:
                fetch(talk.some(epoch + 1, epoch + 5, epoch + 9))
            case 5:
                settle(epoch, place((0, 0, [1]), topic=talk.some(other, talk.name("nowhere"))), place((0, 0, [1]), partition=talk.some(1, 9)))
                epoch += 1
            case 6:
                fetch(epoch, place(topic=topic, partition=talk.some(1, 9)), ForgottenTopicsData=talk.some([], [{"TopicId": TopicId(topic), "Partitions": [0]}], [{"TopicId": TopicId(other), "Partitions": [0]}]))
                epoch += 1
            case 7:
                settle(talk.some(1, -1), place((0, 0, [1])), who=talk.some(stranger, "nonsense", ""))
    talk.some(settle, fetch)(-1, *talk.some([], [place((0, 0, [1]))]))
    settle(epoch)
    fetch(epoch)


NEWER = ("ConsumerGroupHeartbeat", "ConsumerGroupDescribe")
SHARE = ("ShareGroupHeartbeat", "ShareFetch", "ShareAcknowledge", "ShareGroupDescribe", "DescribeShareGroupOffsets", "AlterShareGroupOffsets", "DeleteShareGroupOffsets")
THEMES = {subscribers: ("AddOffsetsToTxn",), readers: NEWER, instances: NEWER, wrong_kinds: NEWER + SHARE, conversion: NEWER, sharing: SHARE, share_sessions: SHARE}
