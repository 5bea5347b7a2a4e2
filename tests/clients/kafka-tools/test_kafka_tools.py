"""Kafka's own command line tools, out of its published jars (`pom.xml`), each doing what operators do with it. The fixtures
are those of `../python/conftest.py`: `PYTHONPATH=../python pytest -p conftest`.

KAFKA_LIBS names the directory with the jars. BOWLINE_KAFKA=host:port points the tests at another broker, such as Kafka.
"""

import json
import re

import pytest
from conftest import Broker, free_port
from kafka_jvm import shell, tool  # noqa: F401 (fixtures)
from test_tls import Authority

TOPICS = "org.apache.kafka.tools.TopicCommand"
CONFIGS = "kafka.admin.ConfigCommand"
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
PRODUCER = "org.apache.kafka.tools.ConsoleProducer"
CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer"
OFFSETS = "org.apache.kafka.tools.GetOffsetShell"
ACLS = "org.apache.kafka.tools.AclCommand"


@pytest.fixture
def needs(tool):
    """Leaves a test out where an API is not on offer (yet)."""
    offered = tool("org.apache.kafka.tools.BrokerApiVersionsCommand")
    return lambda api: re.search(rf"\b{api}\(\d+\): \d", offered) or pytest.skip(f"{api} is not on offer")


def lines(text):
    return [line for line in text.splitlines() if line.strip()]


def produce(tool, topic, text, *options):
    tool(PRODUCER, "--topic", topic, *options, text=text)


def consume(tool, topic, count, *options):
    out = tool(CONSUMER, "--topic", topic, "--from-beginning", "--max-messages", count, "--timeout-ms", 20000, *options)
    return lines(out)


@pytest.fixture
def topic(tool, name):
    tool(TOPICS, "--create", "--topic", name, "--partitions", 2)
    yield name
    tool(TOPICS, "--delete", "--topic", name)


def test_topics(tool, name):
    out = tool(TOPICS, "--create", "--topic", name, "--partitions", 2, "--replication-factor", 1,
               "--config", "retention.ms=86400000")
    assert f"Created topic {name}." in out
    assert name in lines(tool(TOPICS, "--list"))
    described = tool(TOPICS, "--describe", "--topic", name)
    assert "PartitionCount: 2" in described and "ReplicationFactor: 1" in described
    assert "retention.ms=86400000" in described
    assert len(re.findall(r"Partition: \d+\s+Leader: 1\s+Replicas: 1\s+Isr: 1", described)) == 2
    tool(TOPICS, "--alter", "--topic", name, "--partitions", 3)
    assert "PartitionCount: 3" in tool(TOPICS, "--describe", "--topic", name)
    assert tool(TOPICS, "--describe", "--unavailable-partitions").strip() == ""
    again = tool(TOPICS, "--create", "--topic", name, status=1)
    assert "already exists" in again
    tool(TOPICS, "--create", "--if-not-exists", "--topic", name)
    tool(TOPICS, "--delete", "--topic", name)
    assert name not in lines(tool(TOPICS, "--list"))


