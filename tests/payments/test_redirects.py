"""S33: Stripe's address comes from the settings alone; whoever answers with another one gets neither call nor key."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from portal.payments import gateway


class _Elsewhere(BaseHTTPRequestHandler):
    """Notes who comes by."""

    visits: ClassVar[list[tuple[str, str | None]]] = []

    def _note(self) -> None:
        self.visits.append((f"{self.command} {self.path}", self.headers.get("Authorization")))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"id": "in_elsewhere"}')

    do_GET = do_POST = _note

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def elsewhere() -> Iterator[ThreadingHTTPServer]:
    _Elsewhere.visits = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("GET /v1/invoices/*", lambda: gateway.read_invoice("in_1")),
        ("POST /v1/customers", lambda: gateway.write("customer", None, {"name": "Acme"}, idempotency_key="a-key")),
    ],
)
def test_a_redirect_is_an_unknown_outcome_and_is_not_followed(sandbox, elsewhere, match, call):
    sandbox.fault(match, f"redirect:http://127.0.0.1:{elsewhere.server_port}/metadata", sticky=True)
    with pytest.raises(gateway.OutcomeUnknown, match="302"):
        call()
    assert _Elsewhere.visits == []
