"""What is built upon Kafka, running on Bowline: Streams, Connect. Fixtures and jars as in test_kafka_tools.py."""

import subprocess
import threading

import kafka
import pytest
from conftest import eventually, free_port
from kafka_jvm import HERE, java


class Program:
    """A JVM that runs on until it is stopped."""

    def __init__(self, *command):
        self.process = subprocess.Popen(java(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.said = []
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


def make(admin, *topics, partitions=2):
    admin.create_topics([kafka.admin.NewTopic(topic, partitions, 1) for topic in topics])


def send(broker, topic, lines):
    producer = kafka.KafkaProducer(bootstrap_servers=broker.kafka)
    for line in lines:
        producer.send(topic, line.encode())
    producer.flush()
    producer.close()


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
    text, counted = f"{name}-text", f"{name}-counted"
    make(admin, text, counted)
    start = lambda state: Program(HERE / "WordCount.java", broker.kafka, name, text, counted, guarantee, tmp_path / state)
    isolation_level = "read_committed" if guarantee == "exactly_once_v2" else "read_uncommitted"
    counts = Counts(broker, counted, isolation_level)

    def are(expected, program):
        def check():
            program.check()
            return counts.poll() == expected
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
    worker = Program("org.apache.kafka.connect.cli.ConnectStandalone", tmp_path / "worker.properties",
                     tmp_path / "source.properties", tmp_path / "sink.properties")

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