def test_console_producer_and_consumer(tool, topic):
    produce(tool, topic, "k1:one\nk2:two\n", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:")
    out = consume(tool, topic, 2, "--formatter-property", "print.key=true")
    assert sorted(out) == ["k1\tone", "k2\ttwo"]


def test_configs_of_topics(tool, topic):
    entity = ["--entity-type", "topics", "--entity-name", topic]
    tool(CONFIGS, "--alter", *entity, "--add-config", "retention.ms=60000,max.message.bytes=2000")
    out = tool(CONFIGS, "--describe", *entity)
    assert "retention.ms=60000" in out and "max.message.bytes=2000" in out
    tool(CONFIGS, "--alter", *entity, "--delete-config", "max.message.bytes")
    out = tool(CONFIGS, "--describe", *entity)
    assert "retention.ms=60000" in out and "max.message.bytes" not in out
    out = tool(CONFIGS, "--describe", "--all", *entity)
    assert "max.message.bytes=1048588" in out
    out = tool(CONFIGS, "--alter", *entity, "--add-config", "retention.ms=soon", status=1)
    assert "retention.ms" in out


def test_configs_of_brokers(tool, topic):
    one = ["--entity-type", "brokers", "--entity-name", "1"]
    out = tool(CONFIGS, "--describe", "--all", *one)
    assert "num.partitions=" in out and "log.retention.ms=604800000" in out
    tool(CONFIGS, "--alter", *one, "--add-config", "log.retention.ms=7200000")
    tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "message.max.bytes=5000")
    try:
        assert "log.retention.ms=7200000" in tool(CONFIGS, "--describe", *one)
        out = tool(CONFIGS, "--describe", "--all", "--entity-type", "topics", "--entity-name", topic)
        assert "retention.ms=7200000" in out and "max.message.bytes=5000" in out
        # It is obeyed: the record is too large now.
        out = tool(PRODUCER, "--topic", topic, text="x" * 6000)
        assert sum(int(line.rsplit(":", 1)[1]) for line in lines(tool(OFFSETS, "--topic", topic))) == 0
    finally:
        tool(CONFIGS, "--alter", *one, "--delete-config", "log.retention.ms")
        tool(CONFIGS, "--alter", "--entity-type", "brokers", "--entity-default", "--delete-config", "message.max.bytes")
    out = tool(CONFIGS, "--describe", "--all", "--entity-type", "topics", "--entity-name", topic)
    assert "retention.ms=604800000" in out and "max.message.bytes=1048588" in out
    out = tool(CONFIGS, "--alter", *one, "--add-config", "broker.id=7", status=1)
    assert "broker.id" in out


def test_levels_of_the_log(tool):
    one = ["--entity-type", "broker-loggers", "--entity-name", "1"]
    level = lambda: re.search(r"bowline_front_kafka=(\w+)", tool(CONFIGS, "--describe", *one)).group(1)
    before = level()
    tool(CONFIGS, "--alter", *one, "--add-config", "bowline_front_kafka=DEBUG")
    assert level() == "DEBUG" != before
    tool(CONFIGS, "--alter", *one, "--delete-config", "bowline_front_kafka")
    assert level() == before
    assert "nothing" in tool(CONFIGS, "--alter", *one, "--add-config", "nothing=DEBUG", status=1)


def test_offsets_and_deleted_records(tool, topic, tmp_path):
    produce(tool, topic, "".join(f"{n}\n" for n in range(10)))
    out = tool(OFFSETS, "--topic", topic)
    assert sum(int(line.rsplit(":", 1)[1]) for line in lines(out)) == 10
    ends = {line.rsplit(":", 1)[0]: int(line.rsplit(":", 1)[1]) for line in lines(out)}
    partition = int(max(ends, key=ends.get).rsplit(":", 1)[1])
    end = max(ends.values())
    out = tool(OFFSETS, "--topic", topic, "--time", "max-timestamp")
    # The first of those that came in the last millisecond.
    assert any(0 <= int(line.rsplit(":", 1)[1]) < end for line in lines(out))
    spec = {"partitions": [{"topic": topic, "partition": partition, "offset": end - 1}], "version": 1}
    (tmp_path / "delete.json").write_text(json.dumps(spec))
    out = tool("org.apache.kafka.tools.DeleteRecordsCommand", "--offset-json-file", tmp_path / "delete.json")
    assert f"partition: {topic}-{partition}\tlow_watermark: {end - 1}" in out
    out = tool(OFFSETS, "--topic", topic, "--time", "earliest", "--partitions", partition)
    assert lines(out) == [f"{topic}:{partition}:{end - 1}"]


