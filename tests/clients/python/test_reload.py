"""Definitions on a running broker: what SIGHUP changes counts at once, also for what is there already."""

import json
import signal
import subprocess
import time

import pika
import pika.exceptions
import pytest

import conftest
from conftest import Broker, eventually
from test_definitions import DEFINITIONS, enter
from test_lifetimes import bodies, ready, take
from test_pika import connect, persistent

VHOST = "office"


class Node:
    """A broker with a definitions file of its own."""

    def __init__(self, directory, definitions):
        self.file = directory / "definitions.json"
        self.definitions = definitions
        self.write()
        self.broker = Broker(directory / "data", "--definitions", str(self.file))

    def write(self):
        self.file.write_text(json.dumps(self.definitions))

    def reload(self):
        """Writes the definitions, tells the broker, and waits until it has read them."""
        self.write()
        before = self.reads()
        self.broker.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.reads() > before)

    def reads(self):
        return sum("definitions read again" in line for line in self.broker.errors)

    def policy(self, name, pattern, definition, **more):
        policies = [p for p in self.definitions["policies"] if p["name"] != name]
        policies.append({"vhost": VHOST, "name": name, "pattern": pattern, "apply-to": "queues", "priority": 0,
                         "definition": definition, **more})
        self.definitions["policies"] = policies


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path, json.loads(DEFINITIONS.read_text()))
    node.broker.start()
    yield node
    if node.broker.process.poll() is None:
        node.broker.kill()


@pytest.fixture
def channel(node):
    with enter(node.broker) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def fill(channel, queue, n):
    channel.queue_declare(queue, durable=True)
    for i in range(n):
        channel.basic_publish("", queue, str(i), persistent())


def test_what_is_new_in_the_file_is_there_after_sighup(node):
    node.definitions["queues"].append({"name": "new", "vhost": VHOST, "durable": True, "arguments": {}})
    node.definitions["users"].append({"name": "newcomer", "password": "hello", "tags": ""})
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    node.definitions["permissions"].append({"user": "newcomer", "vhost": VHOST, **everything})
    node.reload()
    with enter(node.broker, "newcomer", "hello") as connection:
        assert connection.channel().queue_declare("new", passive=True)
    # A password that changes is asked for from now on.
    node.definitions["users"][-1]["password"] = "goodbye"
    node.reload()
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        enter(node.broker, "newcomer", "hello")
    enter(node.broker, "newcomer", "goodbye").close()
    # All of it outlives the file.
    node.broker.kill()
    Broker.__init__(node.broker, node.broker.data_dir)
    node.broker.start()
    with enter(node.broker, "newcomer", "goodbye") as connection:
        assert connection.channel().queue_declare("new", passive=True)


def test_a_file_that_is_broken_changes_nothing(node, channel):
    node.file.write_text("{")
    node.broker.process.send_signal(signal.SIGHUP)
    eventually(lambda: any("ERROR" in line and "definitions" in line for line in node.broker.errors))
    assert channel.queue_declare("inbox", passive=True)


def test_a_time_to_live_by_policy_counts_for_what_waits(node, channel):
    fill(channel, "p-ttl", 3)
    node.policy("ttl", "^p-ttl$", {"message-ttl": 500, "dead-letter-exchange": "", "dead-letter-routing-key": "inbox"})
    node.reload()
    eventually(lambda: ready(channel, "p-ttl") == 0)
    eventually(lambda: ready(channel, "inbox") == 3)
    _, properties, body = take(channel, "inbox")
    assert body == b"0" and properties.headers["x-death"][0]["reason"] == "expired"
    # A longer one counts for what comes.
    node.policy("ttl", "^p-ttl$", {"message-ttl": 3_600_000})
    node.reload()
    channel.basic_publish("", "p-ttl", b"x", persistent())
    time.sleep(0.8)
    assert ready(channel, "p-ttl") == 1


