"""Whoever may give a second approval hears that one is wanted: once for all that is asked at a time."""

from datetime import timedelta

import pytest

from portal.catalog.publishing import ensure_meter
from portal.catalog.seconding import NewVersion, ask_to_publish
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import day
from portal.invoicing.seconding import ask_for_second
from portal.organizations.approvals import Person
from portal.organizations.models import User
from portal.organizations.people import create_user
from tests.factories import add, fingerprint_of, make_draft, make_organization, sql
from tests.mailing.conftest import PASSWORD, PostOffice
from tests.payments.conftest import work

HOUR = timedelta(hours=1)


def join_staff(name: str, role: str) -> User:
    return create_user(email=f"{name}@example.com", name=name, password=PASSWORD, staff_role=role)


@pytest.fixture
def ada(books: None) -> Person:
    """Who asks, among colleagues of every role."""
    with transaction():
        asking = join_staff("ada", "admin")
        others = {"olga": "admin", "fay": "finance_lead", "bo": "billing_operations", "sam": "support"}
        for name, role in others.items():
            join_staff(name, role)
        join_staff("gone", "admin").disabled_at = clock.now()
    return Person(asking.id, asking.name)


def ask_about(*drafts, by: Person) -> None:
    seen = [(draft.id, fingerprint_of(draft)) for draft in drafts]
    with transaction():
        for invoice_id, fingerprint in seen:
            ask_for_second(invoice_id, fingerprint=fingerprint, by=by, now=clock.now(), within=HOUR)


def test_all_others_who_may_approve_are_told_once_with_a_link(ada: Person, post: PostOffice) -> None:
    drafts = [make_draft(make_organization(slug)) for slug in ("acme", "globex", "initech")]
    for draft in drafts:
        add(draft, "5000.00")
    ask_about(*drafts[:2], by=ada)
    work()
    assert sorted(mail["To"] for mail in post.mails) == ["fay@example.com", "olga@example.com"]
    assert set(post.subjects) == {"Example Cloud, Inc.: A second approval is wanted"}
    text = " ".join(post.mails[0].get_body(("plain",)).get_content().split())
    assert "an invoice of October 2026 over $5,000.00." in text
    assert text.count("/admin/approvals") == 1
    # The same question again is no news; another one is, once the mail before has gone.
    ask_about(*drafts[:2], by=ada)
    work()
    assert len(post.mails) == 2
    ask_about(drafts[2], by=ada)
    work()
    assert len(post.mails) == 4


def test_a_price_is_for_admins(ada: Person, post: PostOffice) -> None:
    globex = make_organization("globex")
    with transaction():
        meter = ensure_meter("egress", name="Egress", product="Network", unit="GB")
        terms = {"model": "per_unit", "unit_amount": "0.09"}
        first_day = clock.now().date().replace(day=1) + timedelta(days=62)
        whose = globex.id, None
        new = NewVersion("Egress", "USD", meter, {}, *whose, terms, first_day, note=None)
        ask_to_publish(new, by=ada, now=clock.now(), within=HOUR)
    work()
    assert [mail["To"] for mail in post.mails] == ["olga@example.com"]
    assert f"the price “Egress” from {day(first_day)} on." in post.mails[0].get_body(("plain",)).get_content()
    assert sql("SELECT count(*) FROM account_letters") == [(1,)]
