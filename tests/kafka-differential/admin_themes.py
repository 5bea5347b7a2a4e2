"""Themes about administration: several things asked for in one request, some of them wrong, some twice."""

from peer import TopicId


def creations(talk):
    """Several topics in one request: settings that come twice or have no value, assignments, replicas, numbers beyond all bounds."""
    names = [talk.name(short) for short in ("a", "b", "c")]
    for _ in range(7):
        asked = []
        for name in talk.random.sample(names, talk.some(1, 2, 3)):
            configs = talk.some([], [], [("retention.ms", "1000")], [("retention.ms", "1000"), ("retention.ms", "2000")], [("retention.ms", None)], [("retention.ms", "1000"), ("no.such", "1")],
                                [("cleanup.policy", "")], [("cleanup.policy", "compact, delete")], [("cleanup.policy", "COMPACT")], [("retention.ms", " 5000 ")], [("max.message.bytes", "0")],
                                [("min.insync.replicas", "2")], [("compression.type", "GZIP")], [("compression.gzip.level", "5")], [("compression.gzip.level", "77")], [("compression.zstd.level", "3")],
                                [("retention.bytes", "9223372036854775808")], [("message.timestamp.type", "logappendtime")],
                                [("segment.bytes", "1048576")], [("max.compaction.lag.ms", "5"), ("min.compaction.lag.ms", "10")])
            topic = {"Name": name, "NumPartitions": talk.some(1, 1, 2, -1, 0, 100_000_000), "ReplicationFactor": talk.some(1, 1, -1, 3, 0, 32767),
                     "Configs": [{"Name": key, "Value": value} for key, value in configs]}
            if talk.chance(0.25):
                topic |= {"NumPartitions": talk.some(-1, 1), "ReplicationFactor": talk.some(-1, -1, 1), "Assignments": talk.some(
                    [{"PartitionIndex": 0, "BrokerIds": [1]}], [{"PartitionIndex": 0, "BrokerIds": [1]}, {"PartitionIndex": 1, "BrokerIds": [1]}],
                    [{"PartitionIndex": 0, "BrokerIds": [1]}, {"PartitionIndex": 0, "BrokerIds": [1]}], [{"PartitionIndex": 0, "BrokerIds": [1]}, {"PartitionIndex": 2, "BrokerIds": [1]}],
                    [{"PartitionIndex": 0, "BrokerIds": [-1]}], [{"PartitionIndex": -1, "BrokerIds": [1]}])}
            asked.append(topic)
        huge = any(topic["NumPartitions"] > 1000 for topic in asked)
        talk.ask("CreateTopics", {"Topics": asked + talk.some([], [], [], asked[:1]), "TimeoutMs": 10_000, "ValidateOnly": not huge and talk.chance(0.2)})
    talk.ask("Metadata", {"Topics": [{"Name": name} for name in names], "AllowAutoTopicCreation": False}, versions=(4, 99))
    talk.ask("CreatePartitions", {"Topics": [{"Name": name, "Count": talk.some(2, 3, 1), "Assignments": talk.some(None, None, [{"BrokerIds": [1]}], [{"BrokerIds": [1]}] * 2, [{"BrokerIds": []}])}
                                             for name in names[:2] + talk.some([], names[:1])], "TimeoutMs": 10_000, "ValidateOnly": talk.chance(0.3)})
    named = talk.some(names, names[:2] + names[:1], names[:1] + ["", "a b"])
    talk.ask("DeleteTopics", {"TopicNames": named, "Topics": [{"Name": name} for name in named], "TimeoutMs": 10_000})
    talk.ask("DeleteTopics", {"Topics": talk.some([{"Name": names[0], "TopicId": TopicId(names[0])}], [{"Name": None, "TopicId": "00000000-0000-0000-0000-000000000000"}],
                                                  [{"Name": names[1]}, {"Name": None, "TopicId": TopicId(names[1])}]), "TimeoutMs": 10_000}, versions=(6, 6))
    talk.ask("Metadata", {"Topics": [{"Name": name} for name in names], "AllowAutoTopicCreation": False}, versions=(4, 99))


