"""A real SMTP server in a thread, that can be told to refuse, to wait and to hang up; and the sandbox for payments."""

import email
import email.policy
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from flask import Flask

from devkit.ports import free_port
from portal.infra.db import transaction
from portal.organizations.models import Organization, User
from portal.organizations.people import add_member, create_user
from portal.payments.receiving import store_event
from tests.factories import make_final, make_organization, reload
from tests.payments.conftest import Sandbox, books, sandbox, sandbox_process, work

__all__ = ["books", "sandbox", "sandbox_process"]
PASSWORD = "only for tests, long"
NO_SERVER = "smtp://127.0.0.1:9"
logging.getLogger("mail.log").setLevel(logging.ERROR)


@dataclass
class PostOffice:
    """What the server took, and how it behaves: an answer by step ("MAIL", "RCPT", "DATA"), or by address."""

    taken: list[tuple[list[str], bytes]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mails(self) -> list[EmailMessage]:
        return [email.message_from_bytes(content, policy=email.policy.default) for _, content in self.taken]

    @property
    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        if "MAIL" in self.answers:
            return self.answers["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        answer = self.answers.get(address, self.answers.get("RCPT", "250 OK"))
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        answer = self.answers.get("DATA", "250 OK")
        if answer.startswith("250"):
            self.taken.append((list(envelope.rcpt_tos), envelope.content))
        return answer

    async def handle_QUIT(self, server, session, envelope):  # noqa: N802
        return self.answers.get("QUIT", "221 Bye")


@pytest.fixture
def post(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostOffice]:
    """A mail server to which the portal sends."""
    office = PostOffice(port=free_port())
    controller = Controller(office, hostname="127.0.0.1", port=office.port)
    controller.start()
    use_server(app, monkeypatch, office.url)
    yield office
    controller.stop()


def use_server(app: Flask, monkeypatch: pytest.MonkeyPatch, url: str | None, **more: object) -> None:
    """Let the portal send to this address."""
    changed = {"smtp_url": url, "mail_from": "Example Cloud <billing@example.com>", **more}
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], **changed))


def join(organization: Organization, name: str, role: str) -> User:
    """A person with a role, at name@organization.example."""
    with transaction():
        user = create_user(email=f"{name}@{organization.slug}.example", name=name, password=PASSWORD)
        add_member(user, organization, role)
    return user


@pytest.fixture
def acme(books: None) -> Organization:
    """Acme, with an owner."""
    organization = make_organization()
    join(organization, "owner", "owner")
    return organization


def issue(organization: Organization, *amounts: str, **more: object):
    """A final invoice, sent to the sandbox and mailed."""
    invoice = make_final(organization, *(amounts or ("430.00",)), **more)
    work()
    return reload(invoice)


def hear_from_stripe(sandbox: Sandbox) -> None:
    """Deliver every event as a webhook would, and do what comes of it."""
    with transaction():
        for event in sandbox.events():
            store_event(event)
    work()
