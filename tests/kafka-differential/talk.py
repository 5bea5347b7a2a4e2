"""A conversation as it grows: requests in random versions, and those that several themes need."""

import random

from peer import Ref, Step, TopicId
from records import Batch


class Talk:
    """Grows one conversation. `offered`: the versions of each API that both brokers have."""

    def __init__(self, seed, number, offered, prefix):
        self.random, self.prefix, self.offered = random.Random(f"{seed} {number}"), prefix, offered
        self.steps, self.bodies = [], 0

    def ask(self, api, body=None, versions=None, **more):
        low, high = self.offered[api]
        if versions:
            low, high = max(low, versions[0]), min(high, versions[1])
        self.steps.append(Step(api, self.random.randint(low, high), body, **more))

    def name(self, short):
        return self.prefix + short

    def some(self, *choices):
        return self.random.choice(choices)

    def chance(self, share):
        return self.random.random() < share

    # Requests that several themes need.

    def create(self, topic, partitions=1, configs=None, replicas=1, **more):
        body = {"Topics": [{"Name": topic, "NumPartitions": partitions, "ReplicationFactor": replicas,
                            "Configs": [{"Name": name, "Value": value} for name, value in (configs or {}).items()]}],
                "TimeoutMs": 10_000, **more}
        self.ask("CreateTopics", body)

    def produce(self, topic, batch, partition=0, acks=-1, **more):
        body = {"Acks": acks, "TimeoutMs": 5000, "TopicData": [
            {"Name": topic, "TopicId": TopicId(topic), "PartitionData": [{"Index": partition, "Records": batch}]}]}
        zstd = isinstance(batch, Batch) and batch.codec == "zstd" and self.chance(0.8)
        self.ask("Produce", body, versions=(7 if zstd else 3, 99), silent=acks == 0, **more)

    def produce_in(self, topic, transactional_id, batch, partition, versions):
        """In a transaction."""
        self.ask("Produce", {"TransactionalId": transactional_id, "Acks": -1, "TimeoutMs": 5000, "TopicData": [
            {"Name": topic, "TopicId": TopicId(topic), "PartitionData": [{"Index": partition, "Records": batch}]}]}, versions=versions)

    def fetch(self, topic, offset, partition=0, max_bytes=1 << 20, partition_bytes=1 << 20, wait=0, min_bytes=1,
              epoch=-1, isolation=0, versions=None, **more):
        body = {"ReplicaId": -1, "MaxWaitMs": wait, "MinBytes": min_bytes, "MaxBytes": max_bytes, "SessionEpoch": -1,
                "IsolationLevel": isolation, "Topics": [{"Topic": topic, "TopicId": TopicId(topic), "Partitions": [
                    {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": partition_bytes,
                     "CurrentLeaderEpoch": epoch}]}]}
        body.update(more)
        self.ask("Fetch", body, versions=versions)

    def list_offsets(self, topic, *times, partition=0, isolation=0, epoch=-1, versions=None):
        for at in times:
            needed = {-3: 7, -4: 8, -5: 9, -6: 11}.get(at, 1) if isinstance(at, int) else 1
            if needed <= self.offered["ListOffsets"][1]:
                low = needed if self.chance(0.9) else 1
                body = {"ReplicaId": -1, "IsolationLevel": isolation, "TimeoutMs": 1000, "Topics": [
                    {"Name": topic, "Partitions": [{"PartitionIndex": partition, "Timestamp": at, "CurrentLeaderEpoch": epoch}]}]}
                self.ask("ListOffsets", body, versions=versions or (low, 99))

    def values(self, count=1, size=0):
        self.bodies += count
        return [f"v{self.bodies - count + index}".encode().ljust(size, b".") for index in range(count)]

    def init(self, name="p", transactional_id=None, timeout=60_000, producer=-1, epoch=-1, **more):
        body = {"TransactionalId": transactional_id, "TransactionTimeoutMs": timeout, "ProducerId": producer,
                "ProducerEpoch": epoch}
        self.ask("InitProducerId", body, keep={name: ("ProducerId",), f"{name}-epoch": ("ProducerEpoch",)}, **more)

    def producer(self, name="p", sequence=0, epoch=0):
        return (Ref(name, 987654), Ref(f"{name}-epoch", 0, epoch), sequence)

    def state(self, topic, partition=0):
        """What the log has after all."""
        self.list_offsets(topic, -1, -2, partition=partition, versions=(1, 99))
        self.fetch(topic, 0, partition)


def join(talk, group, member, protocols=(("range", b"m"),), kind="consumer", session=10_000, instance=None, rebalance=10_000, **more):
    body = {"GroupId": group, "SessionTimeoutMs": session, "RebalanceTimeoutMs": rebalance, "MemberId": member,
            "ProtocolType": kind, "Protocols": [{"Name": name, "Metadata": data} for name, data in protocols]}
    if instance:
        body["GroupInstanceId"] = instance
    keep = {more.pop("as_", "m"): ("MemberId",), more.pop("generation", "g"): ("GenerationId",)}
    talk.ask("JoinGroup", body, keep=keep, **more)


def commit(talk, group, topic, offset, generation=-1, member="", metadata="", partition=0, **more):
    talk.ask("OffsetCommit", {"GroupId": group, "GenerationIdOrMemberEpoch": generation, "MemberId": member,
                              "Topics": [{"Name": topic, "TopicId": TopicId(topic), "Partitions": [
                                  {"PartitionIndex": partition, "CommittedOffset": offset, "CommittedMetadata": metadata}]}]}, **more)


def fetch_offsets(talk, group, topic, partitions=(0, 1), member=None, epoch=-1, stable=False, everything=False):
    named = {"Name": topic, "PartitionIndexes": list(partitions)}
    talk.ask("OffsetFetch", {"GroupId": group, "Topics": None if everything else [named], "RequireStable": stable, "Groups": [
        {"GroupId": group, "MemberId": member, "MemberEpoch": epoch,
         "Topics": None if everything else [{**named, "TopicId": TopicId(topic)}]}]}, versions=(2 if everything else 1, 99))


def look_at_group(talk, group):
    talk.ask("DescribeGroups", {"Groups": [group], "IncludeAuthorizedOperations": False})
    talk.ask("ListGroups", {"StatesFilter": talk.some([], [], ["Stable"], ["Empty"], ["stable"], ["Nonsense"]),
                            "TypesFilter": talk.some([], ["classic"], ["consumer"], ["Classic"], ["nonsense"])}, versions=(talk.some(0, 4, 5), 99))