def alterations(talk):
    """Settings of several topics and groups in one request: operations, settings and resources that come twice, values that are none."""
    one, two, group = talk.name("one"), talk.name("two"), talk.name("g")
    talk.create(one, 1, talk.some({}, {"cleanup.policy": "compact", "retention.ms": "5000"}))
    talk.create(two)
    keys = ["cleanup.policy", "retention.ms", "max.message.bytes", "compression.type", "min.cleanable.dirty.ratio"]

    def changes():
        found = talk.some([("retention.ms", 0, "1000")], [("retention.ms", 0, None)], [("retention.ms", 1, None)], [("retention.ms", 1, "5")], [("retention.ms", 2, "5")],
                          [("cleanup.policy", 2, "compact")], [("cleanup.policy", 2, "compact"), ("retention.ms", 0, "7000")], [("cleanup.policy", 3, "delete")], [("cleanup.policy", 3, "delete,compact")],
                          [("cleanup.policy", 2, "shred")], [("cleanup.policy", 2, None)], [("retention.ms", 0, "1"), ("retention.ms", 1, None)], [("no.such", 0, "1")], [("no.such", 1, None)],
                          [("no.such", 2, "1")], [("retention.ms", 0, "x"), ("no.such", 0, "1")], [("", 0, "1")], [("max.message.bytes", 0, "1000"), ("compression.type", 0, "zstd")], [])
        return found

    for _ in range(8):
        resources = []
        for kind, name in talk.random.sample([(2, one), (2, two), (2, talk.name("nowhere")), (32, group), (2, "a b")], talk.some(1, 2, 3)):
            found = changes() if kind == 2 else talk.some([("consumer.session.timeout.ms", 0, "50000")], [("consumer.session.timeout.ms", 1, None)], [("consumer.heartbeat.interval.ms", 0, "1")],
                                                          [("share.record.lock.duration.ms", 0, "20000")], [("share.record.lock.duration.ms", 0, "1")], [("share.auto.offset.reset", 0, "earliest")],
                                                          [("share.auto.offset.reset", 0, "sometime")], [("consumer.session.timeout.ms", 2, "50000")], [("retention.ms", 0, "1")])
            resources.append({"ResourceType": kind, "ResourceName": name, "Configs": [{"Name": key, "ConfigOperation": operation, "Value": value} for key, operation, value in found]})
        resources += talk.some([], [], [], resources[:1])
        if talk.chance(0.75):
            talk.ask("IncrementalAlterConfigs", {"Resources": resources, "ValidateOnly": talk.chance(0.2)})
        else:
            # Kafka does not answer when a resource comes twice.
            once = [one for at, one in enumerate(resources) if one not in resources[:at]]
            talk.ask("AlterConfigs", {"Resources": [{**one, "Configs": [{"Name": it["Name"], "Value": it["Value"]} for it in one["Configs"] if it["Value"] is not None or one["ResourceType"] == 2]} for one in once], "ValidateOnly": talk.chance(0.2)})
        talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 2, "ResourceName": name, "ConfigurationKeys": keys} for name in (one, two)] + [
            {"ResourceType": 32, "ResourceName": group, "ConfigurationKeys": ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "share.record.lock.duration.ms", "share.auto.offset.reset"]}],
            "IncludeSynonyms": talk.chance(0.3)})


def lists(talk):
    """APPEND and SUBTRACT on lists, what is left of them; settings that cannot be changed; brokers' settings and loggers, only tried."""
    topic = talk.name("lists")
    talk.create(topic, 2, talk.some({}, {"cleanup.policy": "compact"}, {"cleanup.policy": "compact,delete"}))
    throttled = "leader.replication.throttled.replicas"
    keys = ["cleanup.policy", "retention.ms"]

    def ask(kind, name, *changes, **more):
        talk.ask("IncrementalAlterConfigs", {"Resources": [{"ResourceType": kind, "ResourceName": name, "Configs": [
            {"Name": key, "ConfigOperation": operation, "Value": value} for key, operation, value in changes]}], **more})

    for _ in range(8):
        match talk.random.randrange(6):
            case 0 | 1:
                ask(2, topic, ("cleanup.policy", talk.some(2, 3), talk.some("compact", "delete", "compact,delete", "delete,delete", "", " compact", "compact,", "shred", "compact,shred")),
                    ValidateOnly=talk.chance(0.2))
            case 2:
                ask(2, topic, (throttled, talk.some(0, 2, 3), talk.some("0:1", "1:1", "*", "0:1,1:1", "0", "x:1", "", "none")), ValidateOnly=talk.chance(0.2))
            case 3:
                ask(2, topic, ("cleanup.policy", 2, "compact"), ("cleanup.policy", 3, "delete"))
                ask(2, topic, ("cleanup.policy", talk.some(0, 1), talk.some("delete", None, "")), (talk.some("retention.ms", throttled), talk.some(2, 3, 0), talk.some("1000", "0:1")))
            case 4:
                ask(4, talk.some("1", "1", "", "77", "x"), (talk.some("log.dirs", "broker.id", "node.id", "process.roles", "listeners", "no.such", "log.retention.ms", "zookeeper.connect", "message.max.bytes",
                                                                      "num.io.threads", "log.cleanup.policy"),
                                                       talk.some(0, 0, 1, 2), talk.some("1", "x", "compact", "", None)), ValidateOnly=True)
            case 5:
                ask(8, talk.some("1", "1", "77", "x", ""), (talk.some("root", "ROOT", "no.such.logger", ""), talk.some(0, 0, 1, 2), talk.some("INFO", "info", "LOUD", "", None)), ValidateOnly=True)
        talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": keys}], "IncludeSynonyms": talk.chance(0.3)})
    talk.ask("AlterConfigs", {"Resources": [{"ResourceType": 2, "ResourceName": topic, "Configs": [{"Name": key, "Value": value} for key, value in talk.some(
        [("cleanup.policy", "delete,compact")], [(throttled, "0:1"), ("cleanup.policy", "")], [("cleanup.policy", "delete,delete")], [], [("retention.ms", "5"), ("retention.ms", "6")])]}]})
    talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 2, "ResourceName": topic, "ConfigurationKeys": keys}]})


