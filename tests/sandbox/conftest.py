"""A sandbox on a free port, a client of the real library, and a small receiver of webhooks."""

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from portal.sandbox.server import close_sandbox, create_sandbox, make_threaded_server

SECRET = "whsec_test"


@dataclass
class Running:
    """A sandbox that serves, and the ways to talk to it."""

    url: str

    def client(self, *, timeout: float = 10, retries: int = 0, key: str = "sk_test_sandbox") -> stripe.StripeClient:
        requests = stripe.RequestsClient(timeout=timeout)
        return stripe.StripeClient(
            key, base_addresses={"api": self.url}, http_client=requests, max_network_retries=retries
        )

    def ctl(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/_ctl/{path}", data, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def fault(self, match: str, mode: str, **more: Any) -> Any:
        return self.ctl("faults", {"match": match, "mode": mode, **more})

    def ledger(self) -> Any:
        return self.ctl("ledger", method="GET")

    def raw(self, method: str, path: str) -> tuple[int, dict[str, str]]:
        """One call without the library, which follows no redirect."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=5)
        connection.request(method, path, headers={"Authorization": "Bearer sk_test_sandbox"})
        answer = connection.getresponse()
        connection.close()
        return answer.status, dict(answer.headers)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@dataclass
class Receiver:
    """Keeps every delivery, and verifies each as the portal would."""

    url: str
    deliveries: list[tuple[bytes, str]]
    statuses: list[int]
    arrived: threading.Condition

    def events(self, count: int, seconds: float = 5) -> list[stripe.Event]:
        """Wait for so many deliveries, and return all of them, verified."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.deliveries) >= count, seconds), self.deliveries
            found = list(self.deliveries)
        return [stripe.Webhook.construct_event(body, header, SECRET) for body, header in found]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver("", [], [], threading.Condition())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with kept.arrived:
                kept.deliveries.append((body, self.headers["Stripe-Signature"]))
                status = kept.statuses.pop(0) if kept.statuses else 200
                kept.arrived.notify_all()
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/webhooks?from=stripe"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield kept
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Starts a sandbox; what it started ends with the test."""
    started = []

    def start(**options: Any) -> Running:
        app = create_sandbox(**{"webhook_url": "", "webhook_secret": SECRET, **options})
        server = make_threaded_server(app, "127.0.0.1", 0)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        started.append((app, server))
        return Running(f"http://127.0.0.1:{server.port}")

    yield start
    for app, server in started:
        # Held calls would keep the server waiting for their threads.
        with app.test_client() as client:
            client.delete("/_ctl/faults")
        server.shutdown()
        server.server_close()
        close_sandbox(app)


@pytest.fixture
def sandbox(serve: Callable[..., Running]) -> Running:
    return serve()


@pytest.fixture
def client(sandbox: Running) -> stripe.StripeClient:
    return sandbox.client()


@pytest.fixture
def customer(client: stripe.StripeClient) -> str:
    return client.v1.customers.create({"name": "Acme", "email": "billing@acme.example"}).id


@pytest.fixture
def draft(client: stripe.StripeClient, customer: str) -> str:
    """A draft of 12.00 USD in two lines."""
    invoice = client.v1.invoices.create(
        {
            "customer": customer,
            "currency": "usd",
            "collection_method": "send_invoice",
            "days_until_due": 14,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {"invoice_id": "7"},
            "custom_fields": [{"name": "Invoice number", "value": "BP-2026-0007"}],
        }
    )
    client.v1.invoices.add_lines(
        invoice.id,
        {"lines": [{"amount": 1000, "description": "Usage"}, {"amount": 200, "description": "Fee"}]},
    )
    return invoice.id
