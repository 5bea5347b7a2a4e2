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
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Without it, a task that is in the client's socket when the broker is killed is nobody's promise.
    broker_transport_options={"confirm_publish": True},
    result_expires=None,
)


@app.task
def add(a, b):
    return a + b


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def now():
    return time.time()


@app.task(bind=True, max_retries=5)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.3)
    return self.request.retries


@app.task
def hold(path, seconds):
    """Tells that it runs, and how often it has been run."""
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return os.path.getsize(path)
