"""A Celery worker (kombu, py-amqp): tasks, retries, ETA, groups, chords, remote control, a worker that is killed. On
classic queues, where a task with an ETA waits in the worker, and on quorum queues, where it waits in the broker and prefetch is
per consumer.

Results are kept in files: AMQP results (`rpc://`) know no chords; one test uses them anyway.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from conftest import eventually

celery = pytest.importorskip("celery")
HERE = pathlib.Path(__file__).parent


class Worker:
    def __init__(self, broker, queue, directory, kind="classic", results=None):
        directory.mkdir(exist_ok=True)
        self.log = directory / "worker.log"
        self.environment = {
            **os.environ, "PYTHONPATH": str(HERE), "CELERY_TEST_QUEUE": queue, "CELERY_TEST_TYPE": kind,
            "CELERY_TEST_BROKER": f"amqp://guest:guest@{broker.host}:{broker.amqp_port}//",
            "CELERY_TEST_RESULTS": results or f"file://{directory}",
        }
        os.environ.update({key: value for key, value in self.environment.items() if key.startswith("CELERY_TEST")})
        sys.modules.pop("celery_app", None)
        import celery_app
        self.tasks, self.app = celery_app, celery_app.app
        self.process, self.queue, self.kind = None, queue, kind

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--pool", "threads", "--concurrency", "4",
                 "--loglevel", "INFO", "--hostname", f"w{time.time_ns()}@test"],
                env=self.environment, stdout=log, stderr=log, cwd=HERE)
        mark = self.log.stat().st_size
        eventually(lambda: self.process.poll() is not None or " ready." in self.log.read_text()[mark:], timeout=60)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def stop(self, with_signal=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(with_signal)
            self.process.wait(30)
        return self.log.read_text()


@pytest.fixture(scope="module", params=["classic", "quorum"])
def worker(broker, tmp_path_factory, request):
    worker = Worker(broker, f"celery-{request.param}-{time.time_ns()}", tmp_path_factory.mktemp("celery"), request.param)
    try:
        yield worker.start()
    finally:
        log = worker.stop()
    assert "Traceback" not in log, log


def test_tasks_and_groups(worker):
    assert worker.tasks.add.delay(2, 3).get(timeout=30) == 5
    results = celery.group(worker.tasks.add.s(i, i) for i in range(20))().get(timeout=60)
    assert results == [2 * i for i in range(20)]


def test_a_task_with_a_countdown_waits(worker):
    began = time.time()
    assert worker.tasks.now.apply_async(countdown=1.5).get(timeout=30) - began > 1.4


def test_on_quorum_queues_a_task_with_a_countdown_waits_in_the_broker(worker):
    if worker.kind != "quorum":
        pytest.skip("it waits in the worker")
    worker.tasks.now.apply_async(countdown=60)
    with worker.app.connection_for_write() as connection:
        # 60 = 0b111100: its first stop is the queue of bit 5.
        channel = connection.channel()
        eventually(lambda: channel.queue_declare("celery_delayed_5", passive=True).message_count == 1)
        channel.queue_purge("celery_delayed_5")


def test_a_task_that_retries(worker):
    assert worker.tasks.fails_twice.delay().get(timeout=30) == 2


def test_a_chain_and_a_chord(worker):
    tasks = worker.tasks
    assert celery.chain(tasks.add.s(1, 2), tasks.add.s(10))().get(timeout=30) == 13
    assert celery.chord([tasks.add.s(i, 1) for i in range(5)])(tasks.total.s()).get(timeout=60) == 15


def test_remote_control(worker):
    """Broadcast over a fanout exchange, answered over a queue of one's own."""
    replies = worker.app.control.broadcast("ping", reply=True, limit=1, timeout=20)
    assert [list(reply.values())[0] for reply in replies] == [{"ok": "pong"}]
    (queues,) = worker.app.control.inspect(limit=1, timeout=20).active_queues().values()
    assert [queue["name"] for queue in queues] == [worker.queue]


def test_what_a_killed_worker_held_is_run_by_the_next(broker, tmp_path, name):
    worker = Worker(broker, name, tmp_path).start()
    runs = tmp_path / "runs"
    held = worker.tasks.hold.delay(str(runs), 2)
    eventually(runs.exists)
    worker.stop(signal.SIGKILL)
    worker.start()
    assert held.get(timeout=30) == 2
    worker.stop()


def test_results_over_amqp(broker, tmp_path, name):
    worker = Worker(broker, name, tmp_path, results="rpc://").start()
    assert [worker.tasks.add.delay(i, 1).get(timeout=30) for i in range(5)] == [1, 2, 3, 4, 5]
    worker.stop()


def test_tasks_survive_kill_9_of_the_broker(own_broker, tmp_path, name):
    worker = Worker(own_broker, name, tmp_path)
    results = [worker.tasks.add.delay(i, i) for i in range(20)]
    own_broker.restart()
    worker.app.pool.force_close_all()
    worker.start()
    assert [result.get(timeout=30) for result in results] == [2 * i for i in range(20)]
    worker.stop()
