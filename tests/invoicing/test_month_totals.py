"""Month totals: exact after every way that an invoice can go, also when many go at once or the connection breaks."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import flask_migrate
import pytest
from flask import Flask
from flask.testing import FlaskCliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, ProgrammingError

from devkit.testservers import TEMPLATE, drop_database, make_database
from portal import ROOT, create_app, doctor
from portal.catalog.tax_rates import add_tax_rate
from portal.core.errors import DraftChanged, InvalidTransition
from portal.core.periods import Month
from portal.infra.db import STAFF, db, tenant, transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.finalizing import cancel, finish
from portal.invoicing.models import Invoice
from portal.invoicing.month_totals import (
    SLOTS,
    MonthTotals,
    Totals,
    by_currency,
    count_document,
    file_rows,
    months_of,
    months_of_platform,
)
from portal.invoicing.queries import invoice_for_month
from portal.invoicing.voiding import void_invoice
from portal.organizations.models import Organization
from tests.factories import (
    MONTH,
    NOW,
    acting,
    add,
    at_once,
    finalize_now,
    make_draft,
    make_final,
    make_organization,
    sql,
    terms,
)
from tests.statements import statements

pytestmark = pytest.mark.usefixtures("books")
RULE = "the totals of months"
DIRECTORY = str(ROOT / "migrations")


def broken() -> list[str]:
    """What the doctor finds wrong in the books, but for waiting work."""
    with transaction():
        findings = doctor.examine()
    assert any(finding.rule.startswith(RULE) for finding in findings)
    return [f"{each.rule}: {each.broken}" for each in findings if each.broken and each.code != "I8"]


def totals(organization: Organization | None = None) -> dict[str, Totals]:
    """The months of an organization, or of the platform."""
    with transaction():
        months = months_of(organization.id) if organization else months_of_platform()
    return {f"{each.month} {each.currency}": each.totals for each in months}


def void(invoice: Invoice) -> None:
    with transaction():
        void_invoice(invoice.id, reason="a mistake", now=NOW)


def credit(invoice: Invoice, cents: int) -> None:
    with transaction():
        issue_credit_note(invoice.id, Wish(amount=cents), reason="test", by="Ada", form_token=uuid4(), now=NOW)


def test_a_final_invoice_counts_in_the_month_that_it_bills():
    with transaction():
        add_tax_rate(Decimal(19), valid_from=date(2026, 1, 1), open_from=None)
    acme, yen = make_organization(), make_organization("kyoto", currency="JPY")
    make_final(acme, "100.00", "0.50")
    make_final(acme, "-20.00", month=MONTH.previous)
    make_final(yen, "500")
    # 100.50 and 19 % of it, 19.095; the credit of 20.00 and its tax are carried forward, and nothing of it is due.
    expected = {
        "2026-10 USD": Totals(invoices=1, tax=1910, total=11960, amount_due=11960),
        "2026-09 USD": Totals(invoices=1, tax=-380, total=-2380),
    }
    assert totals(acme) == expected
    assert totals(acme)["2026-10 USD"].net == 10050
    assert totals(yen) == {"2026-10 JPY": Totals(1, 95, 595, 0, 595)}
    assert totals() == expected | totals(yen)
    assert broken() == []


def test_what_credit_paid_is_in_the_total_and_not_in_what_is_due():
    acme = make_organization()
    make_final(acme, "-30.00", month=MONTH.previous)
    make_final(acme, "100.00")
    assert totals(acme)["2026-10 USD"] == Totals(invoices=1, total=10000, amount_due=7000)


def test_the_platform_is_the_sum_of_slots_that_organizations_share():
    organizations = [make_organization(f"org-{number}") for number in range(SLOTS + 2)]
    for organization in organizations:
        make_final(organization, "1.00")
    assert totals() == {"2026-10 USD": Totals(10, 0, 1000, 0, 1000)}
    slots = sql("SELECT slot, invoices FROM platform_months ORDER BY slot")
    first = organizations[0].id % SLOTS
    assert slots == [(slot, 2 if slot in (first, (first + 1) % SLOTS) else 1) for slot in range(SLOTS)]
    assert broken() == []


def test_an_invoice_counts_from_the_end_of_its_hold_window_and_once():
    acme = make_organization()
    invoice = make_draft(acme)
    add(invoice, "5.00")
    finalize_now(invoice, hold_seconds=60)
    assert totals() == {}
    with transaction():
        cancel(invoice.id, now=NOW)
    assert totals() == {}
    finalize_now(invoice, hold_seconds=60)
    for _ in range(2):
        with transaction():
            finish(invoice.id, now=NOW, terms=terms())
        assert totals() == totals(acme) == {"2026-10 USD": Totals(1, 0, 500, 0, 500)}
    with pytest.raises(InvalidTransition):
        finalize_now(invoice)
    assert broken() == []


def test_a_void_invoice_counts_no_more_and_its_month_can_be_billed_again():
    acme, umbrella = make_organization(), make_organization("umbrella")
    invoice = make_final(acme, "5.00")
    make_final(umbrella, "7.00")
    void(invoice)
    void(invoice)
    assert totals(acme) == {}
    assert totals() == totals(umbrella) == {"2026-10 USD": Totals(1, 0, 700, 0, 700)}
    make_final(acme, "4.00")
    assert totals(acme) == {"2026-10 USD": Totals(1, 0, 400, 0, 400)}
    assert broken() == []


def test_a_refused_void_and_a_rollback_change_nothing():
    acme = make_organization()
    invoice = make_final(acme, "5.00")
    sql("UPDATE invoices SET amount_paid = 500, payment_state = 'paid' WHERE id = :id", id=invoice.id)
    with pytest.raises(InvalidTransition):
        void(invoice)
    with pytest.raises(RuntimeError, match="crash"), transaction() as session:  # noqa: PT012
        count_document(session.get_one(Invoice, invoice.id), Totals(credited=500))
        raise RuntimeError("crash")
    assert totals() == totals(acme) == {"2026-10 USD": Totals(1, 0, 500, 0, 500)}


def test_a_credit_note_counts_in_the_month_of_its_invoice():
    acme = make_organization()
    invoice = make_final(acme, "5.00")
    credit(invoice, 120)
    assert totals() == totals(acme) == {"2026-10 USD": Totals(1, 0, 500, 120, 500)}
    assert broken() == []
    with transaction() as session:
        count_document(session.get_one(Invoice, invoice.id), Totals(credited=1))
    # There is no such note, and the doctor sees it, of the organization and of the platform.
    [finding] = broken()
    assert f"organization {acme.id}, 2026-10-01, USD" in finding
    assert f"the platform, 2026-10-01, USD, slot {acme.id % SLOTS}" in finding


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE invoice_months SET total = total + 1",
        "UPDATE invoice_months SET tax = tax + 1",
        "UPDATE invoice_months SET invoices = 0",
        "UPDATE invoice_months SET month = month + interval '1 month'",
        "UPDATE platform_months SET amount_due = amount_due - 1",
        "UPDATE platform_months SET slot = (slot + 1) % 8",
        "INSERT INTO platform_months (month, currency, slot, invoices) VALUES ('2020-01-01', 'EUR', 0, 1)",
    ],
)
def test_the_doctor_sees_whatever_does_not_add_up(damage):
    make_final(make_organization(), "5.00")
    assert broken() == []
    sql(damage)
    assert [finding.startswith(RULE) for finding in broken()] == [True]


STEP = st.tuples(st.sampled_from(["finalize", "void"]), st.integers(0, 2), st.integers(-900, 900))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), STEP), min_size=1, max_size=7))
@example([(0, ("finalize", 0, 500)), (0, ("void", 0, 0)), (0, ("finalize", 0, 0)), (1, ("finalize", 0, -5))])
def test_after_any_sequence_the_totals_are_those_of_the_invoices(steps):
    organizations = [make_organization(f"org-{uuid4()}") for _ in range(2)]
    for whose, (what, back, cents) in steps:
        organization, month = organizations[whose], MONTH.plus(-back)
        invoice = make_draft(organization, month)
        try:
            if what == "void":
                void(invoice)
            elif cents and invoice.state == "draft":
                make_final(organization, str(Decimal(cents) / 100), month=month)
            else:
                finalize_now(invoice)
        except InvalidTransition:
            pass  # a void of a draft, a second finalize, or a credit that has been used since
        for each in organizations:
            assert totals(each) == {
                f"{Month.of(first)} USD": Totals(1, tax, total, 0, due)
                for first, tax, total, due in sql(
                    "SELECT period_start, tax, total, amount_due FROM invoices"
                    " WHERE organization_id = :id AND state = 'finalized'",
                    id=each.id,
                )
            }
    assert broken() == []


def work_through(invoices: list[tuple[int, Month]], seed: int) -> int:
    """Finalize, credit and void these months' invoices, whatever state they are in, in an order of its own."""
    chance = random.Random(seed)
    done = 0
    for organization_id, month in chance.sample(invoices, len(invoices)):
        for _ in range(6):
            with transaction():
                invoice = invoice_for_month(organization_id, month)
            assert invoice is not None
            try:
                if invoice.state == "draft":
                    add(invoice, str(chance.randint(1, 999)))
                    finalize_now(invoice)
                elif chance.randrange(10) == 0:
                    credit(invoice, 1)
                else:
                    void(invoice)
            except (DraftChanged, InvalidTransition):
                continue  # somebody else was faster, or it has been credited
            done += 1
    return done