def test_consumer_groups(tool, topic, name):
    group = f"g-{name}"
    produce(tool, topic, "one\ntwo\nthree\n")
    assert len(consume(tool, topic, 3, "--group", group)) == 3
    assert group in lines(tool(GROUPS, "--list"))
    out = tool(GROUPS, "--describe", "--group", group)
    rows = [line.split() for line in lines(out) if line.startswith(group)]
    assert sum(int(row[3]) for row in rows) == 3 and all(row[5] == "0" for row in rows)
    out = tool(GROUPS, "--describe", "--group", group, "--state")
    assert "Empty" in out
    out = tool(GROUPS, "--reset-offsets", "--group", group, "--topic", topic, "--to-earliest", "--execute")
    assert all(line.split()[3] == "0" for line in lines(out) if line.startswith(group))
    assert len(consume(tool, topic, 3, "--group", group)) == 3
    out = tool(GROUPS, "--delete-offsets", "--group", group, "--topic", topic)
    assert "Successful" in out
    tool(GROUPS, "--delete", "--group", group)
    assert group not in lines(tool(GROUPS, "--list"))
    assert group not in tool("org.apache.kafka.tools.GroupsCommand", "--list")


def test_performance_tools(tool, topic, broker):
    out = tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", 5000,
               "--record-size", 100, "--throughput", -1, "--bootstrap-server", broker.kafka, server=None)
    assert "5000 records sent" in out
    out = tool("org.apache.kafka.tools.ConsumerPerformance", "--topic", topic, "--num-records", 5000,
               "--timeout", 20000)
    assert int(lines(out)[-1].split(",")[4]) >= 5000


def test_verifiable_producer_and_consumer(tool, topic, name):
    out = tool("org.apache.kafka.tools.VerifiableProducer", "--topic", topic, "--max-messages", 20, "--acks", -1,
               alone=True)
    events = [json.loads(line) for line in lines(out)]
    assert sum(event["name"] == "producer_send_success" for event in events) == 20
    assert events[-1]["name"] == "tool_data" and events[-1]["acked"] == 20
    out = tool("org.apache.kafka.tools.VerifiableConsumer", "--topic", topic, "--group-id", f"v-{name}",
               "--max-messages", 20, "--reset-policy", "earliest")
    events = [json.loads(line) for line in lines(out)]
    assert sum(event["count"] for event in events if event["name"] == "records_consumed") == 20
    commits = [event for event in events if event["name"] == "offsets_committed"]
    assert commits and all(event["success"] for event in commits)


def test_log_dirs(tool, topic):
    produce(tool, topic, "something\n")
    out = tool("org.apache.kafka.tools.LogDirsCommand", "--describe", "--topic-list", topic)
    described = json.loads(out[out.index("{"):])
    (directory,) = described["brokers"][0]["logDirs"]
    assert directory["error"] is None
    assert sum(partition["size"] for partition in directory["partitions"]) > 0


def test_leader_election(tool, topic):
    out = tool("org.apache.kafka.tools.LeaderElectionCommand", "--election-type", "preferred", "--topic", topic,
               "--partition", 0)
    assert "Valid replica already elected" in out
    tool("org.apache.kafka.tools.LeaderElectionCommand", "--election-type", "preferred", "--all-topic-partitions")


def test_reassignment(tool, topic, tmp_path):
    command = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
    (tmp_path / "topics.json").write_text(json.dumps({"topics": [{"topic": topic}], "version": 1}))
    out = tool(command, "--generate", "--topics-to-move-json-file", tmp_path / "topics.json", "--broker-list", "1")
    proposal = out.split("Proposed partition reassignment configuration\n")[1]
    (tmp_path / "plan.json").write_text(proposal)
    out = tool(command, "--execute", "--reassignment-json-file", tmp_path / "plan.json")
    assert "Successfully started partition reassignment" in out
    out = tool(command, "--verify", "--reassignment-json-file", tmp_path / "plan.json")
    assert f"Reassignment of partition {topic}-0 is completed." in out
    assert "No partition reassignments found" in tool(command, "--list")


