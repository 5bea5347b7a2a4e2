"""What needs no load: start, idle memory and CPU, the cost of connections, declarations, the restart."""

import subprocess
import time

from . import system, wire
from .campaign import say

SETTLE_SECONDS = 3
CONNECTIONS_AT_ONCE = 50
CONNECT_SECONDS_MAX = 60
FILES_TO_SPARE = 300
DECLARE_SECONDS_MAX = 10
EMPTY_STARTS = 5
RESTART_QUEUE = "restart"


def measure(make, quick, results):
    """A broker by itself, from its first start on a fresh directory."""
    broker = make()
    kind = broker.kind
    results["starts"].setdefault(kind, [])
    try:
        if kind == "bowline":  # cheap enough to see a spread
            for _ in range(EMPTY_STARTS):
                trial = make().start()
                results["starts"][kind].append(round(trial.start_seconds, 4))
                trial.stop(remove=True)
        broker.start()
        results["starts"][kind].append(round(broker.start_seconds, 4))
        time.sleep(SETTLE_SECONDS)
        found = {"idle_rss_bytes": system.rss_bytes(broker.pid)}
        found["idle_cores"] = system.idle_cores(broker.pid, 4 if quick else 10)
        wanted = 1000 if quick else 10_000
        # Each on a fresh broker: memory that an earlier measurement has freed would be used again unseen.
        for proto in ("amqp", "kafka"):
            if port := getattr(broker, f"{proto}_port"):
                found[f"{proto}_connections"] = _connections(proto, port, broker.pid, wanted)
                broker = _afresh(broker, make, results)
        if broker.amqp_port:
            watch = system.CpuWatch(broker.pid)
            found["declares"] = {**_declares(broker.amqp_port, wanted), **watch.done()}
        results["standing"][kind] = found
        say(f"{kind}: {found}")
    finally:
        broker.stop(remove=True)


def _afresh(broker, make, results):
    broker.stop(remove=True)
    broker = make().start()
    results["starts"][broker.kind].append(round(broker.start_seconds, 4))
    time.sleep(SETTLE_SECONDS)
    return broker


def _connections(proto, port, pid, wanted):
    """Opens idle connections; what the broker's resident size grows by, per connection."""
    wanted = min(wanted, system.more_files() - FILES_TO_SPARE)
    before, start, held = system.rss_bytes(pid), time.monotonic(), []
    error = None
    try:
        while len(held) < wanted and time.monotonic() - start < CONNECT_SECONDS_MAX:
            several = range(min(CONNECTIONS_AT_ONCE, wanted - len(held)))
            if proto == "amqp":
                opening = [wire.Amqp(port) for _ in several]
                steps = (wire.Amqp.answer_start, wire.Amqp.answer_tune, wire.Amqp.await_open)
            else:
                opening = [wire.Kafka(port) for _ in several]
                steps = (wire.Kafka.ask_versions, wire.Kafka.await_answer)
            held += opening
            for step in steps:
                for connection in opening:
                    step(connection)
    except OSError as failure:
        error = str(failure)
    seconds = time.monotonic() - start
    time.sleep(2)
    after = system.rss_bytes(pid)
    meanwhile = system.idle_cores(pid, 2)
    for connection in held:
        connection.close()
    time.sleep(1)
    return {"held": len(held), "seconds": round(seconds, 2), "bytes_each": round((after - before) / max(len(held), 1)),
            "idle_cores_meanwhile": meanwhile, "error": error}


def _declares(port, wanted):
    """Durable queues, one declaration after the other over one connection, each answered before the next."""
    amqp = wire.Amqp.open(port)
    amqp.open_channel()
    start, count = time.monotonic(), 0
    while count < wanted and time.monotonic() - start < DECLARE_SECONDS_MAX:
        amqp.declare(f"declared-{count}")
        count += 1
    seconds = time.monotonic() - start
    amqp.close()
    return {"count": count, "per_second": round(count / seconds)}


def restart(make, program, messages, results):
    """A large backlog, kill -9, and how soon everything is there again; then the same with a clean stop."""
    broker = make().start()
    found = {"messages": messages}
    results["restart"] = found
    try:
        say(f"publishing a backlog of {messages:,} × 1 KiB")
        subprocess.run([str(program), "bench", "--json", "--mode", "publish", "--count", str(messages), "--keep",
                        "--name", RESTART_QUEUE, "--amqp-addr", f"127.0.0.1:{broker.amqp_port}", "--broker-pid",
                        str(broker.pid), "--probe-dir", str(broker.home)], check=True, capture_output=True, timeout=900)
        found["rss_before_bytes"] = system.rss_bytes(broker.pid)
        for way, end in (("kill -9", broker.kill), ("SIGTERM", broker.stop)):
            end()
            begin = time.monotonic()
            broker.start()
            amqp = wire.Amqp.open(broker.amqp_port)
            amqp.open_channel()
            ready = amqp.declare(f"{RESTART_QUEUE}-0", passive=True)
            counted = time.monotonic() - begin
            delivered = amqp.get(f"{RESTART_QUEUE}-0")
            first = time.monotonic() - begin
            amqp.close()
            time.sleep(1)
            found[way] = {"listening_seconds": round(broker.start_seconds, 3), "counted_seconds": round(counted, 3),
                          "first_message_seconds": round(first, 3), "ready": ready, "delivered": delivered,
                          "rss_bytes": system.rss_bytes(broker.pid)}
            say(f"after {way}: {found[way]}")
    finally:
        broker.stop(remove=True)