def metadata(talk):
    """Metadata by names and ids, several and twice, with what one may do."""
    one, two = talk.name("one"), talk.name("two")
    talk.create(one, 2)
    talk.create(two)
    if talk.chance(0.3):
        talk.ask("DeleteTopics", {"TopicNames": [two], "Topics": [{"Name": two}], "TimeoutMs": 10_000})
    for _ in range(6):
        names = talk.some([one, two], [one, one], [one, talk.name("nowhere")], ["", one], ["a b", one], [two, one, two])
        ids = [{"Name": None, "TopicId": TopicId(name)} for name in names]
        operations = {"IncludeTopicAuthorizedOperations": talk.chance(0.4), "IncludeClusterAuthorizedOperations": talk.chance(0.4), "AllowAutoTopicCreation": False}
        talk.ask("Metadata", {"Topics": [{"Name": name} for name in names], **operations}, versions=(4, 99))
        if talk.chance(0.5):
            talk.ask("Metadata", {"Topics": talk.some(ids, ids[:1] + [{"Name": one}], [{"Name": one, "TopicId": TopicId(one)}], [{"Name": one, "TopicId": TopicId(two)}],
                                                      [{"Name": None, "TopicId": "00000000-0000-0000-0000-000000000000"}]), **operations}, versions=(12, 99))
        talk.ask("DescribeTopicPartitions", {"Topics": [{"Name": name} for name in names], "ResponsePartitionLimit": talk.some(2000, 1, 2)})


def strangers(talk):
    """What is not in use on a listener without logins, and what a cluster of one node has nothing to say about."""
    topic = talk.name("t")
    talk.create(topic)
    for _ in range(8):
        match talk.random.randrange(10):
            case 0:
                talk.ask("CreateDelegationToken", {"Renewers": [{"PrincipalType": "User", "PrincipalName": "u"}], "MaxLifetimeMs": talk.some(-1, 1000)})
            case 1:
                talk.ask("DescribeDelegationToken", {"Owners": talk.some(None, [], [{"PrincipalType": "User", "PrincipalName": "u"}])})
            case 2:
                talk.ask(talk.some("RenewDelegationToken"), {"Hmac": b"x", "RenewPeriodMs": 1})
            case 3:
                talk.ask("ExpireDelegationToken", {"Hmac": b"x", "ExpiryTimePeriodMs": -1})
            case 4:
                talk.ask("UpdateFeatures", {"TimeoutMs": 1000, "ValidateOnly": talk.chance(0.5), "FeatureUpdates": talk.some([], [
                    {"Feature": talk.some("no.such.feature", "group.version", "share.version"), "MaxVersionLevel": talk.some(99, 1, -1), "UpgradeType": talk.some(0, 1, 2, 3, 9)}])})
            case 5:
                talk.ask("DescribeQuorum", {"Topics": talk.some([], [{"TopicName": topic, "Partitions": [{"PartitionIndex": 0}]}], [{"TopicName": "__cluster_metadata", "Partitions": [{"PartitionIndex": 5}]}])})
            case 6:
                talk.ask("AlterReplicaLogDirs", {"Dirs": talk.some([], [{"Path": "/nowhere/at/all", "Topics": [{"Name": topic, "Partitions": [0, 9]}]}])})
            case 7:
                talk.ask("DescribeProducers", {"Topics": talk.some([], [{"Name": topic, "PartitionIndexes": [0, 9]}, {"Name": talk.name("nowhere"), "PartitionIndexes": [0]}])})
            case 8:
                talk.ask("FindCoordinator", {"Key": talk.some("", "k"), "KeyType": talk.some(1, -1, 9), "CoordinatorKeys": talk.some(["k"], [""], ["k", "k"])})
            case 9:
                talk.ask("SaslAuthenticate", {"AuthBytes": b"\0u\0p"})