def test_features_quorum_cluster_and_versions(tool, broker):
    out = tool("org.apache.kafka.tools.MetadataQuorumCommand", "describe", "--status")
    assert re.search(r"LeaderId:\s+1\n", out) and re.search(r"HighWatermark:\s+[1-9]\d*", out)
    out = tool("org.apache.kafka.tools.MetadataQuorumCommand", "describe", "--replication")
    assert "Leader" in out
    tool("org.apache.kafka.tools.FeatureCommand", "describe")
    out = tool("org.apache.kafka.tools.ClusterTool", "cluster-id", "--bootstrap-server", broker.kafka, server=None)
    assert re.search(r"Cluster ID: \S{22}", out)
    out = tool("org.apache.kafka.tools.ClusterTool", "list-endpoints", "--bootstrap-server", broker.kafka, server=None)
    assert str(broker.kafka.rsplit(":", 1)[1]) in out
    out = tool("org.apache.kafka.tools.BrokerApiVersionsCommand")
    assert "(id: 1 " in out and "Fetch(1): 4 to 18 [usable: 18]" in out


def test_client_metrics(tool, broker, topic, name):
    """The tool makes a subscription, a producer that knows nothing of it pushes, a console consumer reads."""
    command = "org.apache.kafka.tools.ClientMetricsCommand"
    assert lines(tool(command, "--list")) == []
    out = tool(command, "--alter", "--name", name, "--metrics", "org.apache.kafka.producer.", "--interval", 100,
               "--match", f"client_id={name}")
    assert "Altered client metrics config" in out
    assert lines(tool(command, "--list")) == [name]
    out = tool(command, "--describe", "--name", name)
    assert "interval.ms=100" in out and "metrics=org.apache.kafka.producer." in out and f"match=client_id={name}" in out
    refused = tool(command, "--alter", "--name", name, "--interval", 99, status=1)
    assert "interval must be between 100 and 3600000" in refused
    # Three seconds, in which it is told what is wanted, and pushes.
    tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", 300, "--throughput", 100, "--record-size", 10,
         "--command-property", f"client.id={name}", "--bootstrap-server", broker.kafka, server=None)
    got = "".join(consume(tool, "otlp_metrics", 1, "--formatter-property", "print.headers=true"))
    assert f"client_id:{name}," in got and "client_software_name:apache-kafka-java," in got
    assert "org.apache.kafka.producer." in got
    tool(command, "--delete", "--name", name)
    assert lines(tool(command, "--list")) == []
    tool(TOPICS, "--delete", "--topic", "otlp_metrics")


def test_a_fetch_session_over_many_partitions(tool, name):
    """The Java consumer uses sessions by default; here with more partitions than have news in any one answer."""
    tool(TOPICS, "--create", "--topic", name, "--partitions", 50)
    produce(tool, name, "".join(f"{n}:{n}\n" for n in range(500)), "--reader-property", "parse.key=true",
            "--reader-property", "key.separator=:")
    got = consume(tool, name, 500, "--command-property", "max.partition.fetch.bytes=500",
                  "--command-property", "fetch.max.bytes=2000")
    assert sorted(map(int, got)) == list(range(500))
    tool(TOPICS, "--delete", "--topic", name)


def test_streams_application_reset(tool, topic, name):
    produce(tool, topic, "one\ntwo\n")
    assert len(consume(tool, topic, 2, "--group", name)) == 2
    out = tool("org.apache.kafka.tools.StreamsResetter", "--application-id", name, "--input-topics", topic)
    assert "Reset-offsets for input topics" in out
    rows = [line.split() for line in lines(tool(GROUPS, "--describe", "--group", name)) if line.startswith(name)]
    assert sum(int(row[3]) for row in rows) == 0


