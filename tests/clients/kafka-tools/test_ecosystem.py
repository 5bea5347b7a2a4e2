"""What is built upon Kafka, running on Bowline: Streams, Connect, MirrorMaker, kcat, Quix Streams, Faust. Fixtures and
jars as in test_kafka_tools.py. STREAMS_PYTHON names a Python that has quixstreams and faust-streaming."""

import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import threading

import kafka
import pytest
from conftest import eventually, free_port
from kafka_jvm import HERE, java


STREAMS_PYTHON = os.environ.get("STREAMS_PYTHON", str(HERE.parents[2] / "target/clients/streams/bin/python"))
needs_streams = pytest.mark.skipif(not pathlib.Path(STREAMS_PYTHON).exists(), reason="STREAMS_PYTHON is not there")


class Program:
    """One that runs on until it is stopped."""

    running = []

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, env=os.environ | environment)
        self.said = []
        self.running.append(self)
        threading.Thread(target=lambda: self.said.extend(self.process.stdout), daemon=True).start()

    def check(self):
        assert self.process.poll() is None, "".join(self.said[-40:])

    def end(self, timeout=60):
        """The end of standard input: an orderly one."""
        self.process.stdin.close()
        return self.process.wait(timeout)

    def terminate(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(20)


@pytest.fixture
def admin(broker):
    admin = kafka.KafkaAdminClient(bootstrap_servers=broker.kafka)
    yield admin
    admin.close()


@pytest.fixture(autouse=True)
def nothing_runs_on():
    yield
    for program in Program.running:
        program.kill()
    Program.running.clear()


def make(admin, *topics, partitions=2):
    admin.create_topics([kafka.admin.NewTopic(topic, partitions, 1) for topic in topics])


def send(broker, topic, lines):
    producer = kafka.KafkaProducer(bootstrap_servers=broker.kafka)
    for line in lines:
        producer.send(topic, line.encode())
    producer.flush()
    producer.close()


def transactional(broker):
    """Leaves a test out where transactions are not on offer: ApiVersions, version 0, has no row for EndTxn (26)."""
    host, port = broker.kafka.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
        read = connection.makefile("rb").read
        answer = read(*struct.unpack(">i", read(4)))
    rows = struct.iter_unpack(">hhh", answer[10:])
    if not any(key == 26 for key, _, _ in rows):
        pytest.skip("transactions are not on offer")


class Counts:
    """The latest count of each word, as a consumer sees them come."""

    def __init__(self, broker, topic, isolation_level):
        self.consumer = kafka.KafkaConsumer(topic, bootstrap_servers=broker.kafka, auto_offset_reset="earliest",
                                            isolation_level=isolation_level, group_id=None)
        self.latest = {}
        self.seen = []

    def poll(self):
        for records in self.consumer.poll(200).values():
            for record in records:
                word, count = record.key.decode(), int(record.value)
                self.latest[word] = count
                self.seen.append((word, count))
        return self.latest


@pytest.mark.timeout(240)
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once_v2"])
def test_streams_word_count(broker, admin, name, tmp_path, guarantee):
    if guarantee == "exactly_once_v2":
        transactional(broker)
    text, counted = f"{name}-text", f"{name}-counted"
    make(admin, text, counted)
    start = lambda state: Program(
        *java(HERE / "WordCount.java", broker.kafka, name, text, counted, guarantee, tmp_path / state))
    isolation_level = "read_committed" if guarantee == "exactly_once_v2" else "read_uncommitted"
    counts = Counts(broker, counted, isolation_level)

    def are(expected, program):
        def check():
            program.check()
            latest = counts.poll()
            if guarantee == "exactly_once_v2":
                return latest == expected
            # What was counted but not committed when it died is counted again.
            return latest.keys() == expected.keys() and all(latest[word] >= count for word, count in expected.items())
        return check

    app = start("first")
    send(broker, text, ["the quick brown fox", "jumps over the lazy dog"] * 5)
    eventually(are({"the": 10} | dict.fromkeys("quick brown fox jumps over lazy dog".split(), 5), app), 100)
    # It dies, and another one without its state goes on from the changelog.
    app.kill()
    send(broker, text, ["the end"] * 10)
    app = start("second")
    final = {"the": 20, "end": 10} | dict.fromkeys("quick brown fox jumps over lazy dog".split(), 5)
    eventually(are(final, app), 100)
    assert app.end() == 0
    if guarantee == "exactly_once_v2":
        # Every count of every word once, in order: nothing lost, nothing twice.
        for word, last in final.items():
            assert [count for seen, count in counts.seen if seen == word] == list(range(1, last + 1))


@pytest.mark.timeout(180)
def test_connect_carries_lines_from_file_to_file(broker, name, tmp_path):
    source, sink = tmp_path / "source.txt", tmp_path / "sink.txt"
    source.write_text("one\ntwo\n")
    write = lambda file, settings: (tmp_path / file).write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
    string = "org.apache.kafka.connect.storage.StringConverter"
    write("worker.properties", {
        "bootstrap.servers": broker.kafka, "key.converter": string, "value.converter": string,
        "offset.storage.file.filename": tmp_path / "offsets", "offset.flush.interval.ms": 500,
        "listeners": f"http://127.0.0.1:{free_port()}"})
    write("source.properties", {"name": "from", "connector.class": "FileStreamSource", "tasks.max": 1,
                                "file": source, "topic": name})
    write("sink.properties", {"name": "to", "connector.class": "FileStreamSink", "tasks.max": 1, "file": sink,
                              "topics": name})
    worker = Program(*java("org.apache.kafka.connect.cli.ConnectStandalone", tmp_path / "worker.properties",
                           tmp_path / "source.properties", tmp_path / "sink.properties"))

    def carried(*lines):
        def check():
            worker.check()
            return sink.exists() and sink.read_text().split() == list(lines)
        return check

    eventually(carried("one", "two"), 100)
    with source.open("a") as more:
        more.write("three\n")
    eventually(carried("one", "two", "three"), 60)
    worker.terminate()


@pytest.mark.skipif(not shutil.which("kcat"), reason="no kcat")
def test_kcat(broker, name):
    def kcat(*options, text=None):
        done = subprocess.run(["kcat", "-b", broker.kafka, *options], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    kcat("-P", "-t", name, "-K", ":", "-H", "colour=red", "-z", "zstd", text="a:1\nb:2\n")
    assert kcat("-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%k=%s %h\n").split("\n")[:2] == [
        "a=1 colour=red", "b=2 colour=red"]
    listed = json.loads(kcat("-L", "-J", "-t", name))
    assert listed["topics"][0]["topic"] == name and listed["brokers"][0]["id"] == 1
    assert f"{name} [0] offset 1" in kcat("-Q", "-t", f"{name}:0:-1") or "2" in kcat("-Q", "-t", f"{name}:0:-1")
    group = kcat("-G", f"g-{name}", "-o", "beginning", "-c", "2", "-q", "-X", "auto.offset.reset=earliest", name)
    assert sorted(group.split()) == ["1", "2"]


def records(broker, topic, isolation_level="read_uncommitted"):
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=broker.kafka, auto_offset_reset="earliest",
                                   isolation_level=isolation_level, group_id=None)
    got = []

    def poll():
        for batch in consumer.poll(200).values():
            got.extend(batch)
        return got
    return poll


@needs_streams
@pytest.mark.timeout(180)
@pytest.mark.parametrize("guarantee", ["at-least-once", "exactly-once"])
def test_quix_streams(broker, admin, name, tmp_path, guarantee):
    if guarantee == "exactly-once":
        transactional(broker)
    source, target = f"{name}-in", f"{name}-out"
    make(admin, source, target, partitions=1)
    producer = kafka.KafkaProducer(bootstrap_servers=broker.kafka)
    put = lambda n: producer.send(source, key=b"k", value=json.dumps({"n": n}).encode()).get(20)
    start = lambda state: Program(STREAMS_PYTHON, HERE / "quix_app.py", broker.kafka, name, source, target,
                                  tmp_path / state, guarantee)
    poll = records(broker, target, "read_committed" if guarantee == "exactly-once" else "read_uncommitted")
    sums = lambda app: lambda: app.check() or [json.loads(record.value)["sum"] for record in poll()]
    app = start("first")
    for n in (1, 2, 3):
        put(n)
    eventually(lambda: sums(app)() == [1, 3, 6], 100)
    app.terminate()
    # Its successor has no state but the changelog's.
    put(4)
    app = start("second")
    eventually(lambda: sums(app)() == [1, 3, 6, 10], 100)
    app.terminate()


@needs_streams
@pytest.mark.timeout(180)
def test_faust(broker, admin, name, tmp_path):
    source, target = f"{name}-in", f"{name}-out"
    make(admin, source, target)
    producer = kafka.KafkaProducer(bootstrap_servers=broker.kafka)
    app = Program(STREAMS_PYTHON, "-m", "faust", "-A", "faust_app", "worker", "-l", "info", PYTHONPATH=str(HERE),
                  FAUST_ID=name, FAUST_BROKER=broker.kafka, FAUST_SOURCE=source, FAUST_TARGET=target,
                  FAUST_DATADIR=str(tmp_path))
    poll = records(broker, target)
    for word in "a b a c a".split():
        producer.send(source, key=word.encode(), value=word.encode()).get(20)

    def counted():
        app.check()
        latest = {record.key.decode(): int(record.value) for record in poll()}
        return latest == {"a": 3, "b": 1, "c": 1}

    eventually(counted, 120)
    app.terminate()


@pytest.fixture
def real_kafka(tmp_path):
    """A Kafka of Kafka's, from the same jars."""
    port, controller = free_port(), free_port()
    (tmp_path / "kafka.properties").write_text(f"""
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={tmp_path}/kafka
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
""")
    properties = tmp_path / "kafka.properties"
    formatted = java("kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", properties)
    subprocess.run(formatted, check=True, capture_output=True, timeout=100)
    server = Program(*java("kafka.Kafka", properties))

    def is_up():
        server.check()
        try:
            kafka.KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}").close()
            return True
        except kafka.errors.KafkaError:
            return False

    eventually(is_up, 60)
    yield f"127.0.0.1:{port}"
    server.terminate()


