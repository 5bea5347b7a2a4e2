"""Starts and stops the brokers: on loopback, on free ports, each on a fresh directory of the same disk.

What is started is remembered and ended by `stop_all`, whatever happens. A broker runs in a session of its own, so
that its helpers end with it and nobody else does.
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import install, system, wire

START_PATIENCE_SECONDS = 120
STOP_PATIENCE_SECONDS = 30
JVM = ["-Xmx1G", "-Xms1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
       "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"]
RABBITMQ_CONF = """\
listeners.tcp.1 = 127.0.0.1:{port}
# High enough that no alarm ever blocks a publisher here.
vm_memory_high_watermark.relative = 0.7
disk_free_limit.absolute = 1GB
"""
# The published config/server.properties of a single node, on loopback.
KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""
KAFKA_FLUSHED = "log.flush.interval.messages=1\n"
KAFKA_LOGGING = """\
Configuration:
  Appenders:
    Console: {name: C, target: SYSTEM_OUT, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: C}}
"""
# What a broker is without any: the vhost `/`, and guest with all permissions.
DEFINITIONS = {
    "vhosts": [{"name": "/"}],
    "users": [{"name": "guest", "tags": "administrator", "hashing_algorithm": "rabbit_password_hashing_sha256",
               "password_hash": base64.b64encode(b"salt" + hashlib.sha256(b"saltguest").digest()).decode()}],
    "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
}
RUNNING = []


class Broker:
    """A broker under test. `start_seconds`: from its start to the first answered handshake."""

    kind = ""
    amqp_port = kafka_port = None

    def __init__(self, home):
        self.home = Path(home)
        self.process = self.pid = self.start_seconds = None

    def start(self, policies=()):
        """`policies`: as in RabbitMQ's definitions."""
        self.home.mkdir(parents=True, exist_ok=True)
        if policies:
            self.definitions.write_text(json.dumps({**DEFINITIONS, "policies": list(policies)}))
        self.prepare()
        RUNNING.append(self)
        log = open(self.home / "output.log", "ab")
        begin = time.monotonic()
        self.process = subprocess.Popen(self.command(), env={**os.environ, **self.environment()}, cwd=self.home,
                                        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() - begin > START_PATIENCE_SECONDS:
                tail = (self.home / "output.log").read_text(errors="replace")[-2000:]
                self.stop()
                raise RuntimeError(f"{self.kind} does not start:\n{tail}")
            time.sleep(0.002)
        self.start_seconds = time.monotonic() - begin
        self.pid = system.main_pid(self.process.pid)
        return self

    @property
    def definitions(self):
        return self.home / "definitions.json"

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, as a crash test does. The directory stays."""
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._forget()

    def stop(self, remove=False):
        if self.alive():
            self.process.terminate()
            try:
                self.process.wait(STOP_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                pass
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
        self._forget()
        if remove:
            shutil.rmtree(self.home, ignore_errors=True)

    def _forget(self):
        if self in RUNNING:
            RUNNING.remove(self)

    def _answers(self):
        try:
            if self.amqp_port:
                wire.Amqp.open(self.amqp_port).close()
            if self.kafka_port:
                kafka = wire.Kafka.open(self.kafka_port)
                ready = kafka.brokers() > 0
                kafka.close()
                return ready
            return True
        except (OSError, IndexError, ValueError):
            return False

    def prepare(self):
        """Writes configuration, chooses ports."""

    def environment(self):
        return {}

    def command(self):
        raise NotImplementedError


class Bowline(Broker):
    kind = "bowline"

    def __init__(self, home, program, extra=(), kind="bowline"):
        super().__init__(home)
        self.kind = kind
        self.program, self.extra = str(program), list(extra)
        self.amqp_port, self.kafka_port = system.free_port(), system.free_port()

    def command(self):
        return [self.program, "serve", "--data-dir", str(self.home / "data"),
                "--amqp-addr", f"127.0.0.1:{self.amqp_port}", "--kafka-addr", f"127.0.0.1:{self.kafka_port}",
                *(["--definitions", str(self.definitions)] if self.definitions.exists() else []), *self.extra]


class RabbitMq(Broker):
    kind = "rabbitmq"

    def __init__(self, home, installation):
        super().__init__(home)
        self.installation = installation
        self.amqp_port, self.dist_port, self.epmd_port = (system.free_port() for _ in range(3))
        self.epmd = None

    def prepare(self):
        loads = f"load_definitions = {self.definitions}\n" if self.definitions.exists() else ""
        (self.home / "rabbitmq.conf").write_text(RABBITMQ_CONF.format(port=self.amqp_port) + loads)
        (self.home / "enabled_plugins").write_text("[].\n")
        # Its own name server: one that outlives us, or listens on all interfaces, is not wanted.
        self.epmd = subprocess.Popen(["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)],
                                     stdin=subprocess.DEVNULL, start_new_session=True)

    def environment(self):
        return {
            "HOME": str(self.home),
            "RABBITMQ_NODENAME": f"bench{self.amqp_port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def command(self):
        return [str(self.installation / "sbin/rabbitmq-server")]

    def _forget(self):
        super()._forget()
        if self.epmd:
            self.epmd.kill()
            self.epmd.wait()
            self.epmd = None


class Kafka(Broker):
    kind = "kafka"

    def __init__(self, home, libs, flushed=False):
        super().__init__(home)
        self.libs, self.flushed = libs, flushed
        self.kafka_port, self.controller_port = system.free_port(), system.free_port()
        if flushed:
            self.kind = "kafka-flushed"

    def prepare(self):
        properties = KAFKA_PROPERTIES.format(port=self.kafka_port, controller=self.controller_port,
                                             data=self.home / "data")
        (self.home / "server.properties").write_text(properties + (KAFKA_FLUSHED if self.flushed else ""))
        (self.home / "log4j2.yaml").write_text(KAFKA_LOGGING)
        if not (self.home / "data").exists():
            with open(self.home / "output.log", "ab") as log:
                subprocess.run([*self._java(), "kafka.tools.StorageTool", "format", "--standalone",
                                "--cluster-id", "Ym93bGluZS1iZW5jaC0wMQ", "--config", "server.properties"],
                               cwd=self.home, check=True, timeout=120, stdout=log, stderr=log)

    def command(self):
        return [*self._java(*JVM), "kafka.Kafka", "server.properties"]

    def _java(self, *options):
        return ["java", *options, "-cp", f"{self.libs}/*", "-Dlog4j2.configurationFile=file:log4j2.yaml"]


def stop_all():
    for broker in list(RUNNING):
        broker.stop()


def versions(bowline_program, rabbitmq_home, libs):
    def first_line(command):
        text = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return (text.stdout or text.stderr).strip().splitlines()[0]
    found = {"bowline": first_line([str(bowline_program), "--version"])}
    if rabbitmq_home:
        erlang = ["erl", "-noshell", "-eval", 'io:format("~s", [erlang:system_info(otp_release)]), halt().']
        found["rabbitmq"] = f"RabbitMQ {install.rabbitmq_version(rabbitmq_home)}, Erlang/OTP {first_line(erlang)}"
    if libs:
        found["kafka"] = f"Apache Kafka {libs.parent.name.removeprefix('kafka-')}, {install.java_version()}"
    return found
