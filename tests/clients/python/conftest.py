"""Fixtures: a Bowline of its own for the session, and restartable ones for durability tests.

BOWLINE_BIN names the binary. BOWLINE_AMQP=host:port and BOWLINE_KAFKA=host:port point the tests at a running
broker instead (any RabbitMQ or Kafka): an oracle for what the tests expect.
"""

import itertools
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import uuid

import pytest

BINARY = os.environ.get("BOWLINE_BIN", str(pathlib.Path(__file__).parents[3] / "target/release/bowline"))

# An hour ago, in milliseconds, on a full second: told apart from now, and too young for any retention.
RECENT = int(time.time()) * 1000 - 3_600_000


# Below the ports that the kernel gives to outgoing connections, and a range for each process of a parallel run: a port
# that was free when it was chosen still is when the broker takes it, or takes it again after a restart.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_FIRST, _COUNT = 12_000 + 1_500 * (_WORKER % 12), 1_500
_ports = itertools.cycle(range(_FIRST, _FIRST + _COUNT))
for _ in range(os.getpid() % _COUNT):
    next(_ports)


def free_port():
    for port in itertools.islice(_ports, _COUNT):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


class Broker:
    """A broker process that can be killed and started again on the same data and ports."""

    def __init__(self, data_dir, *options):
        self.data_dir = data_dir
        self.amqp_port, self.kafka_port = free_port(), free_port()
        self.options = options
        self.environment = {}
        self.process = None

    host = "127.0.0.1"

    @property
    def kafka(self):
        return f"{self.host}:{self.kafka_port}"

    def start(self):
        command = [
            BINARY, "serve", "--data-dir", str(self.data_dir), "--no-probe",
            "--amqp-addr", f"127.0.0.1:{self.amqp_port}", "--kafka-addr", f"127.0.0.1:{self.kafka_port}",
            *self.options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env={**os.environ, **self.environment})
        # The first line is printed when the listeners are up.
        first = self.process.stdout.readline()
        if "is ready" not in first:
            raise RuntimeError(f"bowline did not start: {first}{self.process.stderr.read()}")
        self._drain()
        return self

    def _drain(self):
        import threading

        def pump(stream, keep):
            for line in stream:
                keep.append(line)

        self.errors = []
        threading.Thread(target=pump, args=(self.process.stdout, []), daemon=True).start()
        threading.Thread(target=pump, args=(self.process.stderr, self.errors), daemon=True).start()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=20):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def restart(self, kill=True):
        self.kill() if kill else self.stop()
        return self.start()

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024

    def open_files(self):
        """How many descriptors it holds: a measure of its connections."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Elsewhere:
    def __init__(self, amqp, kafka):
        self.host, port = (amqp or "localhost:5672").rsplit(":", 1)
        self.amqp_port = int(port)
        self.kafka = kafka or "localhost:9092"


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    amqp, kafka = os.environ.get("BOWLINE_AMQP"), os.environ.get("BOWLINE_KAFKA")
    if amqp or kafka:
        yield Elsewhere(amqp, kafka)
        return
    broker = Broker(tmp_path_factory.mktemp("data")).start()
    yield broker
    assert broker.process.poll() is None, "the broker died: " + "".join(broker.errors[-20:])
    assert broker.stop() == 0


@pytest.fixture
def own_broker(tmp_path):
    """One that the test may kill."""
    if os.environ.get("BOWLINE_AMQP") or os.environ.get("BOWLINE_KAFKA"):
        pytest.skip("needs a broker of its own")
    broker = Broker(tmp_path / "data").start()
    yield broker
    if broker.process.poll() is None:
        broker.kill()


@pytest.fixture
def name(request):
    """A name no other test uses."""
    return f"t-{request.node.originalname or request.node.name}-{uuid.uuid4().hex[:8]}".replace("[", "-").replace("]", "")


def eventually(check, timeout=20, every=0.05):
    """Polls until `check()` is true; fails the test if it never is."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("it never came true")
        time.sleep(every)
