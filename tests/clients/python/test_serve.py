"""`bowline serve` and the commands beside it, as a user meets them in a shell."""

import json
import os
import pathlib
import signal
import socket
import subprocess

import pika
import pytest

from conftest import BINARY, Broker, eventually, free_port


@pytest.fixture(autouse=True)
def a_binary():
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("about Bowline's own command line")


def run(*arguments, stdin=None, env=None, cwd=None, timeout=60):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BOWLINE_")} | (env or {})
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, env=environment, cwd=cwd, timeout=timeout,
                          capture_output=True, text=True)


class Serving:
    """A `serve` process whose words are read line by line."""

    def __init__(self, *arguments, env=None, cwd=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BOWLINE_")} | (env or {})
        self.process = subprocess.Popen([BINARY, "serve", *map(str, arguments)], env=environment, cwd=cwd,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def until(self, text):
        """What was printed up to the line with that text."""
        seen = ""
        while text not in seen:
            line = self.process.stdout.readline()
            assert line, f"ended without {text!r}: {seen}{self.process.stderr.read()}"
            seen += line
        return seen


def answers_amqp(port):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(b"AMQP\x00\x00\x09\x01")
        return s.recv(1) == b"\x01"


def answers_kafka(port):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff")
        return s.recv(8)[4:] == b"\x00\x00\x00\x07"


def test_the_banner_says_where_and_how(tmp_path):
    amqp, kafka = free_port(), free_port()
    data = tmp_path / "data"
    with Serving("--data-dir", data, "--amqp-addr", f"127.0.0.1:{amqp}", "--kafka-addr", f"127.0.0.1:{kafka}") as serving:
        banner = serving.until("durability")
        assert "is ready" in banner.splitlines()[0]
        assert f"127.0.0.1:{amqp}" in banner and f"127.0.0.1:{kafka}" in banner and str(data) in banner
        assert f"bowline publish amqp://127.0.0.1:{amqp}/" in banner
        assert answers_amqp(amqp) and answers_kafka(kafka)


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path):
    flag, env, file = free_port(), free_port(), free_port()
    config = tmp_path / "bowline.toml"
    config.write_text(f"""
        data-dir = "{tmp_path / 'from-file'}"
        amqp-addr = "127.0.0.1:{file}"
        kafka-addr = "127.0.0.1:{file}"
        no-probe = true
    """)
    environment = {"BOWLINE_CONFIG": str(config), "BOWLINE_AMQP_ADDR": f"127.0.0.1:{env}", "BOWLINE_KAFKA_ADDR": f"127.0.0.1:{env}"}
    with Serving("--kafka-addr", f"127.0.0.1:{flag}", env=environment) as serving:
        serving.until("data")
        assert answers_amqp(env) and answers_kafka(flag)
        assert (tmp_path / "from-file").is_dir()
        for port, answers in ((file, answers_amqp), (file, answers_kafka)):
            with pytest.raises(ConnectionRefusedError):
                answers(port)


def test_the_default_data_directory_is_here(tmp_path):
    with Serving("--no-probe", "--amqp-addr", f"127.0.0.1:{free_port()}", "--kafka-addr", "none", cwd=tmp_path) as serving:
        assert "off" in serving.until("data")
        assert (tmp_path / "bowline-data").is_dir()


@pytest.mark.parametrize("arguments, env, word", [
    (["--flush", "sometimes"], {}, "sometimes"),
    (["--cache", "1KiB"], {}, "cache"),
    (["--segment", "1000"], {}, "segment"),
    (["--shards", "0"], {}, "shards"),
    (["--config", "/no/such/file.toml"], {}, "/no/such/file.toml"),
    (["--user", "nameonly"], {}, "name:password"),
    (["--log-level", "warn,=,"], {}, "log-level"),
    ([], {"BOWLINE_FLUSH": "sometimes"}, "sometimes"),
    (["--nonsense"], {}, "--nonsense"),
])
def test_bad_options_are_named(tmp_path, arguments, env, word):
    result = run("serve", "--data-dir", tmp_path / "d", "--amqp-addr", f"127.0.0.1:{free_port()}", "--kafka-addr", "none", *arguments, env=env, timeout=20)
    assert result.returncode != 0 and word in result.stderr
    assert "panicked" not in result.stderr


def test_an_unknown_key_in_the_file_is_named(tmp_path):
    config = tmp_path / "bowline.toml"
    config.write_text("cahce = '64MiB'\n")
    result = run("serve", "--config", config)
    assert result.returncode != 0 and "cahce" in result.stderr and str(config) in result.stderr


def test_an_address_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", "--data-dir", tmp_path / "d", "--amqp-addr", f"127.0.0.1:{port}", "--kafka-addr", "none")
        assert result.returncode != 0 and f"127.0.0.1:{port}" in result.stderr


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path, sent):
    broker = Broker(tmp_path / "data").start()
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port))
    channel = connection.channel()
    channel.queue_declare("q", durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"kept", pika.BasicProperties(delivery_mode=2))
    broker.process.send_signal(sent)
    # Clients are told, not cut off.
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        while True:
            connection.process_data_events(0.2)
    assert closed.value.reply_code == 320
    assert broker.process.wait(20) == 0
    broker.start()
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port))
    assert connection.channel().basic_get("q", auto_ack=True)[2] == b"kept"
    connection.close()
    assert broker.stop() == 0


