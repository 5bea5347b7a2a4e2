"""Logins of Kafka clients: every mechanism with every client, what is refused, how long a login lasts."""

import asyncio
import base64
import http.server
import json
import signal
import ssl
import struct
import threading
import time

import aiokafka
import aiokafka.abc
import confluent_kafka
import kafka
import kafka.errors
import pika
import pika.exceptions
import pytest
import trustme
from confluent_kafka import admin
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from kafka.net.sasl.oauth import AbstractTokenProvider

from conftest import Broker, eventually, free_port
from raw_kafka import API_VERSIONS, METADATA, SASL_HANDSHAKE, Raw, array, framed, octets, string
from test_tls import Authority

SASL_AUTHENTICATE = 36
AUTHENTICATION_FAILED, ILLEGAL_STATE, UNSUPPORTED_MECHANISM = 58, 34, 33
PASSWORD_MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


# --- tokens ---------------------------------------------------------------------------------------------------------

def url64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(n):
    return url64(n.to_bytes((n.bit_length() + 7) // 8, "big"))


class Issuer:
    """Issues tokens, signed with an RSA or an elliptic key."""

    def __init__(self, kind="RS256", kid="one"):
        self.kind, self.kid = kind, kid
        self.key = rsa.generate_private_key(65537, 2048) if kind == "RS256" else ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        public = self.key.public_key().public_numbers()
        if self.kind == "RS256":
            key = {"kty": "RSA", "n": number(public.n), "e": number(public.e)}
        else:
            key = {"kty": "EC", "crv": "P-256",
                   "x": url64(public.x.to_bytes(32, "big")), "y": url64(public.y.to_bytes(32, "big"))}
        return {"keys": [{**key, "kid": self.kid, "use": "sig", "alg": self.kind}]}

    def token(self, subject="svc", seconds=300, **claims):
        claims = {"iss": "https://issuer", "aud": "bowline", "sub": subject, "exp": int(time.time()) + seconds, **claims}
        message = ".".join(url64(json.dumps(part).encode()) for part in ({"alg": self.kind, "kid": self.kid}, claims))
        if self.kind == "RS256":
            signature = self.key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = utils.decode_dss_signature(self.key.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{message}.{url64(signature)}"


def token_options(directory, issuer):
    file = directory / "jwks.json"
    file.write_text(json.dumps(issuer.jwks()))
    return ("--oauth-jwks", str(file), "--oauth-issuer", "https://issuer", "--oauth-audience", "bowline")


# --- brokers --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture(scope="module")
def locked(tmp_path_factory, issuer):
    """A broker that serves nobody without a login."""
    directory = tmp_path_factory.mktemp("locked")
    broker = Broker(directory / "data", "--anonymous", "off", "--user", "ann:secret", *token_options(directory, issuer))
    broker.start()
    yield broker
    assert broker.stop() == 0


@pytest.fixture
def start(tmp_path):
    brokers = []

    def start(*options):
        brokers.append(Broker(tmp_path / "data", *options).start())
        return brokers[-1]

    yield start
    for broker in brokers:
        if broker.process.poll() is None:
            broker.kill()


# --- clients --------------------------------------------------------------------------------------------------------
# Each sends a message and reads it back.

def confluent_config(broker, mechanism, user="ann", password="secret", token=None, **more):
    config = {"bootstrap.servers": broker.kafka, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": mechanism,
              "socket.timeout.ms": 10_000, **more}
    if token:
        return {**config, "oauth_cb": lambda _: (token(), time.time() + 300)}
    return {**config, "sasl.username": user, "sasl.password": password}


def tour_confluent(config, topic, value=b"hello"):
    producer = confluent_kafka.Producer(config)
    reports = []
    producer.produce(topic, value, callback=lambda error, message: reports.append(error))
    producer.flush(15)
    assert reports == [None]
    consumer = confluent_kafka.Consumer({**config, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = eventually(lambda: consumer.poll(1))
    consumer.close()
    assert message.error() is None and message.value() == value


def is_refused(config):
    """The client is told that its login was refused."""
    errors = []
    client = confluent_kafka.Producer({**config, "error_cb": errors.append})
    eventually(lambda: client.poll(0.1) >= 0 and errors)
    return errors[0].code() == confluent_kafka.KafkaError._AUTHENTICATION


def tour_kafka_python(broker, topic, **login):
    options = {"bootstrap_servers": broker.kafka, "security_protocol": "SASL_PLAINTEXT", **login}
    producer = kafka.KafkaProducer(**options)
    producer.send(topic, b"hello").get(15)
    producer.close()
    consumer = kafka.KafkaConsumer(topic, auto_offset_reset="earliest", consumer_timeout_ms=15_000, **options)
    assert next(consumer).value == b"hello"
    consumer.close()


async def tour_aiokafka(broker, topic, **login):
    options = {"bootstrap_servers": broker.kafka, "security_protocol": "SASL_PLAINTEXT", **login}
    producer = aiokafka.AIOKafkaProducer(**options)
    await producer.start()
    await producer.send_and_wait(topic, b"hello")
    await producer.stop()
    consumer = aiokafka.AIOKafkaConsumer(topic, auto_offset_reset="earliest", **options)
    await consumer.start()
    assert (await asyncio.wait_for(consumer.getone(), 15)).value == b"hello"
    await consumer.stop()


def by_password(mechanism, password="secret"):
    return {"sasl_mechanism": mechanism, "sasl_plain_username": "ann", "sasl_plain_password": password}


# --- mechanisms -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mechanism", PASSWORD_MECHANISMS)
def test_passwords_with_confluent(locked, name, mechanism):
    tour_confluent(confluent_config(locked, mechanism), name)


@pytest.mark.parametrize("mechanism", PASSWORD_MECHANISMS)
def test_passwords_with_kafka_python(locked, name, mechanism):
    tour_kafka_python(locked, name, **by_password(mechanism))


@pytest.mark.parametrize("mechanism", PASSWORD_MECHANISMS)
def test_passwords_with_aiokafka(locked, name, mechanism):
    asyncio.run(tour_aiokafka(locked, name, **by_password(mechanism)))


@pytest.mark.parametrize("mechanism", PASSWORD_MECHANISMS)
def test_a_wrong_password_opens_nothing(locked, mechanism):
    before = len(locked.errors)
    for user, password in [("ann", "wrong"), ("nobody", "secret")]:
        assert is_refused(confluent_config(locked, mechanism, user, password))
    with pytest.raises(kafka.errors.KafkaError):
        kafka.KafkaProducer(bootstrap_servers=locked.kafka, security_protocol="SASL_PLAINTEXT",
                            bootstrap_timeout_ms=3000, **by_password(mechanism, "wrong"))
    with pytest.raises(aiokafka.errors.KafkaError):
        asyncio.run(tour_aiokafka(locked, "x", **by_password(mechanism, "wrong")))
    # The log tells who it was, and never with what.
    lines = "".join(locked.errors[before:])
    assert "Kafka login refused" in lines and 'user="ann"' in lines and 'user="nobody"' in lines
    assert "wrong credentials" in lines and "secret" not in lines


def test_tokens_with_confluent(locked, name, issuer):
    tour_confluent(confluent_config(locked, "OAUTHBEARER", token=issuer.token), name)


def test_tokens_with_kafka_python(locked, name, issuer):
    class Provider(AbstractTokenProvider):
        def token(self):
            return issuer.token()

    tour_kafka_python(locked, name, sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=Provider())


def test_tokens_with_aiokafka(locked, name, issuer):
    class Provider(aiokafka.abc.AbstractTokenProvider):
        async def token(self):
            return issuer.token()

    asyncio.run(tour_aiokafka(locked, name, sasl_mechanism="OAUTHBEARER", sasl_oauth_token_provider=Provider()))


def test_tokens_that_are_not_good(locked, issuer):
    for token in [issuer.token(seconds=-60), issuer.token(iss="https://other"), issuer.token(aud="other"),
                  Issuer().token(), Issuer("ES256").token(), "a.b.c"]:
        config = confluent_config(locked, "OAUTHBEARER", token=lambda token=token: token)
        assert is_refused(config), token


def test_keys_are_read_again(start, tmp_path, name):
    old, new = Issuer(kid="old"), Issuer("ES256", kid="new")
    broker = start("--anonymous", "off", *token_options(tmp_path, old))
    tour_confluent(confluent_config(broker, "OAUTHBEARER", token=old.token), name)
    # What is no key set changes nothing.
    (tmp_path / "jwks.json").write_text("{")
    eventually(lambda: any("token keys stay as they are" in line for line in broker.errors))
    tour_confluent(confluent_config(broker, "OAUTHBEARER", token=old.token), f"{name}-2")
    (tmp_path / "jwks.json").write_text(json.dumps(new.jwks()))
    eventually(lambda: any("token keys read again" in line for line in broker.errors))
    tour_confluent(confluent_config(broker, "OAUTHBEARER", token=new.token), f"{name}-3")
    assert is_refused(confluent_config(broker, "OAUTHBEARER", token=old.token))


class KeysAtAnAddress:
    """An issuer's address; what it answers may be changed."""

    def __init__(self, keys=None, context=None):
        outer = self
        self.status, self.keys, self.asked = 200, keys, 0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                body = json.dumps(outer.keys).encode()
                self.send_response(outer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def address_options(url):
    return "--anonymous", "off", "--oauth-jwks", url, "--oauth-issuer", "https://issuer", "--oauth-audience", "bowline"


def test_keys_at_an_address(start, name):
    old, new = Issuer(kid="old"), Issuer("ES256", kid="new")
    with KeysAtAnAddress(old.jwks()) as issuer:
        # A start with an issuer that is away is a start; nobody comes in until it answers.
        issuer.status = 503
        broker = start(*address_options(f"http://127.0.0.1:{issuer.port}/keys"))
        assert is_refused(confluent_config(broker, "OAUTHBEARER", token=old.token))
        issuer.status = 200
        broker.process.send_signal(signal.SIGHUP)
        eventually(lambda: any("token keys read again" in line for line in broker.errors))
        tour_confluent(confluent_config(broker, "OAUTHBEARER", token=old.token), name)
        # It is not asked for every login,
        asked = issuer.asked
        tour_confluent(confluent_config(broker, "OAUTHBEARER", token=old.token), f"{name}-2")
        assert issuer.asked == asked
        # but soon after a token came whose key is not known.
        issuer.keys = {"keys": old.jwks()["keys"] + new.jwks()["keys"]}
        assert is_refused(confluent_config(broker, "OAUTHBEARER", token=new.token))
        eventually(lambda: issuer.asked > asked)
        eventually(lambda: sum("token keys read again" in line for line in broker.errors) == 2)
        tour_confluent(confluent_config(broker, "OAUTHBEARER", token=new.token), f"{name}-3")


def test_keys_at_an_address_over_tls(tmp_path, name):
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issuer = Issuer()
    for number, (signer, good) in enumerate(((authority, True), (stranger, False))):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        signer.issue_cert("localhost").configure_cert(context)
        with KeysAtAnAddress(issuer.jwks(), context) as address:
            broker = Broker(tmp_path / f"data-{number}", *address_options(f"https://localhost:{address.port}/keys"))
            broker.environment = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
            broker.start()
            try:
                config = confluent_config(broker, "OAUTHBEARER", token=issuer.token)
                if good:
                    tour_confluent(config, name)
                else:
                    # Whoever is not who he says issues nothing.
                    assert is_refused(config)
                    assert any("token keys stay as they are" in line for line in broker.errors)
            finally:
                broker.kill()


# --- who comes in without -------------------------------------------------------------------------------------------

def test_nobody_comes_in_without_a_login(locked, broker):
    with pytest.raises(confluent_kafka.KafkaException):
        admin.AdminClient({"bootstrap.servers": locked.kafka}).list_topics(timeout=3)
    # AMQP: guest's password is known to everybody.
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.ConnectionParameters(locked.host, locked.amqp_port))
    credentials = pika.PlainCredentials("ann", "secret")
    pika.BlockingConnection(pika.ConnectionParameters(locked.host, locked.amqp_port, credentials=credentials)).close()
    # By default clients of the same machine are let in, and may log in as guest.
    assert admin.AdminClient({"bootstrap.servers": broker.kafka}).list_topics(timeout=10).brokers
    config = confluent_config(broker, "PLAIN", "guest", "guest")
    assert admin.AdminClient(config).list_topics(timeout=10).brokers


def test_logins_over_tls(start, tmp_path, name):
    pki = tmp_path / "pki"
    pki.mkdir()
    authority = Authority(pki)
    authority.server()
    port = free_port()
    broker = start("--anonymous", "off", "--user", "ann:secret", "--tls-cert", str(pki / "cert.pem"),
                   "--tls-key", str(pki / "key.pem"), "--tls-client-ca", str(authority.file),
                   "--kafka-tls-addr", f"127.0.0.1:{port}")
    tls = {"bootstrap.servers": f"localhost:{port}", "ssl.ca.location": str(authority.file)}
    for number, mechanism in enumerate(PASSWORD_MECHANISMS):
        config = {**confluent_config(broker, mechanism), **tls, "security.protocol": "SASL_SSL"}
        tour_confluent(config, f"{name}-{number}")
    # Without either nobody comes in; a certificate is a login.
    config = {**tls, "security.protocol": "SSL"}
    with pytest.raises(confluent_kafka.KafkaException):
        admin.AdminClient(config).list_topics(timeout=3)
    certificate, key = authority.client("app")
    tour_confluent({**config, "ssl.certificate.location": certificate, "ssl.key.location": key}, f"{name}-certified")


# --- credentials by Kafka's administration --------------------------------------------------------------------------

def test_scram_credentials_are_set_and_outlive_a_kill(start, name):
    broker = start("--user", "root:secret", "--anonymous", "off")
    client = admin.AdminClient(confluent_config(broker, "PLAIN", "root"))
    mechanism = admin.ScramMechanism.SCRAM_SHA_512
    info = admin.ScramCredentialInfo(mechanism, 8192)
    put = admin.UserScramCredentialUpsertion("kim", info, b"kims")
    client.alter_user_scram_credentials([put])["kim"].result(15)
    tour_confluent(confluent_config(broker, "SCRAM-SHA-512", "kim", "kims"), name)
    broker.restart()
    tour_confluent(confluent_config(broker, "SCRAM-SHA-512", "kim", "kims"), f"{name}-2")
    assert is_refused(confluent_config(broker, "SCRAM-SHA-512", "kim", "root"))
    assert is_refused(confluent_config(broker, "SCRAM-SHA-256", "kim", "kims"))
    client = admin.AdminClient(confluent_config(broker, "SCRAM-SHA-256", "root"))
    described = client.describe_user_scram_credentials(["kim"])["kim"].result(15)
    assert [(i.mechanism, i.iterations) for i in described.scram_credential_infos] == [(mechanism, 8192)]
    client.alter_user_scram_credentials([admin.UserScramCredentialDeletion("kim", mechanism)])["kim"].result(15)
    broker.restart()
    assert is_refused(confluent_config(broker, "SCRAM-SHA-512", "kim", "kims"))


def test_a_password_in_the_definitions_is_good_for_every_mechanism(start, tmp_path, name):
    file = tmp_path / "definitions.json"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    permissions = [{"user": "eve", "vhost": "/", **everything}]
    eve = {"name": "eve", "password": "apple", "tags": ""}
    file.write_text(json.dumps({"users": [eve], "permissions": permissions}))
    broker = start("--definitions", str(file), "--anonymous", "off")
    for number, mechanism in enumerate(PASSWORD_MECHANISMS):
        tour_confluent(confluent_config(broker, mechanism, "eve", "apple"), f"{name}-{number}")
    # A new password closes the door to the old one, whatever the mechanism.
    file.write_text(json.dumps({"users": [{**eve, "password": "pear"}], "permissions": permissions}))
    broker.restart()
    for number, mechanism in enumerate(PASSWORD_MECHANISMS):
        tour_confluent(confluent_config(broker, mechanism, "eve", "pear"), f"{name}-new-{number}")
        assert is_refused(confluent_config(broker, mechanism, "eve", "apple"))


# --- how long a login lasts -----------------------------------------------------------------------------------------

def test_clients_log_in_again(start, name):
    """librdkafka renews its login on the connection, which goes on."""
    lasts = 2
    broker = start("--user", "ann:secret", "--anonymous", "off", "--kafka-reauth", str(lasts * 1000),
                   "--log-level", "info,bowline_front_kafka=debug")
    producer = confluent_kafka.Producer(confluent_config(broker, "SCRAM-SHA-256"))
    end, reports = time.monotonic() + 2.5 * lasts, []
    while time.monotonic() < end:
        producer.produce(name, b"x", callback=lambda error, _: reports.append(error))
        producer.flush(10)
    assert len(reports) > 100 and set(reports) == {None}
    lines = "".join(broker.errors)
    assert "logged in" in lines and "again=true" in lines and "after the end of the login" not in lines


def test_a_login_that_is_not_renewed_ends(start):
    broker = start("--user", "ann:secret", "--anonymous", "off", "--kafka-reauth", "1000")
    with Raw(broker) as raw:
        login(raw)
        lifetime = struct.unpack(">q", authenticated(raw, b"\0ann\0secret")[-8:])[0]
        assert lifetime == 1000
        assert raw.request(METADATA, 1, array([])) is not None
        end = time.monotonic() + lifetime / 1000
        while time.monotonic() < end:
            assert raw.request(API_VERSIONS, 0, b"") is not None
        assert raw.request(METADATA, 1, array([])) is None


# --- by hand --------------------------------------------------------------------------------------------------------

def login(raw, mechanism="PLAIN", version=1):
    answer = raw.request(SASL_HANDSHAKE, version, string(mechanism))
    assert struct.unpack(">h", answer[:2])[0] == 0
    return answer


def authenticated(raw, token):
    return raw.request(SASL_AUTHENTICATE, 1, octets(token))


def error(answer):
    return struct.unpack(">h", answer[:2])[0]


def test_requests_before_a_login_end_the_connection(locked):
    with Raw(locked) as raw:
        assert raw.request(API_VERSIONS, 0, b"") is not None
        assert raw.request(METADATA, 1, array([])) is None
    with Raw(locked) as raw:
        login(raw)
        assert raw.request(METADATA, 1, array([])) is None


def test_a_refusal_comes_late_and_ends_the_connection(locked):
    for token in [b"\0ann\0wrong", b"\0nobody\0secret", b"ann", b""]:
        with Raw(locked) as raw:
            login(raw)
            before = time.monotonic()
            answer = authenticated(raw, token)
            assert error(answer) == AUTHENTICATION_FAILED and time.monotonic() - before >= 0.1
            assert b"authentication with PLAIN failed" in answer
            assert raw.request(API_VERSIONS, 0, b"") is None


def test_steps_out_of_turn(locked):
    with Raw(locked) as raw:
        answer = raw.request(SASL_HANDSHAKE, 1, string("GSSAPI"))
        assert error(answer) == UNSUPPORTED_MECHANISM
        for mechanism in [*PASSWORD_MECHANISMS, "OAUTHBEARER"]:
            assert string(mechanism) in answer
        assert error(authenticated(raw, b"\0ann\0secret")) == ILLEGAL_STATE
        assert raw.request(API_VERSIONS, 0, b"") is None


def test_tokens_without_headers(locked):
    """After a handshake of version 0."""
    with Raw(locked) as raw:
        login(raw, version=0)
        raw.send(framed(b"\0ann\0secret"))
        assert raw.receive(4) == b"\0\0\0\0"
        assert raw.request(METADATA, 1, array([])) is not None
    with Raw(locked) as raw:
        login(raw, version=0)
        raw.send(framed(b"\0ann\0wrong"))
        assert raw.receive(4) is None


def test_a_stranger_does_not_fill_the_memory(locked):
    with Raw(locked) as raw:
        login(raw)
        raw.send(struct.pack(">i", 100_000_000))
        assert raw.receive(1) is None
    with Raw(locked) as raw:
        login(raw)
        assert error(authenticated(raw, b"x" * 65_000)) == AUTHENTICATION_FAILED
    # Whoever has logged in may say more at once.
    with Raw(locked) as raw:
        login(raw)
        assert error(authenticated(raw, b"\0ann\0secret")) == 0
        topics = array([string("t" * 200)] * 1000)
        assert raw.request(METADATA, 4, topics + b"\0") is not None


def test_a_stranger_does_not_stay(locked):
    with Raw(locked) as raw:
        before = time.monotonic()
        assert raw.request(API_VERSIONS, 0, b"") is not None
        assert raw.receive(1) is None
        assert 9 < time.monotonic() - before < 20


def test_many_logins_at_a_time(start):
    """A password that is slow to check keeps neither others waiting nor the clients that come back."""
    import concurrent.futures
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"users": [{"name": "eve", "password": "apple", "tags": ""}]}, file)
        file.flush()
        broker = start("--definitions", file.name, "--anonymous", "off")

    def one(_):
        with Raw(broker) as raw:
            login(raw)
            return error(authenticated(raw, b"\0eve\0apple"))

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert set(pool.map(one, range(300))) == {0}
