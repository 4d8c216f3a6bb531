"""RQ, as a bell: it tells a worker that an outbox row is due, and nothing else.

One queue name per worker process (with several, a job that a crashed worker had just popped would be in no list).
JSON serializer (pickle would run what anyone who can write to Redis puts there). Arguments are ids only.
"""

import logging
from typing import Any

import redis
from flask import Flask, current_app
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from portal.infra.db import db
from portal.infra.processes import Heartbeat, heartbeat_of

QUEUE = "billing"
JOB_TIMEOUT_SECONDS = 300
_SECOND = 1
_WEEK = 7 * 24 * 3600
# A worker that has nothing to do beats 15 s before these are over.
_IDLE_WORKER_SECONDS = 45
log = logging.getLogger(__name__)


def connect(url: str, *, socket_timeout: float | None = _SECOND) -> "redis.Redis":
    """A connection whose calls give up after a second, so that a hanging Redis never holds up a page."""
    return redis.Redis.from_url(url, socket_timeout=socket_timeout, socket_connect_timeout=_SECOND)


def wake(outbox_id: int, attempt: int) -> bool:
    """Ring for one outbox row. False, with a log line, if Redis is away: the sweeper rings again later."""
    try:
        _queue().enqueue_call(
            "portal.infra.outbox.run",
            args=(outbox_id,),
            job_id=f"outbox-{outbox_id}-{attempt}",
            description=f"outbox row {outbox_id}",
            timeout=JOB_TIMEOUT_SECONDS,
            result_ttl=_SECOND,
            failure_ttl=_WEEK,
        )
    except redis.RedisError as error:
        log.warning(
            "redis away, the sweeper will wake the job",
            extra={"outbox_id": outbox_id, "error": type(error).__name__},
        )
        return False
    return True


def rings_waiting(url: str) -> int:
    """How many rings no worker has heard yet. Raises RedisError."""
    return Queue(QUEUE, connection=connect(url), serializer=JSONSerializer).count


def _queue() -> Queue:
    app = current_app
    if "billing_queue" not in app.extensions:
        connection = connect(app.config["SETTINGS"].redis_url)
        app.extensions["billing_queue"] = Queue(QUEUE, connection=connection, serializer=JSONSerializer)
    queue: Queue = app.extensions["billing_queue"]
    return queue


class BillingWorker(Worker):
    """A forking RQ worker whose children never share the parent's database connections."""

    alive: Heartbeat | None = None

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Say in PostgreSQL too that this worker lives."""
        super().heartbeat(*args, **kwargs)
        if self.alive is not None:
            self.alive.beat()

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Runs in the forked child: forget inherited connections without closing the parent's sockets."""
        db.engine.dispose(close=False)
        super().main_work_horse(job, queue)


def worker_of(app: Flask) -> Worker:
    """The worker of this process; `work()` blocks until SIGINT or SIGTERM and finishes the job in hand."""
    settings = app.config["SETTINGS"]
    # A worker blocks on Redis for long stretches, so it must not give up after a second.
    connection = connect(settings.redis_url, socket_timeout=None)
    worker = BillingWorker([QUEUE], connection=connection, serializer=JSONSerializer, worker_ttl=_IDLE_WORKER_SECONDS)
    worker.alive = heartbeat_of("worker")
    return worker
