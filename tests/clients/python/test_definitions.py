"""A topology taken over from RabbitMQ's definitions: vhosts, users and their permissions, policies, limits.

Against another broker, import definitions.json there first (`rabbitmqctl import_definitions`).
"""

import pathlib

import pika
import pika.exceptions
import pytest

from conftest import Broker, Elsewhere, eventually
from test_lifetimes import bodies, ready, take
from test_pika import persistent

DEFINITIONS = pathlib.Path(__file__).parent / "definitions.json"


@pytest.fixture(scope="module")
def office(broker, tmp_path_factory):
    if isinstance(broker, Elsewhere):
        yield broker
        return
    own = Broker(tmp_path_factory.mktemp("data"), "--definitions", str(DEFINITIONS)).start()
    yield own
    assert own.stop() == 0


def enter(broker, user="guest", password="guest", vhost="office"):
    credentials = pika.PlainCredentials(user, password)
    return pika.BlockingConnection(pika.ConnectionParameters(broker.host, broker.amqp_port, vhost, credentials))


@pytest.fixture
def guest(office):
    with enter(office) as connection:
        channel = connection.channel()
        for queue in ("inbox", "lost", "brief"):
            channel.queue_purge(queue)
        yield channel


@pytest.fixture
def clerk(office):
    with enter(office, "clerk", "pencil") as connection:
        yield connection


def test_queues_exchanges_and_bindings_are_there(guest):
    guest.confirm_delivery()
    guest.basic_publish("forms", "form.7", b"x", persistent(), mandatory=True)
    assert take(guest, "inbox")[2] == b"x"
    # And equal to what a client declares that was written for them.
    guest.queue_declare("inbox", durable=True)
    guest.exchange_declare("forms", "topic", durable=True)
    guest.basic_publish("", "brief", b"x", persistent())
    eventually(lambda: ready(guest, "brief") == 0)


def test_vhosts_are_worlds_of_their_own(office):
    with enter(office, vhost="/") as connection:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
            connection.channel().queue_declare("inbox", passive=True)
        assert closed.value.reply_code == 404


def test_passwords_and_vhosts_are_checked(office):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        enter(office, "clerk", "pen")
    for user, password, vhost in (("clerk", "pencil", "/"), ("stranger", "nobody", "office")):
        with pytest.raises(pika.exceptions.AMQPConnectionError) as refused:
            enter(office, user, password, vhost)
        assert f"access to vhost '{vhost}' refused for user '{user}'" in str(refused.value.args[0])


FORBIDDEN = {
    "configure access to queue 'theirs' in vhost 'office' refused": lambda c: c.queue_declare("theirs"),
    "configure access to queue 'inbox' in vhost 'office' refused": lambda c: c.queue_delete("inbox"),
    "read access to queue 'lost' in vhost 'office' refused": lambda c: c.basic_get("lost"),
    "write access to exchange 'lost' in vhost 'office' refused": lambda c: (c.basic_publish("lost", "", b""), c.basic_qos()),
    "write access to queue 'inbox' in vhost 'office' refused": lambda c: c.queue_bind("inbox", "forms", "#"),
    "configure access to exchange 'theirs' in vhost 'office' refused": lambda c: c.exchange_declare("theirs", "direct"),
    "write access to topic 'other.1' in exchange 'forms' in vhost 'office' refused":
        lambda c: (c.basic_publish("forms", "other.1", b""), c.basic_qos()),
}


@pytest.mark.parametrize("text", FORBIDDEN)
def test_what_a_user_may_not(office, clerk, text):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        FORBIDDEN[text](clerk.channel())
    if isinstance(office, Elsewhere):
        text = text.split(" ", 1)[1]  # RabbitMQ 3.10 does not say which access.
    assert closed.value.reply_code == 403 and closed.value.reply_text.endswith(f"{text} for user 'clerk'")


def test_what_a_user_may(clerk, guest):
    channel = clerk.channel()
    channel.queue_declare("mine-1", auto_delete=True)
    channel.queue_bind("mine-1", "forms", "form.mine")
    channel.basic_publish("forms", "form.mine", b"x")
    channel.basic_publish("", "mine-1", b"y")
    assert take(channel, "mine-1")[2] == b"x" and take(channel, "mine-1")[2] == b"y"
    assert take(channel, "inbox")[2] == b"x"
    channel.queue_delete("mine-1")


def test_a_policy_bounds_queues_and_the_one_with_the_highest_priority_counts(guest):
    guest.confirm_delivery()
    for queue in ("short-1", "short-er"):
        guest.queue_declare(queue, durable=True)
        for i in range(5):
            guest.basic_publish("", queue, f"{queue} {i}", persistent())
    eventually(lambda: ready(guest, "inbox") == 2)
    assert bodies(guest, "inbox") == [b"short-1 0", b"short-1 1"]
    assert bodies(guest, "short-1") == [b"short-1 2", b"short-1 3", b"short-1 4"]
    # Policies are not mixed: this one knows no dead letter exchange.
    assert bodies(guest, "short-er") == [b"short-er 4"]
    for queue in ("short-1", "short-er"):
        guest.queue_delete(queue)


def test_a_policy_gives_an_exchange_its_alternate(guest):
    guest.confirm_delivery()
    guest.basic_publish("forms", "nobody's", b"x", persistent(), mandatory=True)
    assert take(guest, "lost")[2] == b"x"


def test_a_vhost_has_no_more_queues_than_it_may(office, guest):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        for i in range(30):
            guest.queue_declare(f"many-{i}", exclusive=True)
    assert closed.value.reply_code == 406 and "queue limit in vhost 'office' (20) is reached" in closed.value.reply_text


def test_what_was_taken_over_survives_kill_9(broker, tmp_path):
    if isinstance(broker, Elsewhere):
        pytest.skip("needs a broker of its own")
    own = Broker(tmp_path / "data", "--definitions", str(DEFINITIONS)).start()
    try:
        own.options = ()
        own.restart()
        with enter(own, "clerk", "pencil") as connection:
            channel = connection.channel()
            channel.basic_publish("forms", "form.1", b"x", persistent())
            assert take(channel, "inbox")[2] == b"x"
        own.kill()
    finally:
        if own.process.poll() is None:
            own.kill()
