"""Themes about transactions over several partitions and groups, with errors in the middle, and about two producers of one
transactional id."""

from peer import Ref, TopicId
from records import TRANSACTIONAL, Batch
from talk import commit, fetch_offsets

# Versions of Produce, EndTxn and TxnOffsetCommit by which a producer says which version of transactions it speaks (KIP-890).
FIRST, SECOND = ((3, 11), (0, 4), (0, 4)), ((12, 99), (5, 5), (5, 99))
OFTEN, SELDOM = 3, 1


class Producer:
    """A transactional producer as clients write it: it counts its sequences, and begins anew with each epoch. `who`: under
    which name its id and epoch are kept."""

    def __init__(self, talk, transactional_id, second, who="p", connection="a"):
        self.talk, self.id, self.second, self.who, self.connection = talk, transactional_id, second, who, connection
        self.produce_versions, self.end_versions, self.offset_versions = SECOND if second else FIRST
        self.following = {}

    def ids(self):
        return {"ProducerId": Ref(self.who, 4321), "ProducerEpoch": Ref(f"{self.who}-epoch", 0)}

    def init(self, **more):
        self.talk.init(self.who, transactional_id=self.id, versions=(3, 5), connection=self.connection, **more)
        self.following = {}

    def add(self, *parts):
        topics = {}
        for topic, partition in parts:
            topics.setdefault(topic, []).append(partition)
        self.talk.ask("AddPartitionsToTxn", {
            "V3AndBelowTransactionalId": self.id, "V3AndBelowProducerId": self.ids()["ProducerId"], "V3AndBelowProducerEpoch": self.ids()["ProducerEpoch"],
            "V3AndBelowTopics": [{"Name": topic, "Partitions": found} for topic, found in topics.items()]}, versions=(0, 3), connection=self.connection)

    def batch(self, place, gap=0, **wrong):
        values = self.talk.values(self.talk.some(1, 2))
        first = self.following.get(place, 0)
        if not gap and not wrong:
            self.following[place] = first + len(values)
        return Batch(*values, producer=self.talk.producer(self.who, first + gap), attributes=TRANSACTIONAL, **wrong)

    def send(self, *batches):
        """(topic, partition, batch) in one request."""
        topics = {}
        for topic, partition, batch in batches:
            topics.setdefault(topic, []).append({"Index": partition, "Records": batch})
        self.talk.ask("Produce", {"TransactionalId": self.id, "Acks": -1, "TimeoutMs": 5000, "TopicData": [
            {"Name": topic, "TopicId": TopicId(topic), "PartitionData": parts} for topic, parts in topics.items()]},
                      versions=self.produce_versions, connection=self.connection)

    def send_one(self, topic, partition=0):
        if not self.second:
            self.add((topic, partition))
        self.send((topic, partition, self.batch((topic, partition))))

    def add_offsets(self, group):
        if not self.second:
            self.talk.ask("AddOffsetsToTxn", {"TransactionalId": self.id, **self.ids(), "GroupId": group}, connection=self.connection)

    def commit_offsets(self, group, *offsets, **more):
        """(topic, partition, offset), or with metadata."""
        topics = {}
        for topic, partition, offset, *metadata in offsets:
            topics.setdefault(topic, []).append({"PartitionIndex": partition, "CommittedOffset": offset, "CommittedMetadata": metadata[0] if metadata else "m"})
        self.talk.ask("TxnOffsetCommit", {"TransactionalId": self.id, "GroupId": group, **self.ids(), **more, "Topics": [
            {"Name": topic, "TopicId": TopicId(topic), "Partitions": parts} for topic, parts in topics.items()]},
                      versions=(3, 4) if more and not self.second else self.offset_versions, connection=self.connection)

    def end(self, committed):
        self.talk.ask("EndTxn", {"TransactionalId": self.id, **self.ids(), "Committed": committed}, versions=self.end_versions,
                      connection=self.connection, keep={f"{self.who}-epoch": ("ProducerEpoch",)} if self.second else None)
        if self.second:
            self.following = {}


def see(talk, places, groups, read_from):
    """What readers of both kinds see of it."""
    for place in places:
        for isolation in (0, 1):
            talk.list_offsets(place[0], -1, partition=place[1], isolation=isolation, versions=(2, 99))
        talk.fetch(place[0], 0, place[1], isolation=talk.some(0, 1, 1))
    for group in groups:
        fetch_offsets(talk, group, read_from, stable=talk.chance(0.5))


