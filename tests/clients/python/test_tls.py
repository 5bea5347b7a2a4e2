"""Encrypted connections of both protocols, and clients that are known by their certificate."""

import json
import shutil
import signal
import socket
import ssl
import subprocess

import aio_pika
import pika
import pytest
import trustme
from confluent_kafka import Consumer, Producer
from kafka import KafkaConsumer, KafkaProducer

from conftest import BINARY, Broker, eventually, free_port


class Authority:
    def __init__(self, directory):
        self.directory = directory
        self.ca = trustme.CA()
        self.file = directory / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def server(self):
        """The broker's certificate, newly issued."""
        pair = self.ca.issue_cert("localhost", "127.0.0.1")
        (self.directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
        pair.private_key_pem.write_to_path(self.directory / "key.pem")

    def client(self, name):
        """Certificate and key of a client, as two files."""
        pair = self.ca.issue_cert(f"{name}@example.com", common_name=name)
        pair.cert_chain_pems[0].write_to_path(self.directory / f"{name}.pem")
        pair.private_key_pem.write_to_path(self.directory / f"{name}.key")
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")

    def context(self, client=None):
        context = ssl.create_default_context(cafile=str(self.file))
        if client:
            context.load_cert_chain(*self.client(client))
        return context


@pytest.fixture
def authority(tmp_path):
    directory = tmp_path / "pki"
    directory.mkdir()
    authority = Authority(directory)
    authority.server()
    return authority


@pytest.fixture
def start(tmp_path, authority):
    brokers = []

    def start(*options):
        broker = Broker(
            tmp_path / "data", "--tls-cert", str(authority.directory / "cert.pem"),
            "--tls-key", str(authority.directory / "key.pem"), *options)
        broker.amqps_port, broker.kafka_tls_port = free_port(), free_port()
        broker.options += ("--amqp-tls-addr", f"127.0.0.1:{broker.amqps_port}",
                           "--kafka-tls-addr", f"127.0.0.1:{broker.kafka_tls_port}")
        brokers.append(broker.start())
        return broker

    yield start
    for broker in brokers:
        assert broker.stop() == 0


def amqps(broker, context, credentials=None):
    return pika.BlockingConnection(pika.ConnectionParameters(
        "localhost", broker.amqps_port, ssl_options=pika.SSLOptions(context, "localhost"),
        credentials=credentials or pika.PlainCredentials("guest", "guest")))


def test_pika_over_tls(start, authority):
    broker = start()
    connection = amqps(broker, authority.context())
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare("q", durable=True)
    bodies = [b"", b"x", b"y" * 5000, b"z" * 3_000_000]
    for body in bodies:
        channel.basic_publish("", "q", body, pika.BasicProperties(delivery_mode=2))
    got = []
    for method, _, body in channel.consume("q", inactivity_timeout=20):
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == len(bodies):
            break
    assert got == bodies
    connection.close()


def test_aio_pika_over_tls(start, authority):
    import asyncio

    broker = start()

    async def tour():
        connection = await aio_pika.connect(
            f"amqps://guest:guest@localhost:{broker.amqps_port}/", ssl_context=authority.context())
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        for n in range(500):
            await channel.default_exchange.publish(aio_pika.Message(b"%d" % n), "q")
        got = [(await queue.get(no_ack=True)).body for _ in range(500)]
        await connection.close()
        return got

    assert asyncio.run(tour()) == [b"%d" % n for n in range(500)]


def test_an_unknown_authority_and_a_client_without_tls(start, authority, tmp_path):
    broker = start()
    with pytest.raises(ssl.SSLCertVerificationError):
        context = ssl.create_default_context()
        with socket.create_connection(("127.0.0.1", broker.amqps_port)) as plain:
            context.wrap_socket(plain, server_hostname="localhost")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.amqps_port))
    amqps(broker, authority.context()).close()


