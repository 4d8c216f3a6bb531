"""Does one piece of work and kills itself at the k-th boundary: a helper process that forks for every k.

A boundary is the moment before or after a statement, a commit, or an HTTP call. Nothing in the product knows of
this: it listens to SQLAlchemy and wraps `requests.Session.send`. Orders come on stdin as JSON lines, answers go to
stdout: how many boundaries were passed and whether the work was killed.
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
from portal.config import settings_from_env
from portal.core.errors import InvalidTransition
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as
from portal.payments import gateway


class Boundaries:
    """Counts, and kills this very process at one of them."""

    def __init__(self, kill_at: int | None) -> None:
        self.passed = 0
        self.kill_at = kill_at

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
            self()
            answer = send(session, request, **options)
            self()
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


def main() -> None:
    """Serve orders until stdin ends. The parent never opens a connection, so that no child inherits one."""
    app = create_app(settings_from_env(os.environ))
    gateway.preload()
    with app.app_context():
        gateway.client_of_app()
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                boundaries = Boundaries(order.get("kill_at"))
                boundaries.watch()
                do(app, order)
                os.write(writing, str(boundaries.passed).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reading) as pipe:
            passed = int(pipe.read() or 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        answer = {"boundaries": passed, "killed": killed, "failed": not killed and status != 0}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