def errors_in_the_middle(talk):
    """Transactions over several topics and groups; something goes wrong in the middle, and the producer goes on or ends it."""
    one, two, groups = talk.name("one"), talk.name("two"), [talk.name("g"), talk.name("h")]
    talk.create(one, 2)
    talk.create(two, 1, talk.some({}, {}, {"max.message.bytes": "200"}))
    places, nowhere = [(one, 0), (one, 1), (two, 0)], talk.name("nowhere")
    producer = Producer(talk, talk.name("xid"), talk.offered["EndTxn"][1] >= 5 and talk.chance(0.6))
    producer.init()
    for _ in range(3):
        for _ in range(talk.some(3, 4, 5)):
            place, group = talk.some(*places), talk.some(*groups)
            match talk.random.randrange(15):
                case 0 | 1 | 2:
                    producer.send_one(*place)
                case 3:
                    # All in one request, and one part of it is wrong.
                    producer.send_one(*place)
                    bad = talk.some((*place, producer.batch(place, gap=4)), (*place, producer.batch(place, crc=1)), (nowhere, 0, producer.batch((nowhere, 0))), (one, 9, producer.batch((one, 9))))
                    good = talk.some(*(it for it in places if it != bad[:2]))
                    if not producer.second:
                        producer.add(good, place)
                    producer.send((*good, producer.batch(good)), bad)
                case 4:
                    producer.send_one(*place)
                    producer.send((*place, producer.batch(place, body=b"\xde\xad" * 9, codec="gzip")))
                case 5:
                    # Too large for the second topic, if that has a limit.
                    producer.send_one(two)
                    producer.send((two, 0, Batch(b"x" * 300, producer=talk.producer("p", producer.following.get((two, 0), 0)), attributes=TRANSACTIONAL)))
                case 6 | 7:
                    producer.add_offsets(group)
                    producer.commit_offsets(group, (one, 0, talk.some(1, 5)), *talk.some([], [(two, 0, 7)], [(nowhere, 0, 1)], [(one, 9, 1)], [(one, 1, 3, "x" * 4097)], [(one, 1, -1)], [(one, 1, 3, None)]))
                case 8:
                    # Of a group that is not in the transaction, or of a member that the group does not have.
                    producer.commit_offsets(talk.some(group, talk.name("i"), ""), (one, 0, 9), **talk.some({}, {"GenerationIdOrMemberEpoch": 3, "MemberId": "made-up"}, {"GenerationIdOrMemberEpoch": 0},
                                                                                                           {"MemberId": "made-up"}))
                case 9:
                    talk.produce(place[0], Batch(*talk.values(1)), place[1])
                case 10:
                    commit(talk, group, one, 77)
                    fetch_offsets(talk, group, one, stable=True)
                case 11:
                    talk.ask("OffsetDelete", {"GroupId": group, "Topics": [{"Name": one, "Partitions": [{"PartitionIndex": 0}]}]})
                case 12:
                    talk.ask("DeleteGroups", {"GroupsNames": [group]})
                case 13:
                    # Of the transaction, but said as if it were none.
                    talk.produce(place[0], Batch(*talk.values(1), producer=talk.producer("p", producer.following.get(place, 0))), place[1])
                case 14:
                    see(talk, [place], [group], one)
        if talk.chance(0.2):
            # Says that it was lost, as a client after an error.
            talk.init("p", transactional_id=producer.id, versions=(3, 5), **producer_as_it_is(talk))
            producer.following = {}
        else:
            producer.end(talk.chance(0.6))
        see(talk, places, groups, one)
    talk.ask("DescribeTransactions", {"TransactionalIds": [producer.id]})
    talk.ask("DescribeProducers", {"Topics": [{"Name": one, "PartitionIndexes": [0, 1]}, {"Name": two, "PartitionIndexes": [0]}]})


def producer_as_it_is(talk, who="p"):
    """What it brings when it asks for a new epoch of the id that it has (KIP-360)."""
    return {"producer": Ref(who, 4321), "epoch": Ref(f"{who}-epoch", 0)}


def zombies(talk):
    """Two producers of one transactional id: the second fences the first, whatever that was at and whatever it tries."""
    topic, group = talk.name("z"), talk.name("zg")
    talk.create(topic, 2)
    second = talk.offered["EndTxn"][1] >= 5 and talk.chance(0.5)
    old = Producer(talk, talk.name("xid"), second)
    new = Producer(talk, talk.name("xid"), second if talk.chance(0.7) else talk.offered["EndTxn"][1] >= 5, "q", "b")
    old.init()
    for _ in range(talk.some(0, 1, 2)):
        old.send_one(topic, talk.some(0, 1))
    if talk.chance(0.4):
        old.add_offsets(group)
        old.commit_offsets(group, (topic, 0, 5))
    if talk.chance(0.3):
        old.end(talk.chance(0.5))
    new.init()
    see(talk, [(topic, 0), (topic, 1)], [group], topic)
    for _ in range(7):
        who = talk.some(*[old] * OFTEN, *[new] * SELDOM)
        match talk.random.randrange(7):
            case 0 | 1:
                who.send_one(topic, talk.some(0, 1))
            case 2:
                who.add_offsets(group)
                who.commit_offsets(group, (topic, 0, talk.some(6, 7)))
            case 3:
                who.end(talk.chance(0.5))
            case 4:
                who.init(**producer_as_it_is(talk, who.who))
            case 5:
                who.add((topic, 0))
            case 6:
                new.send_one(topic)
    new.end(True)
    see(talk, [(topic, 0), (topic, 1)], [group], topic)
    talk.ask("DescribeTransactions", {"TransactionalIds": [new.id]})