def test_end_to_end_latency(tool, topic, broker):
    out = tool("org.apache.kafka.tools.EndToEndLatency", "--bootstrap-server", broker.kafka, "--topic", topic,
               "--num-records", 50, "--producer-acks", "all", "--record-size", 64, server=None)
    assert re.search(r"Avg latency: \d", out)


def test_groups_of_the_consumer_protocol(tool, topic, name):
    produce(tool, topic, "one\ntwo\nthree\n")
    assert len(consume(tool, topic, 3, "--group", name, "--command-property", "group.protocol=consumer")) == 3
    out = tool("org.apache.kafka.tools.GroupsCommand", "--list", "--protocol", "consumer")
    assert re.search(rf"{name}\s+Consumer\s+consumer", out)
    out = tool(GROUPS, "--describe", "--group", name)
    rows = [line.split() for line in lines(out) if line.startswith(name)]
    assert sum(int(row[3]) for row in rows) == 3


def test_share_groups(tool, topic, name, needs):
    needs("ShareFetch")
    command = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
    tool(CONFIGS, "--alter", "--entity-type", "groups", "--entity-name", name, "--add-config",
         "share.auto.offset.reset=earliest")
    produce(tool, topic, "one\ntwo\nthree\n")
    out = tool("org.apache.kafka.tools.consumer.ConsoleShareConsumer", "--topic", topic, "--group", name,
               "--max-messages", 3, "--timeout-ms", 20000)
    assert sorted(lines(out)) == ["one", "three", "two"]
    assert name in lines(tool(command, "--list"))
    out = tool(command, "--describe", "--group", name)
    rows = [line.split() for line in lines(out) if line.startswith(name)]
    assert sum(int(row[3]) for row in rows) == 3
    tool(command, "--reset-offsets", "--group", name, "--topic", topic, "--to-earliest", "--execute")
    out = tool("org.apache.kafka.tools.consumer.ConsoleShareConsumer", "--topic", topic, "--group", name,
               "--max-messages", 3, "--timeout-ms", 20000)
    assert len(lines(out)) == 3
    tool(command, "--delete", "--group", name)
    assert name not in lines(tool(command, "--list"))


def test_transactions(tool, topic, name, broker, needs):
    needs("ListTransactions")
    command = "org.apache.kafka.tools.TransactionsCommand"
    tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", 300, "--record-size", 10,
         "--throughput", -1, "--transactional-id", name, "--transaction-duration-ms", 100,
         "--bootstrap-server", broker.kafka, server=None)
    got = consume(tool, topic, 300, "--isolation-level", "read_committed")
    assert len(got) == 300
    assert re.search(rf"{name}\s+\d+\s+\d+\s+CompleteCommit", tool(command, "list"))
    out = tool(command, "describe", "--transactional-id", name)
    assert "CompleteCommit" in out
    out = tool(command, "describe-producers", "--topic", topic, "--partition", 0)
    assert "ProducerId" in out
    tool(command, "find-hanging", "--broker-id", 1)


def test_scram_credentials(tool, name, needs):
    # Describing a user asks for its quotas, too.
    needs("DescribeClientQuotas")
    user = ["--entity-type", "users", "--entity-name", name]
    tool(CONFIGS, "--alter", *user, "--add-config", "SCRAM-SHA-256=[iterations=4096,password=secret]")
    assert "SCRAM-SHA-256=iterations=4096" in tool(CONFIGS, "--describe", *user)
    tool(CONFIGS, "--alter", *user, "--delete-config", "SCRAM-SHA-256")
    assert "SCRAM-SHA-256" not in tool(CONFIGS, "--describe", *user)


def test_client_quotas(tool, name, needs):
    needs("AlterClientQuotas")
    client = ["--entity-type", "clients", "--entity-name", name]
    tool(CONFIGS, "--alter", *client, "--add-config", "producer_byte_rate=1000000")
    assert "producer_byte_rate=1000000" in tool(CONFIGS, "--describe", *client)
    tool(CONFIGS, "--alter", *client, "--delete-config", "producer_byte_rate")
    assert "producer_byte_rate" not in tool(CONFIGS, "--describe", *client)


