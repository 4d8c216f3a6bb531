"""Timing pages: each is requested in turn, round after round, so that all see the same state of the machine."""

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import event
from sqlalchemy.engine import Engine


@dataclass(frozen=True, slots=True)
class Timed:
    """Server time of one page in milliseconds, the statements that it sent, and its bytes."""

    p50: float
    p95: float
    queries: int
    size: int


def signed_in(app: Flask, email: str, password: str) -> FlaskClient:
    """A browser that has signed in."""
    client = app.test_client()
    answer = client.post("/sign-in", data={"email": email, "password": password})
    assert answer.status_code == 303, answer.status
    return client


def time_pages(pages: Sequence[tuple[FlaskClient, str]], *, rounds: int) -> dict[str, Timed]:
    """Request every page `rounds` times, the first round uncounted; returns their times by address.

    A page that leads straight on to another, as a search for one exact thing does, is timed as it is.
    """
    milliseconds: dict[str, list[float]] = {path: [] for _, path in pages}
    seen: dict[str, tuple[int, int]] = {}
    for number in range(rounds + 1):
        for client, path in pages:
            with _Counter() as counter:
                started = time.perf_counter()
                answer = client.get(path)
                taken = (time.perf_counter() - started) * 1000
            assert answer.status_code in (200, 303), (path, answer.status)
            seen[path] = counter.queries, len(answer.data)
            if number:
                milliseconds[path].append(taken)
    return {
        path: Timed(statistics.median(taken), statistics.quantiles(taken, n=20)[-1], *seen[path])
        for path, taken in milliseconds.items()
    }


def print_pages(timed: dict[str, Timed], *, title: str = "") -> None:
    """A table of them; ids stand as ID."""
    table = Table("page", "p50 ms", "p95 ms", "queries", "bytes", title=title)
    for path, each in timed.items():
        name = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", path)
        table.add_row(name, f"{each.p50:.1f}", f"{each.p95:.1f}", str(each.queries), f"{each.size:,}")
    Console().print(table)


class _Counter:
    """Counts the statements that reach the database."""

    def __enter__(self) -> "_Counter":
        self.queries = 0
        event.listen(Engine, "before_cursor_execute", self._count)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self._count)

    def _count(self, *_: Any) -> None:
        self.queries += 1
