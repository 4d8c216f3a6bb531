"""A new version while it is used: web and workers start anew and a column is added, and nobody notices.

Twenty requests a second go on all the time, each by a connection of its own, as a proxy makes them.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from flask import Flask

from devkit.ports import HOST, free_port
from portal import ROOT
from portal.infra import outbox
from portal.infra.db import transaction
from tests.api.test_events import Api, event
from tests.factories import acting, make_draft, make_organization, sql
from tests.full import FULL

pytestmark = [pytest.mark.fault]
SECONDS = 60 if FULL else 4
A_SECOND, DEPLOYS = 20, 6 if FULL else 1
STARTS_WITHIN_SECONDS = 60
# As operations.md has it: no new process, the old ones end what they have begun.
START_ANEW = signal.SIGHUP
EXPAND = "ALTER TABLE invoices ADD COLUMN IF NOT EXISTS only_of_the_next_version text"
CONTRACT = "ALTER TABLE invoices DROP COLUMN IF EXISTS only_of_the_next_version"


class Users:
    """Whoever asks while the rest goes on: events one by one, and pages between them."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.answers: Counter[str] = Counter()
        self.stored: set[str] = set()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(each,)) for each in range(2)]

    def __enter__(self) -> "Users":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, which: int) -> None:
        number = 0
        while not self._ended.wait(len(self._threads) / A_SECOND):
            number += 1
            if number % 2:
                name = f"deploy-{which}-{number}"
                answer = self._request("POST", "/api/v1/events", json.dumps([event(id=name)]).encode())
                if answer == "200":
                    self.stored.add(name)
            else:
                answer = self._request("GET", "/sign-in", None)
            self.answers[answer] += 1

    def _request(self, method: str, path: str, body: bytes | None) -> str:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        headers = {"Connection": "close", "Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return str(answer.status)
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()


def start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture
def web(clean_database: None, clean_redis: None, portal_environment: dict[str, str], tmp_path: Path) -> Iterator[tuple]:
    port = free_port()
    command = ["gunicorn", "wsgi:app", "-c", "deploy/gunicorn.conf.py", "-b", f"{HOST}:{port}"]
    process = start(command, portal_environment, tmp_path / "web.log")
    try:
        wait_until(lambda: healthy(port))
        yield process, port
    finally:
        process.terminate()
        process.wait(60)


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def done(app: Flask) -> int:
    with acting(app):
        [(count,)] = sql("SELECT count(*) FROM outbox WHERE finished_at IS NOT NULL")
    return count


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_request_fails_and_no_job_is_lost(app, web, portal_environment, tmp_path):
    (gunicorn, port), api = web, Api(app)
    with acting(app):
        invoices = [make_draft(make_organization(f"job-{number}")).id for number in range(DEPLOYS * 20)]
    database = portal_environment["DATABASE_URL"]
    worker = start(["flask", "worker"], portal_environment, tmp_path / "worker.log")
    try:
        with Users(port, api.keys["acme"]) as users:
            for deploy in range(DEPLOYS):
                with acting(app), transaction():
                    for invoice in invoices[deploy * 20 : (deploy + 1) * 20]:
                        outbox.enqueue(
                            "look_again_at_stripe", dedupe_key=str(invoice), organization_id=None, invoice_id=invoice
                        )
                wait_until(lambda before=deploy * 20: done(app) > before)
                # The database first, then web, then the workers.
                with psycopg.connect(database, autocommit=True) as connection:
                    connection.execute("SET lock_timeout = '4s'")
                    connection.execute(EXPAND if deploy % 2 == 0 else CONTRACT)
                gunicorn.send_signal(START_ANEW)
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(60) == 0
                worker = start(["flask", "worker"], portal_environment, tmp_path / "worker.log")
                time.sleep(SECONDS / DEPLOYS)

            wait_until(lambda: done(app) == len(invoices))
    finally:
        worker.terminate()
        worker.wait(60)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(CONTRACT)
    assert set(users.answers) == {"200"}, users.answers
    assert len(users.stored) > SECONDS * A_SECOND / 4
    with acting(app):
        kept = [name for (name,) in sql("SELECT event_id FROM usage_events WHERE event_id LIKE 'deploy-%'")]
        assert sql("SELECT count(*) FROM outbox WHERE dead_at IS NOT NULL") == [(0,)]
    assert sorted(kept) == sorted(users.stored)