def test_many_at_once_stay_exact_and_never_wait_for_each_other_in_a_circle(app: Flask):
    # Four of them share a slot of the platform, so that every month has rows that many wait for.
    organizations = [make_organization(f"org-{number}", id=number) for number in (8, 16, 24, 32, 33)]
    months = [(each.id, MONTH.plus(-back)) for each in organizations for back in range(2)]
    for organization in organizations:
        for back in range(2):
            make_draft(organization, MONTH.plus(-back))
    done = at_once(app, *(partial(work_through, months, seed) for seed in range(6)))
    assert all(isinstance(each, int) for each in done), done
    assert sum(each for each in done if isinstance(each, int)) > len(months)
    assert sql("SELECT count(*) FROM invoices WHERE state = 'void'")[0][0] > 0
    assert sql("SELECT sum(credited) FROM platform_months")[0][0] > 0
    assert broken() == []


@contextmanager
def cut_at(app: Flask, number: int) -> Iterator[list[int]]:
    """The connection breaks before the statement of this number; yields the statements that came."""
    passed = [0]

    def cut(_connection: Any, cursor: Any, *_: Any) -> None:
        passed[0] += 1
        if passed[0] == number:
            cursor.connection.close()

    engine = db.engine
    event.listen(engine, "before_cursor_execute", cut)
    try:
        yield passed
    finally:
        event.remove(engine, "before_cursor_execute", cut)