def rules(talk):
    """Several access rules and filters in one request, good and bad; what literal, prefixed and any names match."""
    name, user = talk.name("t"), "User:" + talk.name("u")
    good = {"ResourceType": 2, "ResourceName": name, "ResourcePatternType": 3, "Principal": user, "Host": "*", "Operation": 3, "PermissionType": 3}
    talk.ask("CreateAcls", {"Creations": [good, {**good, "ResourcePatternType": 4}, {**good, "PermissionType": 2}, {**good, "Host": "10.0.0.1"}]})
    talk.ask("CreateAcls", {"Creations": [{**good, "ResourceType": talk.some(3, 4, 5, 6, 7), "ResourceName": talk.some(name, "kafka-cluster"), "Operation": talk.some(2, 3, 5, 7, 9, 12, 13, 14)}, good]})
    mask = {"ResourceTypeFilter": 1, "ResourceNameFilter": name, "PatternTypeFilter": 1, "PrincipalFilter": None, "HostFilter": None, "Operation": 1, "PermissionType": 1}
    for _ in range(5):
        other = {**mask, "ResourceTypeFilter": talk.some(1, 2, 3), "ResourceNameFilter": talk.some(name, name + "-longer", name[:-1]), "PatternTypeFilter": talk.some(1, 2, 3, 4),
                 "PrincipalFilter": talk.some(None, user, "User:nobody"), "HostFilter": talk.some(None, "*", "10.0.0.1"), "Operation": talk.some(1, 3, 4), "PermissionType": talk.some(1, 2, 3)}
        talk.ask("DescribeAcls", other)
        if talk.chance(0.3):
            talk.ask("DeleteAcls", {"Filters": [other, *talk.some([], [other], [{**mask, "ResourceNameFilter": talk.name("nothing")}])]})
    talk.ask("DeleteAcls", {"Filters": [mask, {**mask, "ResourceNameFilter": None, "PrincipalFilter": user}]})
    talk.ask("DescribeAcls", mask)


def limits(talk):
    """Quotas of users, of their client ids and of addresses, several in one request, some of them twice; and who is asked for."""
    user, client = talk.name("u"), talk.name("c")
    def entity():
        return talk.some([("user", user)], [("client-id", client)], [("user", user), ("client-id", client)], [("user", user), ("user", user)], [("ip", "10.1.2.3"), ("user", user)],
                         [("ip", "not an address")], [("client-id", "")], [("", user)])
    for _ in range(6):
        entries = [{"Entity": [{"EntityType": kind, "EntityName": name} for kind, name in entity()], "Ops": [
            {"Key": talk.some("producer_byte_rate", "consumer_byte_rate", "controller_mutation_rate", "connection_creation_rate"), "Value": talk.some(1000.0, 0.5, 10.0, 1e19), "Remove": talk.chance(0.2)}
            for _ in range(talk.some(1, 2))]} for _ in range(talk.some(1, 2))]
        talk.ask("AlterClientQuotas", {"Entries": entries, "ValidateOnly": talk.chance(0.2)})
        asked = [{"EntityType": kind, "MatchType": how, "Match": match} for kind, how, match in talk.some(
            [("user", 0, user)], [("client-id", 0, client)], [("user", 0, user), ("client-id", 0, client)], [("user", 0, user), ("client-id", 2, None)], [("user", 0, user), ("client-id", 1, None)],
            [("user", 0, None)], [("user", 1, "x")], [("ip", 0, "10.9.9.9")], [("ip", 0, "10.9.9.9"), ("user", 0, user)], [("user", 0, user), ("user", 0, user)])]
        talk.ask("DescribeClientQuotas", {"Components": asked, "Strict": talk.chance(0.5)})
    for parts in ([("user", user)], [("client-id", client)], [("user", user), ("client-id", client)]):
        talk.ask("AlterClientQuotas", {"Entries": [{"Entity": [{"EntityType": kind, "EntityName": name} for kind, name in parts], "Ops": [
            {"Key": key, "Value": 0.0, "Remove": True} for key in ("producer_byte_rate", "consumer_byte_rate", "controller_mutation_rate")]}]})


