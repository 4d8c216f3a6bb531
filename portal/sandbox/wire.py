"""Misbehaviour below HTTP: answers that never come, are cut short, or end in a reset."""

import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.serving import WSGIRequestHandler

_HANGUP = "sandbox.hangup"

Hangup = Callable[[socket.socket | None], None]


def hang_up(environ: WSGIEnvironment, hangup: Hangup) -> None:
    """Ask that this request gets no answer: `hangup` runs instead, and the connection ends."""
    environ[_HANGUP] = hangup


def reset(connection: socket.socket | None) -> None:
    """End the connection with a reset instead of a goodbye."""
    if connection is None:
        return
    # A lingering time of zero makes the kernel send RST on close.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def cut(body: bytes, length: int) -> Iterator[bytes]:
    """The first bytes of a body, and then a broken connection."""
    yield body[:length]
    raise ConnectionAbortedError("cut short on request")


class Wire:
    """Runs the app, and breaks the connection of a request that asked for it."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = self._app(environ, start_response)
        hangup: Hangup | None = environ.get(_HANGUP)
        if hangup is None:
            return answer
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        hangup(environ.get("werkzeug.socket"))
        # Nothing was written yet; the server takes this for a client that went away.
        raise ConnectionAbortedError("hung up on request")


class RequestHandler(WSGIRequestHandler):
    """Serves in silence: the ledger lists every call."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Say nothing."""