@pytest.mark.fault
@pytest.mark.parametrize("step", ["finalize", "void"])
def test_a_connection_that_breaks_anywhere_leaves_nothing_half_counted(app: Flask, step: str):
    organization = make_organization()
    work = {"finalize": finalize_now, "void": void}[step]

    def prepared(number: int) -> Invoice:
        month = MONTH.plus(-number)
        if step == "void":
            return make_final(organization, "2.00", month=month)
        draft = make_draft(organization, month)
        add(draft, "2.00")
        return draft

    with cut_at(app, 0) as passed:
        invoice = prepared(0)
        passed[0] = 0
        work(invoice)
        statements_of_one = passed[0]
    assert statements_of_one > 10
    for number in range(1, statements_of_one + 1):
        invoice = prepared(number)
        before = totals(), totals(organization)
        with cut_at(app, number), pytest.raises(DBAPIError):
            work(invoice)
        assert (totals(), totals(organization)) == before
        work(invoice)
        assert (totals(), totals(organization)) != before
    assert broken() == []


def test_a_tenant_reads_its_own_months_and_writes_none(app: Flask):
    acme, umbrella = make_organization(), make_organization("umbrella")
    make_final(acme, "5.00")
    make_final(umbrella, "7.00")
    with acting(app, tenant(acme.id)):
        assert totals(acme) == {"2026-10 USD": Totals(1, 0, 500, 0, 500)}
        assert totals(umbrella) == {}
        for statement in ("SELECT * FROM platform_months", "UPDATE invoice_months SET total = 0"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                sql(statement)
    with acting(app, STAFF):
        assert totals() == {"2026-10 USD": Totals(2, 0, 1200, 0, 1200)}


def test_the_migration_counts_the_invoices_that_are_there(test_run, worker_number: int, app: Flask):
    """In a database of its own: invoices by the present code, the tables away, and the migration again."""
    name = f"portal_totals_{worker_number}_test"
    url = make_database(test_run.servers.database_url, name, template=TEMPLATE)
    portal = create_app(replace(app.config["SETTINGS"], database_url="postgresql+psycopg://" + url.partition("://")[2]))
    with acting(portal):
        organizations = [make_organization(f"org-{number}") for number in range(SLOTS + 1)]
        for organization in organizations:
            make_final(organization, "5.00", "-1.00")
        void(make_final(organizations[0], "3.00", month=MONTH.previous))
        kept = totals(), totals(organizations[0])
        flask_migrate.downgrade(DIRECTORY, revision="0017")
        flask_migrate.upgrade(DIRECTORY)
        assert (totals(), totals(organizations[0])) == kept
        assert kept[0] == {"2026-10 USD": Totals(9, 0, 3600, 0, 3600)}
        assert broken() == []
        db.engine.dispose()
    drop_database(test_run.servers.dropping_url, name)


def test_years_are_read_in_one_statement_that_looks_at_no_invoice(app: Flask):
    acme = make_organization()
    make_final(acme, "5.00")
    for read in (lambda: months_of(acme.id), months_of_platform):
        with statements(app) as seen, transaction():
            assert read()
        [statement] = [each for each in seen if "set_config" not in each]
        assert "FROM invoices" not in statement


def test_months_come_together_by_currency_and_year():
    def month(text: str, currency: str, total: int) -> MonthTotals:
        return MonthTotals(Month.parse(text), currency, Totals(1, 10, total, 1, total - 5))

    months = [month("2026-01", "JPY", 500), month("2026-02", "USD", 300), month("2026-01", "USD", 20)]
    months.append(month("2024-12", "USD", 1))
    yen, dollars = by_currency(months)
    assert (yen.currency, yen.totals.total, [each.year for each in yen.years]) == ("JPY", 500, [2026])
    assert [(each.year, each.totals) for each in dollars.years] == [
        (2026, Totals(2, 20, 320, 2, 310)),
        (2024, Totals(1, 10, 1, 1, -4)),
    ]
    assert dollars.totals == Totals(3, 30, 321, 3, 306)
    assert dollars.months == months[1:]
    assert by_currency([]) == []
    assert [row[3:6] for row in file_rows(months[:2])] == [("1", "490", "10"), ("1", "2.90", "0.10")]


def test_the_command_prints_months_and_years(runner: FlaskCliRunner):
    assert "Nothing has been invoiced." in runner.invoke(args=["billing", "totals"]).output
    acme, umbrella = make_organization(), make_organization("umbrella")
    make_final(acme, "5.00")
    make_final(acme, "6.00", month=Month(2025, 12))
    make_final(umbrella, "0.40")
    everything = runner.invoke(args=["billing", "totals"]).output
    assert [line.split("│")[1].strip() for line in everything.splitlines() if "USD" in line] == [
        *("2026-10", "2026", "2025-12", "2025"),
    ]
    assert "5.40" in everything
    ours = runner.invoke(args=["billing", "totals", "--organization", "acme", "--year", "2025"]).output
    assert "6.00" in ours
    assert "5.00" not in ours
    unknown = runner.invoke(args=["billing", "totals", "--organization", "nobody"])
    assert unknown.exit_code == 1
    assert "There is no active organization “nobody”." in unknown.output
