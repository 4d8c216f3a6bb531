"""The portal under test, served by a thread to a real browser: for tests that need no worker and no clock."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from werkzeug.serving import make_server

from devkit.ports import free_port


def closed(app: Flask) -> Any:
    """The same application, whose answers are closed also where the browser hung up: the server forgets that then."""

    def answer(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        with closing(app(environ, start_response)) as body:  # type: ignore[type-var]
            yield from body

    return answer


@contextmanager
def serving(app: Flask, monkeypatch: pytest.MonkeyPatch, *, host: str, **settings: Any) -> Iterator[str]:
    """Serve it until the end of the block, with other settings; gives its address, which has the name `host`."""
    port = free_port()
    url = f"http://{host}:{port}"
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], portal_url=url, **settings))
    server = make_server("127.0.0.1", port, closed(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