@pytest.mark.timeout(300)
def test_mirror_maker_brings_a_kafka_over(broker, real_kafka, name, tmp_path):
    """Topics with their settings, records with keys and headers, and groups' offsets: a migration."""
    there = kafka.KafkaAdminClient(bootstrap_servers=real_kafka)
    there.create_topics([kafka.admin.NewTopic(name, 2, 1, topic_configs={"retention.ms": "123456789"})])
    producer = kafka.KafkaProducer(bootstrap_servers=real_kafka)
    for n in range(100):
        producer.send(name, key=str(n).encode(), value=f"v{n}".encode(), headers=[("h", b"x")]).get(20)
    (tmp_path / "mm2.properties").write_text(f"""
clusters=there,here
there.bootstrap.servers={real_kafka}
here.bootstrap.servers={broker.kafka}
there->here.enabled=true
there->here.topics={name}
there->here.sync.group.offsets.enabled=true
replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy
replication.factor=1
offset-syncs.topic.replication.factor=1
checkpoints.topic.replication.factor=1
heartbeats.topic.replication.factor=1
offset.storage.replication.factor=1
config.storage.replication.factor=1
status.storage.replication.factor=1
refresh.topics.interval.seconds=2
emit.checkpoints.interval.seconds=2
""")
    mirror = Program(*java("org.apache.kafka.connect.mirror.MirrorMaker", tmp_path / "mm2.properties", "--clusters", "here"))
    here = kafka.KafkaAdminClient(bootstrap_servers=broker.kafka)
    # Asking for the topic before would make it.
    eventually(lambda: mirror.check() or name in here.list_topics(), 150, 1)
    poll = records(broker, name)

    def mirrored():
        mirror.check()
        got = {(record.key, record.value, tuple(record.headers)) for record in poll()}
        return len(got) == 100 and (b"7", b"v7", (("h", b"x"),)) in got

    eventually(mirrored, 100)
    resource = kafka.admin.ConfigResource(kafka.admin.ConfigResourceType.TOPIC, name)
    configs = str(here.describe_configs([resource]))
    assert "123456789" in configs
    mirror.terminate()
