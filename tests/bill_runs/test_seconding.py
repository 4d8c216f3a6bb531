"""A run finalizes what one person may; what takes two waits for the second, and the run follows."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from portal.bill_runs.seconding import count_large, set_large_aside
from portal.bill_runs.steering import pause, resume
from portal.core.approving import AmountLimits
from portal.infra.db import transaction
from portal.invoicing.seconding import approve_and_finalize
from portal.organizations.approvals import Person
from portal.organizations.people import create_user
from tests.bill_runs.conftest import customers, finalize, on, start, state, states, work
from tests.factories import NOW, sql, terms

LIMITS = AmountLimits({"USD": Decimal(2)})


@pytest.fixture
def run(app: Flask, books: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """October of three customers, who owe $1.00, $2.00 and $3.00; it takes two from $2.00 on. No hold window."""
    customers(3)
    changed = replace(app.config["SETTINGS"], second_approval_from=LIMITS.amounts, bill_run_hold_seconds=0)
    monkeypatch.setitem(app.config, "SETTINGS", changed)
    started = start()
    work()
    return started


def person(name: str) -> Person:
    with transaction():
        user = create_user(
            email=f"{name.lower()}@example.com", name=name, password="only for tests, long", staff_role="finance_lead"
        )
    return Person(user.id, user.name)


def set_aside(run: Any, by: Person) -> int:
    with transaction():
        return set_large_aside(run.public_id, by=by, limits=LIMITS, now=NOW, within=timedelta(hours=1))


def test_the_large_ones_are_left_out_and_the_run_follows_once_they_are_approved(run: Any) -> None:
    ada, ben = person("Ada"), person("Ben")
    assert count_large(run, LIMITS) == 2
    assert set_aside(run, ada) == 2
    assert set_aside(run, ada) == 0
    finalize(run)
    work()
    assert (state(run), states(run)) == ("syncing", {"finalized": 1, "generated": 2})
    reasons = sql("SELECT DISTINCT reason FROM bill_run_items WHERE state = 'generated'")
    assert reasons == [("It waits for a second approval; Ada asked for it.",)]
    for invoice_id, fingerprint in sql("SELECT subject_id, fingerprint FROM approval_requests"):
        with transaction():
            approve_and_finalize(invoice_id, fingerprint=fingerprint, by=ben, comment="", now=NOW, terms=terms())
    sql("UPDATE invoices SET sync_state = 'synced' WHERE sync_state = 'pending'")
    on(run)
    assert states(run) == {"finalized": 3}


def test_a_run_that_is_paused_asks_nobody_and_one_that_nobody_clicks_leaves_them_too(run: Any) -> None:
    with transaction():
        pause(run.public_id, now=NOW)
    assert (set_aside(run, person("Ada")), states(run)) == (0, {"approved": 3})
    with transaction():
        resume(run.public_id, now=NOW)
    finalize(run)
    work()
    assert states(run) == {"finalized": 1, "generated": 2}
    [(reason,)] = sql("SELECT DISTINCT reason FROM bill_run_items WHERE state = 'generated'")
    assert "a second person approves it" in reason
    assert sql("SELECT count(*) FROM approval_requests") == [(0,)]
