"""A receiver in a process of its own, and an organization with an endpoint there."""

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

from devkit.ports import free_port
from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.organizations.models import Organization
from portal.webhooks.endpoints import add_endpoint
from portal.webhooks.models import EventType, WebhookDelivery, WebhookEndpoint
from tests.factories import make_organization, sql

ALL = [kind.value for kind in EventType]


@dataclass
class Receiver:
    """Where it listens, and what it has heard."""

    url: str
    folder: Path

    @property
    def heard(self) -> list[dict[str, Any]]:
        path = self.folder / "heard"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


@pytest.fixture(scope="module")
def receiver_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder, port = tmp_path_factory.mktemp("receiver"), free_port()
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("receiver.py")), str(port), str(folder)])
    found = Receiver(f"http://127.0.0.1:{port}", folder)
    for _ in range(200):
        try:
            urllib.request.urlopen(found.url, timeout=1).close()
            break
        except OSError:
            time.sleep(0.05)
    yield found
    process.kill()
    process.wait()


@pytest.fixture
def receiver(receiver_process: Receiver, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """It has heard nothing, and the portal may call it."""
    receiver_process.forget()
    settings = replace(app.config["SETTINGS"], webhook_private_addresses=True)
    monkeypatch.setitem(app.config, "SETTINGS", settings)
    return receiver_process


@pytest.fixture
def acme(books: None) -> Organization:
    return make_organization()


def listen(app: Flask, organization: Organization, url: str, *events: str) -> tuple[WebhookEndpoint, str]:
    """An endpoint with its secret; of all events unless some are named."""
    keys = app.config["SETTINGS"].secret_keys
    with transaction():
        return add_endpoint(organization.id, url, events or ALL, keys=keys, private_too=True, now=clock.now())


def send() -> None:
    """Do what webhooks have to do now, skipping the waits; nothing else."""
    sql("UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL WHERE finished_at IS NULL")
    for (outbox_id,) in sql("SELECT id FROM outbox WHERE kind = 'send_webhook' AND finished_at IS NULL ORDER BY id"):
        outbox.run(outbox_id)


def deliveries() -> list[WebhookDelivery]:
    with transaction() as session:
        return session.query(WebhookDelivery).populate_existing().order_by(WebhookDelivery.id).all()