def test_a_maximal_length_by_policy_drops_what_is_too_much(node, channel):
    fill(channel, "p-length", 10)
    node.policy("length", "^p-length$",
                {"max-length": 4, "dead-letter-exchange": "", "dead-letter-routing-key": "inbox"})
    node.reload()
    eventually(lambda: ready(channel, "p-length") == 4)
    eventually(lambda: ready(channel, "inbox") == 6)
    assert bodies(channel, "inbox") == [str(i).encode() for i in range(6)]
    # Refusing instead of dropping, from now on.
    node.policy("length", "^p-length$", {"max-length": 4, "overflow": "reject-publish"})
    node.reload()
    with pytest.raises(pika.exceptions.NackError):
        channel.basic_publish("", "p-length", b"x", persistent())
    assert bodies(channel, "p-length") == [str(i).encode() for i in range(6, 10)]


def test_a_dead_letter_exchange_by_policy_counts_for_what_is_held(node, channel):
    fill(channel, "p-dead", 1)
    method, _, _ = take_unsettled(channel, "p-dead")
    node.policy("dead", "^p-dead$", {"dead-letter-exchange": "lost"})
    node.reload()
    channel.basic_reject(method.delivery_tag, requeue=False)
    assert take(channel, "lost")[2] == b"0"


def take_unsettled(channel, queue):
    def get():
        got = channel.basic_get(queue)
        return got if got[0] else None
    return eventually(get)


def test_an_operator_bounds_what_policies_and_arguments_say(node, channel):
    node.policy("generous", "^p-op", {"max-length": 100, "message-ttl": 3_600_000})
    cap = {"vhost": VHOST, "component": "operator_policy", "name": "cap",
           "value": {"pattern": "^p-op", "apply-to": "queues", "priority": 0, "definition": {"max-length": 3}}}
    node.definitions["parameters"].append(cap)
    node.reload()
    channel.queue_declare("p-op-1", durable=True, arguments={"x-max-length": 50})
    fill(channel, "p-op-2", 5)
    for i in range(5):
        channel.basic_publish("", "p-op-1", str(i), persistent())
    for queue in ("p-op-1", "p-op-2"):
        eventually(lambda: ready(channel, queue) == 3)
    # A policy may ask for less, not for more.
    node.policy("generous", "^p-op", {"max-length": 2})
    node.reload()
    for queue in ("p-op-1", "p-op-2"):
        eventually(lambda: ready(channel, queue) == 2)


def test_limits_count_for_who_comes_next(node, channel):
    limits = next(p for p in node.definitions["parameters"] if p["component"] == "vhost-limits")
    clerk = next(user for user in node.definitions["users"] if user["name"] == "clerk")
    clerk["limits"] = {"max-connections": 2, "max-channels": 1}
    node.reload()
    with enter(node.broker, "clerk", "pencil") as first, enter(node.broker, "clerk", "pencil") as second:
        with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
            enter(node.broker, "clerk", "pencil")
        assert "user connection limit (2) is reached" in str(refused.value.args[0])
        first.channel()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
            second.channel()
        assert closed.value.reply_code == 530
        assert closed.value.reply_text.endswith("has reached the maximum allowed user limit of 1")
    # Places are free again, however their connections ended.
    broken = enter(node.broker, "clerk", "pencil")
    broken._impl._transport.abort()
    eventually(lambda: settles(lambda: enter(node.broker, "clerk", "pencil").close()))

    limits["value"]["max-connections"] = 0
    node.reload()
    assert channel.queue_declare("inbox", passive=True), "who is in stays"
    with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
        enter(node.broker)
    text = "access to vhost 'office' refused for user 'guest': connection limit (0) is reached"
    assert text in str(refused.value.args[0])
    limits["value"]["max-connections"] = -1
    node.reload()
    enter(node.broker).close()


def settles(attempt):
    try:
        attempt()
        return True
    except pika.exceptions.AMQPConnectionError:
        return False


