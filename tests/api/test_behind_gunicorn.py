"""The API as it is run: gunicorn with two processes, raw sockets, kills."""

import gzip
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devkit.ports import HOST, free_port
from portal import ROOT
from tests.api.test_events import Api, event

pytestmark = [pytest.mark.fault]


class Web:
    """gunicorn on the test's own servers."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port, self.log = free_port(), log
        # Loaded before the fork, so that a killed process is there again at once.
        options = ["--preload", "--worker-class", "gthread", "--workers", "2", "--threads", "4", "--no-control-socket"]
        with log.open("wb") as output:
            self.master = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "wsgi:app", "-b", f"{HOST}:{self.port}", *options],
                env={**os.environ, **environment},
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.master.pid).children()

    def ask(self, method: str, path: str, body: bytes | None = None, *, key: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, documents: list[dict], *, key: str) -> tuple[int, dict]:
        status, body = self.ask("POST", "/api/v1/events", json.dumps(documents).encode(), key=key)
        return status, json.loads(body)

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text())


@pytest.fixture
def api(app, clean_database, clean_redis) -> Api:
    return Api(app)


@pytest.fixture
def web(request, api, portal_environment, tmp_path) -> Iterator[Web]:
    web = Web(portal_environment | getattr(request, "param", {}), tmp_path / "gunicorn.log")
    try:
        web.wait()
        yield web
    finally:
        web.master.terminate()
        web.master.wait(30)


def head(key: str, *more: str) -> bytes:
    lines = ["POST /api/v1/events HTTP/1.1", "Host: portal", f"Authorization: Bearer {key}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *more, "", ""]).encode()


def send(web: Web, *parts: bytes) -> bytes:
    """What the server answers to these bytes, up to its end; it may hang up while we are still sending."""
    with socket.create_connection((HOST, web.port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except ConnectionError:
            pass
        answer = b""
        try:
            while found := connection.recv(65536):
                answer += found
        except ConnectionError:
            pass
        return answer


def test_a_gigabyte_that_is_only_announced_is_refused_before_it_is_sent(web, api):
    started = time.monotonic()
    with socket.create_connection((HOST, web.port), timeout=5) as connection:
        connection.sendall(head(api.keys["acme"], "Content-Length: 1000000000"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "gzip"])
def test_a_large_body_without_a_length_is_refused_where_the_limit_is_reached(web, api, packed):
    body = os.urandom(10 * 1024 * 1024)
    if packed:
        body = gzip.compress(body, 0)
    parts = (body[start : start + 65536] for start in range(0, len(body), 65536))
    chunks = (b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    encoding = ["Content-Encoding: gzip"] if packed else []
    answer = send(web, head(api.keys["acme"], "Transfer-Encoding: chunked", *encoding), *chunks)
    assert answer.startswith(b"HTTP/1.1 413")
    assert web.ask("GET", "/healthz")[0] == 200


def test_a_chunked_body_is_read(web, api):
    body = json.dumps([event()]).encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:20], body[20:])) + b"0\r\n\r\n"
    answer = send(web, head(api.keys["acme"], "Transfer-Encoding: chunked", "Connection: close"), chunks)
    assert answer.startswith(b"HTTP/1.1 200")
    assert api.events() == 1


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: portal\r\n\r\n"
# What two servers in a row could take for two different requests: which header counts, where a body ends.
ODD_FRAMES = {
    "a length and chunks": ("Content-Length: 4", "Transfer-Encoding: chunked"),
    "chunks and a length": ("Transfer-Encoding: chunked", "Content-Length: 4"),
    "two lengths": ("Content-Length: 4", "Content-Length: 60"),
    "a length with a sign": ("Content-Length: +4",),
    "a length of two numbers": ("Content-Length: 4, 4",),
    "a length of nothing": ("Content-Length: ",),
    "chunks that are not last": ("Transfer-Encoding: chunked, identity",),
    "chunks twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "a space before the colon": ("Transfer-Encoding : chunked",),
    "a line that goes on": ("X: 1", " Transfer-Encoding: chunked"),
    "a control character": ("Transfer-Encoding: \x0bchunked",),
    "a name with a control character": ("X\x1b[31m: 1",),
}
ODD_CHUNKS = {
    "no number": b"g\r\n",
    "a sign": b"-1\r\n",
    "a number in another form": b"0x4\r\nbody\r\n0\r\n\r\n",
    "an underscore": b"1_0\r\n",
    "a chunk that is longer than it says": b"2\r\nbody\r\n0\r\n\r\n",
}


def test_no_request_is_smuggled_in_another(web, api):
    """The odd one is refused and the connection ends, so that nothing behind it is taken for a request."""
    key = api.keys["acme"]
    odd = {name: head(key, *lines) + b"0\r\n\r\n" for name, lines in ODD_FRAMES.items()}
    odd |= {name: head(key, "Transfer-Encoding: chunked") + chunks for name, chunks in ODD_CHUNKS.items()}
    odd["two lines that end alone"] = head(key, "Content-Length: 0").replace(b"\r\n", b"\n")
    answers = {name: send(web, content + SMUGGLED) for name, content in odd.items()}
    assert {name for name, answer in answers.items() if not answer.startswith(b"HTTP/1.1 400")} == set()
    assert {name for name, answer in answers.items() if answer.count(b"HTTP/1.1 ") != 1} == set()
    assert api.events() == 0
    assert web.ask("GET", "/healthz")[0] == 200
    assert "Traceback" not in web.log.read_text()
    assert not set(web.log.read_text()) & {"\x0b", "\x1b", "\r"}


def test_a_revoked_key_stops_at_once_in_every_process(web, api):
    assert {web.post([event(id=f"e{number}")], key=api.keys["acme"])[0] for number in range(10)} == {200}
    api.sql("UPDATE api_keys SET revoked_at = now() WHERE organization_id = :acme", acme=api.acme.id)
    assert {web.post([event(id=f"f{number}")], key=api.keys["acme"])[0] for number in range(20)} == {401}


def test_a_key_in_the_address_is_in_no_log(web, api):
    assert web.ask("POST", f"/api/v1/events?api_key={api.keys['acme']}", b"{}")[0] == 401
    assert web.post([event()], key=api.keys["acme"])[0] == 200
    web.master.terminate()
    web.master.wait(30)
    assert api.keys["acme"] not in web.log.read_text()


@pytest.mark.parametrize("web", [{"API_EVENTS_PER_MINUTE": "50"}], indirect=True)
def test_a_limit_is_one_for_all_processes_and_what_was_answered_is_stored(web, api):
    left = 60 - time.time() % 60
    if left < 10:
        time.sleep(left + 0.1)
    answers = [web.post([event(id=f"e{n}-{m}") for m in range(4)], key=api.keys["acme"]) for n in range(20)]
    assert [status for status, _ in answers] == [200] * 12 + [429] * 8
    assert api.events() == 48


def test_kills_and_hang_ups_lose_and_double_nothing_that_is_sent_until_it_is_answered(web, api):
    """The client sends each batch again until it has an answer; processes die, also between commit and answer."""
    stop, dice = threading.Event(), random.Random(7)

    def kill() -> None:
        while not stop.wait(0.1):
            workers = web.workers()
            if workers:
                os.kill(dice.choice(workers).pid, signal.SIGKILL)

    batches = [[event(id=f"b{number}-{each}") for each in range(50)] for number in range(60)]
    answered, repeated = 0, 0
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for number, batch in enumerate(batches):
            if number % 3 == 0:  # hang up without waiting for the answer
                with socket.create_connection((HOST, web.port), timeout=10) as connection:
                    body = json.dumps(batch).encode()
                    connection.sendall(head(api.keys["acme"], f"Content-Length: {len(body)}") + body)
            while True:
                try:
                    status, answer = web.post(batch, key=api.keys["acme"])
                except (OSError, http.client.HTTPException):
                    continue
                if status == 200:
                    break
            assert answer["accepted"] + answer["duplicate"] == 50, answer
            answered += 1
            repeated += answer["duplicate"] > 0
    finally:
        stop.set()
        killer.join()
    assert answered == 60
    assert repeated  # some batches had been stored although nobody heard the answer
    assert api.events() == 3_000
    assert api.sql("SELECT sum(quantity), sum(events) FROM usage_daily") == [(30_000, 3_000)]