def test_what_else_lies_in_the_data_directory_is_left_alone(tmp_path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "thesis.txt").write_text("do not touch")
    broker = Broker(tmp_path).start()
    assert broker.restart(kill=False) and broker.stop() == 0
    assert (tmp_path / "thesis.txt").read_text() == "do not touch" and (tmp_path / "lost+found").is_dir()


def test_users_besides_guest(tmp_path):
    users = tmp_path / "users"
    users.write_text("# comment\nbea:with:colon\n")
    broker = Broker(tmp_path / "data", "--user", "ann:secret", "--users-file", str(users)).start()

    def login(name, password):
        credentials = pika.PlainCredentials(name, password)
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port, credentials=credentials)).close()

    login("ann", "secret")
    login("bea", "with:colon")
    login("guest", "guest")
    for name, password in (("ann", "wrong"), ("nobody", ""), ("bea", "with")):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            login(name, password)
    assert broker.stop() == 0


def test_log_format_json(tmp_path):
    with Serving("--data-dir", tmp_path / "d", "--no-probe", "--amqp-addr", f"127.0.0.1:{free_port()}", "--kafka-addr", "none",
                 "--log-format", "json", "--log-level", "debug") as serving:
        serving.until("data")
        serving.process.send_signal(signal.SIGTERM)
        _, errors = serving.process.communicate(timeout=20)
        lines = [json.loads(line) for line in errors.splitlines()]
        assert lines and all("level" in line for line in lines)


# --- publish and consume --------------------------------------------------------------------------------------------


def bodies(result):
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_publish_and_consume_over_amqp(broker, name):
    url = f"amqp://127.0.0.1:{broker.amqp_port}/"
    assert run("publish", url, "--queue", name, "hello", "--confirm").returncode == 0
    lines = "".join(f"line {i}\n" for i in range(100))
    assert run("publish", url, "--queue", name, "--confirm", stdin=lines).returncode == 0
    got = bodies(run("consume", url, "--queue", name, "--count", 101, "--ack"))
    assert got == ["hello"] + lines.splitlines()
    # Acknowledged: gone.
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port))
    eventually(lambda: connection.channel().queue_declare(name, passive=True).method.message_count == 0)
    connection.close()


def test_consume_can_requeue(broker, name):
    url = f"amqp://127.0.0.1:{broker.amqp_port}/"
    assert run("publish", url, "--queue", name, "again", "--confirm").returncode == 0
    assert bodies(run("consume", url, "--queue", name, "--count", 1, "--requeue")) == ["again"]
    assert bodies(run("consume", url, "--queue", name, "--count", 1, "--ack")) == ["again"]


def test_publish_and_consume_over_kafka(broker, name):
    url = f"kafka://127.0.0.1:{broker.kafka_port}"
    assert run("publish", url, "--topic", name, "hello").returncode == 0
    lines = "".join(f"line {i}\n" for i in range(100))
    assert run("publish", url, "--topic", name, stdin=lines).returncode == 0
    assert bodies(run("consume", url, "--topic", name, "--from", "earliest", "--count", 101)) == ["hello"] + lines.splitlines()
    assert bodies(run("consume", url, "--topic", name, "--from", 99, "--count", 2)) == ["line 98", "line 99"]


def test_json_for_scripts(broker, name):
    url = f"kafka://127.0.0.1:{broker.kafka_port}"
    assert run("publish", url, "--topic", name, "hello").returncode == 0
    (line,) = bodies(run("consume", url, "--topic", name, "--from", "earliest", "--count", 1, "--json"))
    message = json.loads(line)
    assert message["offset"] == 0 and "hello" in json.dumps(message)


def test_a_broker_that_is_not_there(name):
    for url, target in ((f"amqp://127.0.0.1:{free_port()}/", "--queue"), (f"kafka://127.0.0.1:{free_port()}", "--topic")):
        result = run("publish", url, target, name, "hello")
        assert result.returncode != 0 and result.stderr and "panicked" not in result.stderr


# --- the other commands ---------------------------------------------------------------------------------------------


def test_inspect_tells_what_is_there_and_what_is_damaged(tmp_path):
    data = tmp_path / "data"
    broker = Broker(data).start()
    connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqp_port))
    channel = connection.channel()
    channel.queue_declare("inspected", durable=True)
    channel.confirm_delivery()
    for i in range(50):
        channel.basic_publish("", "inspected", b"needle-%d" % i, pika.BasicProperties(delivery_mode=2))
    connection.close()
    assert broker.stop() == 0
    whole = run("inspect", data)
    assert whole.returncode == 0, whole.stderr
    assert "inspected" in whole.stdout
    # A flipped bit in the middle of a message.
    for path in data.rglob("*"):
        content = bytearray(path.read_bytes()) if path.is_file() else b""
        at = content.find(b"needle-25")
        if at >= 0:
            content[at] ^= 1
            path.write_bytes(content)
            break
    else:
        pytest.fail("the message is not on disk")
    damaged = run("inspect", data)
    assert damaged.returncode != 0 and "panicked" not in damaged.stderr
    assert "checksum" in (damaged.stdout + damaged.stderr).lower() or "damage" in (damaged.stdout + damaged.stderr).lower()


def test_help_teaches_by_examples():
    top = run("--help")
    assert top.returncode == 0 and "Examples" in top.stdout
    for command in ("serve", "publish", "consume", "bench", "verify", "inspect"):
        assert command in top.stdout
        result = run(command, "--help")
        assert result.returncode == 0 and "bowline " + command in result.stdout, command


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_and_manual(shell):
    assert "bowline" in run("completions", shell).stdout
    assert ".TH bowline" in run("man").stdout
