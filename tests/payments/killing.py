"""Death inside the test's own process: an exception that nothing catches, at a chosen statement, commit or call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from sqlalchemy import event
from sqlalchemy.engine import Engine


class Killed(BaseException):
    """No Exception: the portal's own handlers must not see it, as they would not see a SIGKILL."""


class Reaper:
    """Kills at the k-th boundary from now: the boundaries of killable.py, but for the moment after a commit."""

    def __init__(self) -> None:
        self._left: int | None = None

    def at(self, k: int, work: Callable[[], object]) -> bool:
        """Do some work and die on the way. Says if it came to that; what is half done is rolled back, as if it had."""
        # After a commit it dies at the next boundary: a session that is interrupted just there cannot be used again.
        self._left = k
        try:
            work()
        except Killed:
            return True
        finally:
            self._left = None
        return False

    def pass_by(self, *_: object, **__: object) -> None:
        """One boundary."""
        if self._left is None:
            return
        self._left -= 1
        if self._left <= 0:
            self._left = None
            raise Killed


@contextmanager
def reaper() -> Iterator[Reaper]:
    """Watches the statements, commits and calls of this process while the block lasts."""
    found = Reaper()
    names = ("before_cursor_execute", "after_cursor_execute", "commit")
    send = requests.Session.send

    def watched(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        found.pass_by()
        answer = send(session, request, **options)
        found.pass_by()
        return answer

    for name in names:
        event.listen(Engine, name, found.pass_by)
    requests.Session.send = watched  # type: ignore[method-assign]
    try:
        yield found
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        for name in names:
            event.remove(Engine, name, found.pass_by)
