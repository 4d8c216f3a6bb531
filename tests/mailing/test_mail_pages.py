"""The pages: what staff see and can do about mails, and what a member chooses."""

import re
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import html5lib
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal.infra.db import transaction
from portal.organizations.models import Organization
from portal.organizations.people import add_member, create_user
from portal.organizations.sessions import sign_in
from portal.signed_in import cookie_name
from tests.factories import sql
from tests.mailing.conftest import PASSWORD, issue, use_server
from tests.payments.conftest import work

CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')
FORM_TOKEN = re.compile(r'name="form_token"[^>]*value="([^"]+)"')


class Browser:
    """Somebody's browser, outside the context of the test."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, address: str, **more: object) -> TestResponse:
        return Context().run(partial(self.client.get, address, **more))

    def post(self, address: str, **more: object) -> TestResponse:
        return Context().run(partial(self.client.post, address, **more))


@pytest.fixture
def as_person(app, acme) -> Callable[..., Browser]:
    """A browser of somebody: staff, or a member of an organization."""

    def browser(role: str, organization: Organization | None = None) -> Browser:
        email, client = f"{role}-{uuid4().hex[:6]}@people.example", app.test_client()
        with transaction():
            user = create_user(email=email, name=role, password=PASSWORD, staff_role=None if organization else role)
            if organization is not None:
                add_member(user, organization, role)
            token = sign_in(email, PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=None)
        client.set_cookie(cookie_name(), token)
        return Browser(client)

    return browser


def get(client: Browser, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, address
    html5lib.HTMLParser(strict=True).parse(response.text)
    return response.text


def mail_address() -> str:
    return f"/admin/mails/{sql('SELECT public_id FROM mails ORDER BY id LIMIT 1')[0][0]}"


def again(client: Browser, address: str, reason: str = "They lost it", token: str | None = None):
    page = get(client, address)
    token = token or FORM_TOKEN.search(page)[1]
    data = {"csrf_token": CSRF.search(page)[1], "form_token": token, "reason": reason}
    return client.post(f"{address}/again", data=data)


def test_staff_see_the_mails_of_an_invoice_and_of_everybody(app, acme, post, as_person):
    post.answers["RCPT"] = "550 no such mailbox"
    invoice = issue(acme)
    staff = as_person("support")
    page = get(staff, f"/admin/invoices/{invoice.public_id}")
    assert "Mails about this invoice" in page
    assert "550 no such mailbox" in page
    assert "owner@acme.example" in get(staff, "/admin/mails?state=failed")
    assert "No mail matches" in get(staff, "/admin/mails?state=sent")
    assert "No mail server is set" not in get(staff, f"/admin/mails?organization={acme.public_id}")
    assert "Mails to this organization" in get(staff, f"/admin/organizations/{acme.public_id}")
    rows = staff.get("/admin/mails.csv?state=failed", buffered=True).text.splitlines()
    assert len(rows) == 2
    assert invoice.number in rows[1]
    shown = get(staff, mail_address())
    assert "Amount due: $430.00" in shown
    assert "Send again" not in shown
    assert staff.get("/admin/mails?state=lost").status_code == 422
    assert staff.get(f"/admin/mails?organization={uuid4()}").status_code == 404
    assert staff.get(f"/admin/mails/{uuid4()}").status_code == 404


def test_without_a_server_the_list_says_so_and_shows_the_text(acme, as_person):
    issue(acme)
    staff = as_person("admin")
    assert "No mail server is set (<code>SMTP_URL</code>)" in get(staff, "/admin/mails")
    assert "Pay $430.00" in get(staff, mail_address())


def test_a_mail_is_sent_again_once_with_a_reason_and_an_audit_entry(app, acme, post, as_person, monkeypatch):
    use_server(app, monkeypatch, None)
    issue(acme)
    use_server(app, monkeypatch, post.url)
    staff, token = as_person("billing_operations"), str(uuid4())
    assert again(staff, mail_address(), reason=" ").status_code == 422
    for _ in range(2):
        assert again(staff, mail_address(), token=token).status_code == 303
    work()
    assert len(post.taken) == 1
    assert sql("SELECT state, reason, asked_by FROM mails ORDER BY id") == [
        ("not_sent", None, None),
        ("sent", "They lost it", "billing_operations"),
    ]
    assert sql("SELECT actor_name, reason FROM audit_entries WHERE action = 'sent a mail again'") == [
        ("billing_operations", "They lost it")
    ]
    assert "again" in get(staff, "/admin/mails")


def test_a_mail_that_is_no_longer_true_is_not_sent_again(acme, post, as_person):
    issue(acme)
    sql("UPDATE mails SET kind = 'failed_payment'")
    answer = again(as_person("admin"), mail_address())
    assert answer.status_code == 409
    assert "it is paid, or need not be paid any more" in answer.text
    assert len(post.taken) == 1


def test_customers_and_support_cannot_send_mails_again(acme, post, as_person):
    issue(acme)
    address = mail_address()
    for client in (as_person("support"), as_person("owner", acme)):
        page = client.get("/", follow_redirects=True).text
        data = {"csrf_token": CSRF.search(page)[1], "form_token": str(uuid4()), "reason": "x"}
        assert client.post(f"{address}/again", data=data).status_code == 404
    assert as_person("owner", acme).get("/admin/mails").status_code == 404


def choose(client: Browser, **fields: str):
    token = CSRF.search(get(client, "/settings/mail"))[1]
    return client.post("/settings/mail", data={"csrf_token": token, **fields}, follow_redirects=True)


def test_a_member_turns_mails_off_and_on(acme, post, as_person):
    sql("UPDATE organizations SET billing_email = 'ap@acme.example'")
    billing = as_person("billing", acme)
    assert "checked" in get(billing, "/settings/mail")
    assert "ap@acme.example always gets them" in get(billing, "/settings/mail")
    assert "You get no more mails about invoices." in choose(billing).text
    assert "checked" not in get(billing, "/settings/mail")
    issue(acme)
    assert post.taken[0][0] == ["ap@acme.example", "owner@acme.example"]
    assert "Your choice is kept." in choose(billing, about_invoices="y").text
    assert sql("SELECT about_invoices FROM mail_choices") == [(True,)]


def test_who_may_not_see_invoices_has_no_choice_about_mails(acme, as_person):
    assert as_person("developer", acme).get("/settings/mail").status_code == 404
    assert as_person("admin").get("/settings/mail").status_code == 404
    assert "checked" not in get(as_person("viewer", acme), "/settings/mail")


def test_lists_say_since_when_an_invoice_is_overdue(acme, as_person, sandbox):
    invoice = issue(acme, now=datetime(2026, 11, 1, 12, tzinfo=UTC))
    assert "Overdue since 16 Nov 2026" in get(as_person("owner", acme), "/invoices")
    assert "Overdue since 16 Nov 2026" in get(as_person("support"), "/admin/invoices")
    page = get(as_person("owner", acme), f"/invoices/{invoice.public_id}")
    assert "Overdue since 16 Nov 2026: payment was due on 15 Nov 2026." in page