def looking(talk):
    """ListTransactions, DescribeTransactions and DescribeProducers with every filter, over transactions in several states."""
    topic = talk.name("l")
    talk.create(topic, 2)
    producers = [Producer(talk, talk.name(f"xid{at}"), talk.offered["EndTxn"][1] >= 5 and talk.chance(0.5), f"p{at}") for at in range(3)]
    for producer in producers:
        producer.init()
        if talk.chance(0.8):
            producer.send_one(topic, talk.some(0, 1))
        if talk.chance(0.5):
            producer.end(talk.chance(0.5))
    for _ in range(6):
        talk.ask("ListTransactions", {"StateFilters": talk.some([], ["Ongoing"], ["CompleteCommit", "CompleteAbort"], ["Empty", "Nonsense"], ["ongoing"]),
                                      "ProducerIdFilters": talk.some([], [], [Ref("p0", 1)], [Ref("p0", 1), Ref("p1", 1)], [-1]), "DurationFilter": talk.some(-1, -1, 0, 10**9, -5),
                                      "TransactionalIdPattern": talk.some(None, None, "", talk.prefix + ".*", talk.prefix + "xid[01]", "(", "xid0")}, versions=(talk.some(0, 1, 2), 99))
    talk.ask("DescribeTransactions", {"TransactionalIds": talk.some([it.id for it in producers], [producers[0].id] * 2, ["", producers[1].id], [])})
    talk.ask("DescribeProducers", {"Topics": [{"Name": name, "PartitionIndexes": parts} for name, parts in talk.some([(topic, [0, 1])], [(topic, [0, 0])], [(topic, [0]), ("", [0])], [(topic, [-1, 7])])]})
    see(talk, [(topic, 0), (topic, 1)], [], topic)


def interventions(talk):
    """An administrator ends a transaction in a partition, past the coordinator, with epochs old and new. Nobody ends what is not
    open with epochs that may do it: in Kafka that takes an offset."""
    topic = talk.name("w")
    talk.create(topic, 2)
    producer = Producer(talk, talk.name("xid"), talk.offered["EndTxn"][1] >= 5 and talk.chance(0.5))
    producer.init()
    talk.chance(0.5) and producer.init()
    producer.send_one(topic)

    def mark(epoch, coordinator, version=0, place=(topic, 0), result=False):
        talk.ask("WriteTxnMarkers", {"Markers": [{
            "ProducerId": Ref("p", 4321), "ProducerEpoch": Ref("p-epoch", 0, epoch), "TransactionResult": result, "CoordinatorEpoch": coordinator,
            "TransactionVersion": version, "Topics": [{"Name": place[0], "PartitionIndexes": [place[1]]}]}]}, versions=(2, 2) if version else (1, 2))

    def look():
        talk.ask("DescribeProducers", {"Topics": [{"Name": topic, "PartitionIndexes": [0, 1]}]})
        see(talk, [(topic, 0)], [], topic)

    for _ in range(talk.some(0, 1, 2)):
        talk.some(lambda: mark(-1, talk.some(0, 5)), lambda: mark(0, 3, 2), lambda: mark(0, 0, place=(topic, 9)),
                  lambda: mark(0, 0, place=(talk.name("nowhere"), 0)))()
    look()
    version = talk.some(0, 1, 2)
    mark(1 if version == 2 else talk.some(0, 1), 7, version, result=talk.chance(0.3))
    look()
    for _ in range(3):
        mark(talk.some(0, 1, -1), talk.some(6, 0, -1), talk.some(0, 1))
    look()


NEEDED = ("EndTxn", "AddPartitionsToTxn", "TxnOffsetCommit", "AddOffsetsToTxn", "DescribeTransactions", "DescribeProducers", "ListTransactions")
THEMES = {errors_in_the_middle: NEEDED, zombies: NEEDED, looking: NEEDED, interventions: NEEDED + ("WriteTxnMarkers",)}