def credentials(talk):
    """Several users' SCRAM credentials in one request: some wrong, some set and deleted at once."""
    users = [talk.name("a"), talk.name("b")]
    def upsertion(**wrong):
        mechanism = wrong.get("Mechanism", talk.some(1, 2))
        return {"Name": talk.some(*users), "Mechanism": mechanism, "Iterations": 4096, "Salt": b"salt", "SaltedPassword": b"p" * (64 if mechanism == 2 else 32), **wrong}
    for _ in range(6):
        upsertions = [upsertion(**talk.some({}, {}, {}, {"Name": ""}, {"Mechanism": 9}, {"Iterations": 4095}, {"Iterations": 16385}, {"Salt": b""}, {"SaltedPassword": b""}, {"SaltedPassword": b"short"})) for _ in range(talk.some(0, 1, 2))]
        deletions = [{"Name": talk.some(*users, talk.name("nobody")), "Mechanism": talk.some(1, 2)} for _ in range(talk.some(0, 0, 1, 2))]
        talk.ask("AlterUserScramCredentials", {"Upsertions": upsertions, "Deletions": deletions})
        talk.ask("DescribeUserScramCredentials", {"Users": [{"Name": name} for name in talk.some(users, users[:1], [*users, talk.name("nobody")])]})
    talk.ask("AlterUserScramCredentials", {"Upsertions": [], "Deletions": [{"Name": name, "Mechanism": mechanism} for name in users for mechanism in (1, 2)]})


TOKENS = ("CreateDelegationToken", "DescribeDelegationToken", "RenewDelegationToken", "ExpireDelegationToken", "UpdateFeatures", "DescribeQuorum", "AlterReplicaLogDirs", "DescribeProducers")
def subscriptions(talk):
    """Subscriptions to clients' metrics: made, wrong, changed, described and deleted."""
    names = [talk.name("m"), talk.name("n"), ""]
    values = {
        "metrics": ["*", "", "a.", "a., b.", "a.,a.", "a.,,b.", ",", " "],
        "interval.ms": ["100", "99", "3600000", "3600001", " 500 ", "soon", "", "-1", "4294967296", "1.5"],
        "match": ["", "client_id=a.*", "client_id", "client_id=", "=a", "client_id=a=b", "user=a", "client_id=[", "client_id=a,client_id=b",
                  "client_id=a,client_id=a", " client_software_name = x , client_source_port = [0-9]+", "client_id=a)|(b"],
        "no.such": ["1"],
    }
    for _ in range(8):
        resources = []
        for name in talk.random.sample(names, talk.some(1, 1, 2)):
            configs = []
            for key in talk.random.sample(list(values), talk.some(1, 1, 2, 3)) + talk.some([], [], [], ["metrics"]):
                operation = talk.some(0, 0, 0, 0, 1, 2, 3)
                configs.append({"Name": key, "ConfigOperation": operation, "Value": None if talk.chance(0.1) else talk.some(*values[key])})
            resources.append({"ResourceType": 16, "ResourceName": name, "Configs": configs})
        if talk.chance(0.7):
            talk.ask("IncrementalAlterConfigs", {"Resources": resources, "ValidateOnly": talk.chance(0.2)})
        else:
            legacy = [{**it, "Configs": [{"Name": c["Name"], "Value": c["Value"]} for c in it["Configs"]]} for it in resources]
            talk.ask("AlterConfigs", {"Resources": legacy, "ValidateOnly": talk.chance(0.2)})
        talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 16, "ResourceName": talk.some(*names), "ConfigurationKeys": talk.some(None, None, [], ["metrics"], ["no.such"])}],
                                     "IncludeSynonyms": talk.chance(0.6)})
    gone = [{"Name": key, "ConfigOperation": 1, "Value": None} for key in ("metrics", "interval.ms", "match")]
    talk.ask("IncrementalAlterConfigs", {"Resources": [{"ResourceType": 16, "ResourceName": name, "Configs": gone} for name in names[:2]]})
    talk.ask("DescribeConfigs", {"Resources": [{"ResourceType": 16, "ResourceName": names[0], "ConfigurationKeys": None}], "IncludeSynonyms": True})


THEMES = {creations: (), alterations: (), lists: (), subscriptions: (), metadata: (), strangers: TOKENS, rules: ("CreateAcls", "DescribeAcls", "DeleteAcls"), limits: ("AlterClientQuotas", "DescribeClientQuotas"),
          credentials: ("AlterUserScramCredentials", "DescribeUserScramCredentials")}
