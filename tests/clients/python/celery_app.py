"""The tasks of test_celery.py's worker. CELERY_TEST_BROKER and CELERY_TEST_RESULTS say where the broker and the results are."""

import os
import time

from celery import Celery

app = Celery("tests", broker=os.environ["CELERY_TEST_BROKER"], backend=os.environ["CELERY_TEST_RESULTS"])
app.conf.update(
    task_acks_late=True,
    task_default_queue=os.environ["CELERY_TEST_QUEUE"],
    task_default_exchange=os.environ["CELERY_TEST_QUEUE"],
    task_default_queue_type=os.environ.get("CELERY_TEST_TYPE", "classic"),
    # On quorum queues, tasks with an ETA wait in the broker: in 28 queues for the bits of the delay, behind topic exchanges.
    task_default_exchange_type="topic" if os.environ.get("CELERY_TEST_TYPE") == "quorum" else "direct",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Without it, a task that is in the client's socket when the broker is killed is nobody's promise.
    broker_transport_options={"confirm_publish": True},
    result_expires=None,
)


@app.task(shared=False)
def add(a, b):
    return a + b


@app.task(shared=False)
def total(numbers):
    return sum(numbers)


@app.task(shared=False)
def now():
    return time.time()


@app.task(bind=True, shared=False, max_retries=5)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry(countdown=1)
    return self.request.retries


@app.task(shared=False)
def hold(path, seconds):
    """Tells that it runs, and how often it has been run."""
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return os.path.getsize(path)
