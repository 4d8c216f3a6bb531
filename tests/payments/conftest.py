"""The real stripe library talks over HTTP to the sandbox, a process of its own; its ledger is the independent truth."""

import hashlib
import hmac
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from portal import doctor
from portal.infra import outbox
from portal.infra.db import transaction
from portal.payments import gateway
from tests.factories import acting, sql

ROOT = Path(__file__).parents[2]
SECRET = "whsec_only_for_tests"


@dataclass
class Sandbox:
    """A stand-in for Stripe, and the hand that breaks it."""

    url: str

    def ctl(self, path: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(
            f"{self.url}/_ctl/{path}", data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def fault(self, match: str, mode: str, **more: Any) -> None:
        self.ctl("faults", {"match": match, "mode": mode, **more})

    def heal(self) -> None:
        self.ctl("faults", method="DELETE")

    def ledger(self) -> Any:
        return self.ctl("ledger", method="GET")

    def invoices(self, public_id: object = None) -> list[dict[str, Any]]:
        """All invoices, or those that carry our id."""
        found = self.ledger()["invoices"]
        return [each for each in found if public_id is None or each["metadata"].get("invoice_id") == str(public_id)]

    def calls(self) -> list[str]:
        """ "METHOD path" of every call since the reset, with the ids taken out."""
        return [f"{call['method']} {_without_ids(call['path'])}" for call in self.ledger()["calls"]]

    def act(self, action: str, **more: Any) -> Any:
        """What somebody does in Stripe's own pages."""
        return self.ctl("dashboard", {"action": action, **more})

    def events(self) -> list[dict[str, Any]]:
        """Every event, as Stripe would show it, oldest first."""
        request = urllib.request.Request(
            f"{self.url}/v1/events?limit=100", headers={"Authorization": "Bearer sk_test_sandbox"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return list(reversed(json.load(answer)["data"]))


def _without_ids(path: str) -> str:
    return "/".join("*" if part.startswith(("in_", "cus_")) else part for part in path.split("/"))


@pytest.fixture(scope="session")
def sandbox_process() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "portal.sandbox", "--port", "0", "--webhook-secret", SECRET],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]
    yield address
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def sandbox(sandbox_process: str, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox without memories; the portal's calls go to it."""
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], stripe_api_base=sandbox_process))
    gateway._client.cache_clear()
    stand_in = Sandbox(sandbox_process)
    stand_in.ctl("reset")
    yield stand_in
    stand_in.heal()
    gateway._client.cache_clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that are not answered are given up after a moment instead of 20 s."""
    monkeypatch.setattr(gateway, "READ_TIMEOUT_SECONDS", 0.4)
    gateway._client.cache_clear()


@pytest.fixture
def books(app: Flask, clean_database: None, clean_redis: Any, sandbox: Sandbox) -> Iterator[None]:
    """Empty books and a context that acts as the system; the books are in order when the test is over."""
    with acting(app):
        yield


def open_rows() -> int:
    return int(sql("SELECT count(*) FROM outbox WHERE finished_at IS NULL AND dead_at IS NULL")[0][0])


def work(*, rounds: int = 12) -> None:
    """Let the workers work until nothing is open: waits are skipped, not slept through."""
    for _ in range(rounds):
        outbox.drain()
        if not open_rows():
            return
        sql(
            "UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL"
            " WHERE finished_at IS NULL AND dead_at IS NULL"
        )


def examine() -> list[str]:
    """What the doctor finds broken."""
    with transaction():
        return [f"{each.code} {each.rule}: {each.broken}" for each in doctor.examine() if each.broken]


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None, scheme: str = "v1") -> str:
    """The value of `Stripe-Signature`."""
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), b"%d.%b" % (moment, body), hashlib.sha256).hexdigest()
    return f"t={moment},{scheme}={digest}"
