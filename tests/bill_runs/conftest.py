"""Books with many small customers, and the hands that run a month of theirs."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from flask import Flask, current_app

from portal import doctor
from portal.bill_runs.advancing import advance
from portal.bill_runs.models import BillRun, RunKind
from portal.bill_runs.queries import run_of_month
from portal.bill_runs.starting import start_run
from portal.bill_runs.steering import finalize_approved
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import transaction
from portal.organizations.models import Organization
from tests.factories import MONTH, NOW, acting, make_final, make_meter, make_organization, make_price, sql, use
from tests.payments.conftest import sandbox, sandbox_process  # noqa: F401 - fixtures of the same Stripe


@pytest.fixture
def books(app: Flask, clean_database: None, clean_redis: Any) -> Iterator[None]:
    """Empty books, and a context that acts as the system."""
    with acting(app):
        yield


@pytest.fixture
def no_hold(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without a hold window."""
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], bill_run_hold_seconds=0))


def customers(count: int, *, first: int = 1) -> list[Organization]:
    """So many organizations with the same usage in October as was billed for September; organization n owes n dollars.

    So there is nothing to look at in their drafts.
    """
    meter = make_meter()
    make_price(meter, "0.01")
    made = []
    for number in range(first, first + count):
        organization = make_organization(f"org-{number:03d}", address="1 Quay")
        make_final(organization, f"{number}.00", month=MONTH.previous)
        use(organization, meter, 100 * number, at=date(2026, 10, 5), region="ams")
        made.append(organization)
    return made


def settings() -> Any:
    return current_app.config["SETTINGS"]


def start(month: Month = MONTH, *, kind: RunKind = RunKind.MONTHLY, now: datetime = NOW, **more: Any) -> BillRun:
    """Start a run, as an admin does."""
    with transaction():
        return start_run(month, kind, by="Ada", now=now, settings=settings(), **{"review_hours": None, **more})


def work(*, rounds: int = 20) -> None:
    """Let workers do everything of runs that is due now; what was put back is done at once."""
    for _ in range(rounds):
        sql(
            "UPDATE outbox SET run_after = clock_timestamp(), lease_until = NULL WHERE kind LIKE 'bill_run%'"
            " AND finished_at IS NULL AND dead_at IS NULL AND last_error NOT LIKE 'The hold%'"
        )
        ids = [
            row[0]
            for row in sql(
                "SELECT id FROM outbox WHERE kind LIKE 'bill_run%' AND finished_at IS NULL AND dead_at IS NULL"
                " AND run_after <= clock_timestamp() ORDER BY id"
            )
        ]
        if not ids:
            return
        for outbox_id in ids:
            outbox.run(outbox_id)


def end_holds() -> None:
    """Let the hold windows be over."""
    sql("UPDATE invoices SET finalize_at = now() - interval '1 second' WHERE state = 'scheduled'")
    sql("UPDATE outbox SET run_after = now() - interval '1 second' WHERE kind = 'bill_run_finish'")


def states(run: BillRun) -> dict[str, int]:
    """How many items are in each state."""
    return dict(
        tuple(row)
        for row in sql("SELECT state, count(*) FROM bill_run_items WHERE bill_run_id = :id GROUP BY state", id=run.id)
    )


def state(run: BillRun) -> str:
    return sql("SELECT state FROM bill_runs WHERE id = :id", id=run.id)[0][0]


def finalize(run: BillRun, *, now: datetime = NOW) -> None:
    with transaction():
        finalize_approved(run.public_id, by="Ada", now=now)


def on(run: BillRun, *, now: datetime = NOW, ring: bool = True) -> str:
    return advance(run.id, now=now, settings=settings(), ring_again=ring)


def examine() -> list[str]:
    """What the doctor finds broken."""
    with transaction():
        return [f"{each.code} {each.rule}: {each.broken}" for each in doctor.examine() if each.broken]


def october() -> BillRun:
    with transaction():
        return run_of_month(MONTH)