def test_kafka_clients_over_tls(start, authority):
    broker = start()
    address = f"localhost:{broker.kafka_tls_port}"
    producer = KafkaProducer(bootstrap_servers=address, security_protocol="SSL", ssl_cafile=str(authority.file))
    for n in range(200):
        producer.send("t", b"%d" % n)
    producer.flush()
    options = {"bootstrap.servers": address, "security.protocol": "ssl", "ssl.ca.location": str(authority.file)}
    librdkafka = Producer(options)
    for n in range(200, 400):
        librdkafka.produce("t", b"x" * 10_000 + b"%d" % n)
    assert librdkafka.flush(20) == 0
    consumer = KafkaConsumer("t", bootstrap_servers=address, security_protocol="SSL", ssl_cafile=str(authority.file),
                             auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    got = []
    for record in consumer:
        got.append(record.value.lstrip(b"x"))
        if len(got) == 400:
            break
    assert got == [b"%d" % n for n in range(400)]
    reader = Consumer({**options, "group.id": "g", "auto.offset.reset": "earliest"})
    reader.subscribe(["t"])
    assert eventually(lambda: reader.poll(1.0)).value() == b"0"
    reader.close(), consumer.close(), producer.close()


def test_a_certificate_logs_in(start, authority, tmp_path):
    definitions = tmp_path / "definitions.json"
    definitions.write_text(json.dumps({
        "users": [{"name": "app", "password_hash": "", "tags": ""}],
        "permissions": [{"user": "app", "vhost": "/", "configure": "^app", "write": ".*", "read": ".*"}],
    }))
    broker = start("--tls-client-ca", str(authority.file), "--definitions", str(definitions))
    external = pika.credentials.ExternalCredentials()
    connection = amqps(broker, authority.context("app"), external)
    channel = connection.channel()
    channel.queue_declare("app-q")
    channel.basic_publish("", "app-q", b"", pika.BasicProperties(user_id="app"))
    eventually(lambda: channel.queue_declare("app-q", passive=True).method.message_count == 1)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        channel.queue_declare("other")
    assert refused.value.reply_code == 403
    connection.close()
    # A name that is no user; no certificate at all; a password still serves.
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        amqps(broker, authority.context("stranger"), external)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        amqps(broker, authority.context(), external)
    amqps(broker, authority.context()).close()


def test_a_certificate_is_demanded(start, authority):
    broker = start("--tls-client-ca", str(authority.file), "--tls-client-required")
    with pytest.raises((pika.exceptions.AMQPConnectionError, ssl.SSLError)):
        amqps(broker, authority.context())
    amqps(broker, authority.context("anybody")).close()


def test_certificates_are_renewed_without_a_restart(start, authority):
    broker = start()

    def shown():
        pem = ssl.get_server_certificate(("127.0.0.1", broker.amqps_port))
        return ssl.PEM_cert_to_DER_cert(pem)

    held = amqps(broker, authority.context())
    before = shown()
    authority.server()
    broker.process.send_signal(signal.SIGHUP)
    eventually(lambda: shown() != before)
    # Connections that were there go on, new ones are trusted.
    held.channel().close()
    held.close()
    amqps(broker, authority.context()).close()


def test_what_cannot_work_is_said_at_the_start(tmp_path, authority):
    def refused(*options):
        done = subprocess.run(
            [BINARY, "serve", "--data-dir", tmp_path / "d", "--amqp-addr", "none", "--kafka-addr", "none", *options],
            capture_output=True, text=True, timeout=30)
        assert done.returncode == 1
        return done.stderr

    cert, key = str(authority.directory / "cert.pem"), str(authority.directory / "key.pem")
    assert "needs tls-cert and tls-key" in refused("--amqp-tls-addr", "127.0.0.1:0")
    assert "go together" in refused("--tls-cert", cert)
    assert "tls-client-required needs tls-client-ca" in refused("--tls-cert", cert, "--tls-key", key, "--tls-client-required")
    assert "ca.pem" in refused("--tls-cert", cert, "--tls-key", str(authority.file))
    missing = str(tmp_path / "missing.pem")
    assert "missing.pem" in refused("--tls-cert", missing, "--tls-key", key)
    other = tmp_path / "other.key"
    shutil.copy(authority.client("other")[1], other)
    assert "TLS" in refused("--tls-cert", cert, "--tls-key", str(other))
