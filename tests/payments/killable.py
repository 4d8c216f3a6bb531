"""Does one piece of work and dies at its k-th boundary: a helper process that forks for every k.

A boundary is the moment before or after a statement, a commit, or an HTTP call. Nothing in the product knows of
this: it listens to SQLAlchemy and wraps `requests.Session.send`. Orders come on stdin as JSON lines, answers go to
stdout: how many boundaries were passed and whether the work was killed. Orders without a k are done by the helper
itself, so that its caches are warm when it forks. With `freeze_at` it does not die but is stopped, like a machine that
sleeps, before or after so many HTTP calls, when no transaction is open; `thaw` lets it go on.
"""

import json
import os
import signal
import sys
from datetime import datetime
from uuid import UUID

import requests
from flask import Flask, g
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from portal import billing_cycle, create_app
from portal.bill_runs.advancing import advance
from portal.config import settings_from_env
from portal.core.errors import InvalidTransition
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db
from portal.payments import gateway


class Boundaries:
    """Counts, and kills this very process at one of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.kill_at: int | None = None
        self.calls = 0
        self.freeze_at: int | None = None

    def at_a_call(self) -> None:
        self()
        self.calls += 1
        if self.calls == self.freeze_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    def __call__(self, *_: object, **__: object) -> None:
        self.passed += 1
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, name, self)
        event.listen(Session, "after_commit", self)
        send = requests.Session.send

        def watched(session, request, **options):
            self.at_a_call()
            answer = send(session, request, **options)
            self.at_a_call()
            return answer

        requests.Session.send = watched


def do(app: Flask, order: dict) -> None:
    """The work itself, in a context of its own, as a worker or a page would do it."""
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("test", "the killable")
        if order["work"] == "run":
            outbox.run(order["outbox_id"])
            return
        if order["work"] == "advance":
            advance(order["run_id"], now=datetime.fromisoformat(order["now"]), settings=app.config["SETTINGS"])
            return
        try:
            billing_cycle.finalize_draft(
                UUID(order["public_id"]),
                fingerprint=order["fingerprint"],
                by="Ada",
                now=datetime.fromisoformat(order["now"]),
                settings=app.config["SETTINGS"],
            )
        except InvalidTransition:
            if not order["again"]:
                raise


def hang_up(app: Flask) -> None:
    """Close every connection, so that no child inherits one."""
    with app.app_context():
        db.engine.dispose()
        gateway._client.cache_clear()


def do_in_a_child(app: Flask, order: dict, boundaries: Boundaries) -> dict:
    """Fork, and die there."""
    hang_up(app)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            boundaries.kill_at, boundaries.freeze_at = order.get("kill_at"), order.get("freeze_at")
            do(app, order)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return {"frozen": child}
    return {"killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL}


def thaw(child: int) -> dict:
    """Let a frozen child go on to its end."""
    os.kill(child, signal.SIGCONT)
    _, status = os.waitpid(child, 0)
    return {"ended_well": status == 0}


def main() -> None:
    """Serve orders until stdin ends."""
    app = create_app(settings_from_env(os.environ))
    gateway.preload()
    boundaries = Boundaries()
    boundaries.watch()
    for line in sys.stdin:
        order = json.loads(line)
        boundaries.passed = boundaries.calls = 0
        if order["work"] == "thaw":
            answer = thaw(order["child"])
        elif "kill_at" in order or "freeze_at" in order:
            answer = do_in_a_child(app, order, boundaries)
        else:
            do(app, order)
            answer = {"boundaries": boundaries.passed, "at_calls": boundaries.calls}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    hang_up(app)


if __name__ == "__main__":
    main()