def test_a_vhost_s_default_queue_type(node):
    node.definitions["vhosts"] += [
        {"name": "quorums", "default_queue_type": "quorum"},
        {"name": "streams", "metadata": {"default_queue_type": "stream"}},
    ]
    everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
    node.definitions["permissions"] += [{"vhost": vhost, **everything} for vhost in ("quorums", "streams")]
    node.reload()
    with enter(node.broker, vhost="quorums") as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        # What cannot be one is classic.
        channel.queue_declare("mine", exclusive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare("q", durable=True, arguments={"x-queue-type": "classic"})
    with enter(node.broker, vhost="streams") as connection:
        channel = connection.channel()
        channel.queue_declare("s", durable=True)
        with pytest.raises(pika.exceptions.AMQPError, match="basic.get not supported|540"):
            channel.basic_get("s")


def test_topic_permissions_know_who_asks(node):
    node.definitions["topic_permissions"] = [
        {"user": "clerk", "vhost": VHOST, "exchange": "forms", "write": "^{username}-{vhost}\\.", "read": ".*"}]
    node.reload()
    with enter(node.broker, "clerk", "pencil") as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("forms", "clerk-office.1", b"x")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            channel.basic_publish("forms", "other-office.1", b"x")
        assert closed.value.reply_code == 403


def test_what_is_exported_is_what_was_imported(tmp_path):
    node = Node(tmp_path, json.loads(DEFINITIONS.read_text()))
    node.broker.start()
    assert node.broker.stop() == 0

    def exported(data):
        command = [conftest.BINARY, "export", "--data-dir", str(data)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    first = exported(tmp_path / "data")
    again = tmp_path / "again.json"
    again.write_text(json.dumps(first))
    subprocess.run([conftest.BINARY, "import", str(again), "--data-dir", str(tmp_path / "other")], check=True,
                   capture_output=True)
    assert exported(tmp_path / "other") == first
    # And nothing of the original is missing.
    for part in ("users", "permissions", "topic_permissions", "policies", "queues", "exchanges", "bindings"):
        names = [key(part, entry) for entry in first[part]]
        assert all(key(part, entry) in names for entry in node.definitions[part]), part


def key(part, entry):
    fields = {"bindings": ("vhost", "source", "destination", "routing_key"),
              "permissions": ("user", "vhost", "configure", "write", "read"),
              "topic_permissions": ("user", "vhost", "exchange", "write", "read"),
              "policies": ("vhost", "name", "pattern", "priority")}
    return tuple(entry.get(field) for field in fields.get(part, ("vhost", "name")))


def test_a_huge_file_is_taken_over(tmp_path):
    queues, policies, bindings = 5_000, 2_000, 20_000
    definitions = {
        "vhosts": [{"name": "/"}],
        "policies": [{"vhost": "/", "name": f"p{i}", "pattern": f"^team-{i}\\.", "apply-to": "queues", "priority": i,
                      "definition": {"max-length": i + 1}} for i in range(policies)],
        "queues": [{"vhost": "/", "name": f"team-{i}.work", "durable": True, "arguments": {}} for i in range(queues)],
        "exchanges": [{"vhost": "/", "name": "events", "type": "topic", "durable": True}],
        "bindings": [{"vhost": "/", "source": "events", "destination": f"team-{i % queues}.work",
                      "destination_type": "queue", "routing_key": f"*.{i}.#"} for i in range(bindings)],
    }
    node = Node(tmp_path, definitions)
    node.broker.start()
    try:
        with connect(node.broker) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.basic_publish("events", "a.7.b", b"x", persistent(), mandatory=True)
            assert take(channel, "team-7.work")[2] == b"x"
            for i in range(5):
                channel.basic_publish("", "team-1.work", str(i), persistent())
            eventually(lambda: ready(channel, "team-1.work") == 2)
        # Nothing has changed, so nothing is to be done.
        node.reload()
        assert any("0 refused" in line for line in node.broker.errors if "read again" in line)
    finally:
        node.broker.kill()