@pytest.fixture
def as_user(shell, tmp_path):
    """Runs tools as a user of a broker that has access rules and lets in who logs in over TLS. As in `tool`, but with the
    user and the option that names a file of properties."""
    authority = Authority(tmp_path)
    authority.server()
    port = free_port()
    broker = Broker(tmp_path / "data", "--anonymous", "off", "--kafka-acls", "--kafka-super-user", "User:admin",
                    "--user", "admin:secret", "--user", "app:secret", "--tls-cert", str(tmp_path / "cert.pem"),
                    "--tls-key", str(tmp_path / "key.pem"), "--kafka-tls-addr", f"127.0.0.1:{port}").start()

    def run(user, name, *arguments, config="--command-config", mechanism="SCRAM-SHA-256", text="", status=0, tls=True):
        module = "plain.Plain" if mechanism == "PLAIN" else "scram.Scram"
        login = f'org.apache.kafka.common.security.{module}LoginModule required username="{user}" password="secret";'
        (tmp_path / "client.properties").write_text(
            f"security.protocol={'SASL_SSL' if tls else 'SASL_PLAINTEXT'}\nsasl.mechanism={mechanism}\n"
            f"sasl.jaas.config={login}\nssl.truststore.type=PEM\nssl.truststore.location={authority.file}\n")
        where = f"localhost:{port}" if tls else f"localhost:{broker.kafka_port}"
        done, out, err = shell.run(name, "--bootstrap-server", where, config, tmp_path / "client.properties", *arguments, text=text)
        assert done == status, f"{name} {arguments}: status {done}\n{out}\n{err}"
        return out + err

    yield run
    assert broker.stop() == 0


def test_acls_of_users_who_log_in_over_tls(as_user, name):
    as_user("admin", TOPICS, "--create", "--topic", name)
    end = lambda: as_user("admin", OFFSETS, "--topic", name)
    as_user("app", PRODUCER, "--topic", name, "--command-property", "max.block.ms=3000", text="too soon\n")
    assert f"{name}:0:0" in end()
    as_user("admin", ACLS, "--add", "--allow-principal", "User:app", "--producer", "--topic", name)
    as_user("admin", ACLS, "--add", "--allow-principal", "User:app", "--consumer", "--topic", name, "--group", "g-",
            "--resource-pattern-type", "prefixed")
    listed = as_user("admin", ACLS, "--list", "--topic", name, "--resource-pattern-type", "any")
    for operation in ("WRITE", "DESCRIBE", "READ"):
        assert f"principal=User:app, host=*, operation={operation}, permissionType=ALLOW" in listed
    as_user("app", PRODUCER, "--topic", name, mechanism="PLAIN", text="now\n")
    assert f"{name}:0:1" in end()
    out = as_user("app", CONSUMER, "--topic", name, "--group", "g-1", "--from-beginning", "--max-messages", 1, "--timeout-ms", 20000,
                  mechanism="SCRAM-SHA-512", tls=False)
    assert "now" in lines(out)
    # A rule that denies is stronger than any that allows.
    as_user("admin", ACLS, "--add", "--deny-principal", "User:app", "--operation", "Read", "--topic", name)
    out = as_user("app", CONSUMER, "--topic", name, "--group", "g-2", "--from-beginning", "--max-messages", 1, "--timeout-ms", 3000)
    assert "now" not in lines(out)
    as_user("admin", ACLS, "--remove", "--force", "--topic", name, "--resource-pattern-type", "any")
    assert "User:app" not in as_user("admin", ACLS, "--list", "--topic", name)
    assert "ClusterAuthorizationException" in as_user("app", ACLS, "--list", status=1)
