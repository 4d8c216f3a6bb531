"""An answer that points elsewhere is not followed: the key and what was sent reach nobody else (S33)."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from portal.core.lifecycle import SyncState
from portal.payments import gateway
from tests.factories import make_final, make_organization, reload, sql
from tests.payments.conftest import examine, work

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("books")]


@dataclass
class Elsewhere:
    """A server that is not Stripe, and the authorization of everybody who came."""

    url: str = ""
    visitors: list[str | None] = field(default_factory=list)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    here = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.visitors.append(self.headers.get("Authorization"))
            body = b'{"id": "cus_stolen", "object": "customer", "data": [], "has_more": false}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # By another name than the sandbox's, and by the same: neither is followed.
    here.url = f"http://127.0.0.1:{server.server_port}/v1/customers"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_write_that_is_redirected_is_unknown_and_goes_nowhere_else(sandbox, elsewhere, host):
    sandbox.fault("POST /v1/customers", f"redirect:{elsewhere.url.replace('127.0.0.1', host)}")
    with pytest.raises(gateway.OutcomeUnknown, match="302"):
        gateway.write("customer", None, {"name": "Acme"}, idempotency_key="key-1")
    assert elsewhere.visitors == []


def test_a_read_that_is_redirected_is_unknown_and_goes_nowhere_else(sandbox, elsewhere):
    sandbox.fault("GET /v1/account", f"redirect:{elsewhere.url}")
    with pytest.raises(gateway.OutcomeUnknown, match="302"):
        gateway.read_account()
    assert elsewhere.visitors == []


def test_a_sync_that_is_redirected_is_asked_again_with_the_same_key(sandbox, elsewhere):
    sandbox.fault("POST /v1/customers", f"redirect:{elsewhere.url}")
    invoice = make_final(make_organization(), "12.00")
    work(rounds=1)
    assert sql("SELECT outcome, answer FROM stripe_calls WHERE step = 'customer'") == [("unknown", None)]
    work()
    assert reload(invoice).sync_state == SyncState.SYNCED
    keys = {call["idempotency_key"] for call in sandbox.ledger()["calls"] if call["path"] == "/v1/customers"}
    assert len(keys) == 1
    assert len(sandbox.ledger()["customers"]) == 1
    assert elsewhere.visitors == []
    assert examine() == []
