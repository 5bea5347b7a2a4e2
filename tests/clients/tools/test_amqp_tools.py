"""rabbitmq-c, by its command line tools (Debian: amqp-tools): what shell scripts do with RabbitMQ. The fixtures are those of
`../python/conftest.py`: `PYTHONPATH=../python pytest -p conftest`."""

import subprocess
import time

import pytest


@pytest.fixture
def amqp(broker):
    def run(tool, *options, text="", status=0):
        url = f"amqp://guest:guest@{broker.host}:{broker.amqp_port}"
        done = subprocess.run([f"amqp-{tool}", "--url", url, *options], input=text, capture_output=True, text=True, timeout=30)
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    return run


def test_a_message_by_hand(amqp, name):
    assert amqp("declare-queue", "-d", "-q", name).strip() == name
    amqp("publish", "-r", name, "-p", "-b", "hello", "-C", "text/plain", "-H", "colour: red")
    assert amqp("get", "-q", name) == "hello"
    # Exit status 2: there is none.
    amqp("get", "-q", name, status=2)
    assert amqp("delete-queue", "-q", name).strip() == "0"


def test_the_server_names_a_queue(amqp):
    queue = amqp("declare-queue", "-d", "-q", "").strip()
    assert queue.startswith("amq.gen-")
    amqp("delete-queue", "-q", queue)


def test_a_script_for_each_message(amqp, name):
    amqp("declare-queue", "-d", "-q", name)
    amqp("publish", "-r", name, "-l", text="one\ntwo\nthree\n")
    assert amqp("consume", "-q", name, "-c", "2", "-p", "1", "cat").split() == ["one", "two"]
    # A script that fails puts its message back.
    amqp("consume", "-q", name, "-c", "1", "-p", "1", "grep", "something else")
    assert amqp("get", "-q", name).strip() == "three"
    assert amqp("delete-queue", "--if-empty", "--if-unused", "-q", name).strip() == "0"


def test_a_queue_of_ones_own_at_an_exchange(broker, amqp, name):
    """amqp-consume declares and binds an exclusive queue, and prints its name when it listens."""
    url = f"amqp://guest:guest@{broker.host}:{broker.amqp_port}"
    listener = subprocess.Popen(
        ["amqp-consume", "--url", url, "-e", "amq.topic", "-r", f"{name}.#", "-x", "-A", "-c", "1", "cat"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "amq.gen-" in listener.stderr.readline()
    end = time.monotonic() + 30
    # It prints before it consumes and after it has bound; all the same, publish until it has it.
    while listener.poll() is None and time.monotonic() < end:
        amqp("publish", "-e", "amq.topic", "-r", f"{name}.x.y", "-b", "news")
    assert listener.wait(10) == 0 and listener.stdout.read() == "news"


def test_mistakes_are_told(amqp, name):
    assert f"NOT_FOUND - no queue '{name}' in vhost '/'" in amqp("get", "-q", name, status=1)
    amqp("declare-queue", "-q", name)
    amqp("publish", "-r", name, "-b", "x")
    refused = amqp("delete-queue", "-e", "-q", name, status=1)
    assert f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty" in refused
    amqp("delete-queue", "-q", name)
