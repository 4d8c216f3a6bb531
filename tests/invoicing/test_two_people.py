"""The second yes, given by several at the same moment or next to a change: one invoice, in the name of two people."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from portal.core.errors import PortalError
from portal.infra.db import transaction
from portal.invoicing.seconding import approve_and_finalize, ask_for_second, refuse
from portal.organizations.approvals import Person
from portal.organizations.people import create_user
from tests.factories import NOW, add, at_once, fingerprint_of, make_draft, make_organization, reload, sql, terms

pytestmark = pytest.mark.usefixtures("books")


def person(name: str) -> Person:
    with transaction():
        user = create_user(email=f"{name}@example.com", name=name, password="only for tests, long", staff_role="admin")
    return Person(user.id, user.name)


def in_a_transaction(step: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with transaction():
            return step()

    return run


@pytest.fixture
def draft() -> Any:
    made = make_draft(make_organization())
    add(made, "500.00")
    return made


def ask(draft: Any, by: Person) -> str:
    fingerprint = fingerprint_of(draft)
    with transaction():
        ask_for_second(draft.id, fingerprint=fingerprint, by=by, now=NOW, within=timedelta(hours=1))
    return fingerprint


def test_of_many_answers_at_the_same_moment_one_counts(app: Flask, draft: Any) -> None:
    ada, others = person("ada"), [person(name) for name in ("ben", "cora", "dan", "eve")]
    fingerprint = ask(draft, ada)
    yes = partial(approve_and_finalize, draft.id, fingerprint=fingerprint, comment="", now=NOW, terms=terms())
    no = partial(refuse, draft.id, comment="Not yet.", now=NOW)
    steps = [partial(verb, by=each) for verb, each in zip((yes, no, yes, no), others, strict=True)]
    results = at_once(app, *map(in_a_transaction, steps))
    assert sum(isinstance(each, PortalError) for each in results) == 3
    [(state, decided_by)] = sql("SELECT state, decided_by FROM approval_requests")
    invoice = reload(draft)
    expected = ("finalized", f"ada and {decided_by}") if state == "approved" else ("draft", None)
    assert (invoice.state, invoice.scheduled_by) == expected


def test_many_who_ask_at_the_same_moment_ask_once(app: Flask, draft: Any) -> None:
    people = [person(name) for name in ("ada", "ben", "cora")]
    fingerprint = fingerprint_of(draft)
    one = partial(ask_for_second, draft.id, fingerprint=fingerprint, now=NOW, within=timedelta(hours=1))
    at_once(app, *[in_a_transaction(partial(one, by=each)) for each in people])
    assert sql("SELECT state FROM approval_requests") == [("waiting",)]


def test_the_table_itself_takes_nobody_for_two(draft: Any) -> None:
    ask(draft, person("ada"))
    with pytest.raises(IntegrityError, match="two_people"):
        sql("UPDATE approval_requests SET state = 'approved', decided_at = now(), decided_by_id = asked_by_id")
