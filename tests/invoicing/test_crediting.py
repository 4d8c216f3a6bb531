"""Credit that is granted, used and withdrawn: every movement is a row, and what is left is their sum."""

import threading
import time
from datetime import date
from functools import partial
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from portal.core.commitments import use_credits
from portal.core.errors import DraftChanged, InvalidInput
from portal.core.periods import midnight
from portal.infra.db import Scope, tenant, transaction
from portal.invoicing.crediting import (
    credit_for,
    give_credit_back,
    grant_credit,
    grants_of,
    use_credit,
    withdraw_credit,
)
from portal.invoicing.finalizing import cancel, finalize
from portal.invoicing.models import Invoice
from portal.invoicing.voiding import void_invoice
from tests.factories import (
    MONTH,
    NOW,
    acting,
    add,
    finalize_now,
    fingerprint_of,
    make_draft,
    make_organization,
    sql,
    terms,
)

pytestmark = pytest.mark.usefixtures("books")
TODAY = date(2026, 10, 22)


@pytest.fixture
def acme():
    return make_organization()


def grant(organization, amount=1000, **more):
    values = {"kind": "promotional", "name": "Welcome", "reason": "a new customer", "by": "Ada", "today": TODAY} | more
    with transaction():
        return grant_credit(organization.id, amount=amount, **values)


def withdraw(granted, reason="a mistake") -> int:
    with transaction():
        return withdraw_credit(granted.id, reason=reason)


def left(organization) -> list[tuple[str, int]]:
    with transaction():
        return [(each.name, rest) for each, rest in grants_of(organization.id)]


def payable(organization, month=MONTH, **more) -> list[tuple[str, int]]:
    with transaction():
        return [(each.name, rest.left) for each, rest in credit_for(organization.id, month, **more)]


def use(invoice, used: dict[int, int]) -> None:
    with transaction() as session:
        use_credit(session.get_one(Invoice, invoice.id), used)


def entries() -> list[tuple[int, str]]:
    return [tuple(row) for row in sql("SELECT amount, reason FROM credit_entries ORDER BY id")]


def test_a_grant_is_there_from_its_first_entry_on_and_audited(acme):
    made = grant(acme, 1250, kind="prepaid", name=" Top-up ", expires_on=date(2026, 12, 31), rank=2)
    assert (made.kind, made.name, made.amount, made.rank, made.created_by) == ("prepaid", "Top-up", 1250, 2, "Ada")
    assert entries() == [(1250, "granted")]
    [(after, reason, organization)] = sql(
        "SELECT after, reason, organization_id FROM audit_entries WHERE action = 'granted credit'"
    )
    assert after == {"kind": "prepaid", "name": "Top-up", "amount": 1250, "expires_on": "2026-12-31"}
    assert (reason, organization) == ("a new customer", acme.id)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**8}, "amount"),
        ({"name": " "}, "name"),
        ({"reason": ""}, "reason"),
        ({"expires_on": date(2026, 10, 21)}, "expires_on"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_and_the_field_is_named(acme, values, field):
    with pytest.raises(InvalidInput) as refused:
        grant(acme, **values)
    assert refused.value.field == field
    assert sql("SELECT count(*) FROM credit_grants") == [(0,)]
    assert entries() == []


def test_what_is_left_is_the_sum_of_the_movements_newest_grant_first(acme):
    first, _ = grant(acme, 1000, name="First"), grant(acme, 500, name="Second")
    grant(make_organization("other"), 7, name="Another's")
    use(make_draft(acme), {first.id: 300})
    assert left(acme) == [("Second", 500), ("First", 700)]


def test_what_is_left_can_be_withdrawn_once(acme):
    made = grant(acme)
    use(make_draft(acme), {made.id: 300})
    assert [withdraw(made), withdraw(made)] == [700, 0]
    assert left(acme) == [("Welcome", 0)]
    assert entries() == [(1000, "granted"), (-300, "used for an invoice"), (-700, "withdrawn: a mistake")]
    assert sql("SELECT before, reason FROM audit_entries WHERE action = 'withdrew credit'") == [
        ({"left": 700}, "a mistake")
    ]


def test_a_month_is_paid_by_what_has_not_expired_before_it_began(acme):
    for name, expires_on in [("Never", None), ("Mid-month", date(2026, 11, 2)), ("Its last day", date(2026, 10, 31))]:
        grant(acme, 100, name=name, expires_on=expires_on)
    for name, day in [("The day before", date(2026, 9, 30)), ("Its first day", date(2026, 10, 1))]:
        grant(acme, 100, name=name, expires_on=day, today=date(2026, 9, 1))
    assert [name for name, _ in payable(acme)] == ["Never", "Mid-month", "Its last day", "Its first day"]
    assert [name for name, _ in payable(acme, MONTH.next)] == ["Never", "Mid-month"]
    assert [name for name, _ in payable(acme, MONTH.plus(2))] == ["Never"]
    assert payable(make_organization("other")) == []


def test_what_is_used_up_or_withdrawn_pays_nothing(acme):
    used, withdrawn = grant(acme, name="Used"), grant(acme, name="Withdrawn")
    use(make_draft(acme), {used.id: 1000})
    withdraw(withdrawn)
    assert payable(acme) == []


def test_credit_is_used_by_rank_then_by_what_expires_first_then_by_age(acme):
    last = grant(acme, 100, rank=1, expires_on=date(2026, 10, 31))
    never = grant(acme, 100)
    later, sooner = (grant(acme, 100, expires_on=date(2026, month, 15)) for month in (12, 11))
    same = grant(acme, 100, expires_on=date(2026, 11, 15))
    with transaction():
        lefts = [each for _, each in credit_for(acme.id, MONTH)]
    used = use_credits(450, lefts, now=midnight(date(2026, 10, 31)))
    assert list(used.items()) == [(sooner.id, 100), (same.id, 100), (later.id, 100), (never.id, 100), (last.id, 50)]


def test_an_invoice_still_has_what_it_has_taken_itself(acme):
    made, invoice = grant(acme), make_draft(acme)
    use(invoice, {made.id: 400})
    assert payable(acme) == [("Welcome", 600)]
    assert payable(acme, frozen_invoice_id=invoice.id) == [("Welcome", 1000)]


def test_what_an_invoice_took_is_given_back_once(acme):
    first, second, invoice = grant(acme, name="First"), grant(acme, name="Second"), make_draft(acme)
    use(invoice, {first.id: 400, second.id: 5})
    for _ in range(2):
        with transaction() as session:
            give_credit_back(session.get_one(Invoice, invoice.id), "it was void")
    assert left(acme) == [("Second", 1000), ("First", 1000)]
    assert entries()[4:] == [(400, "given back: it was void"), (5, "given back: it was void")]


def test_a_final_invoice_uses_promotional_credit_before_and_prepaid_credit_after_its_total(acme):
    grant(acme, 300, name="Welcome")
    grant(acme, 500, name="Top-up", kind="prepaid")
    invoice = make_draft(acme)
    add(invoice, "10.00")
    done = finalize_now(invoice)
    assert (done.total, done.credits_applied, done.amount_due) == (700, 500, 200)
    assert left(acme) == [("Top-up", 0), ("Welcome", 0)]
    with transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
    assert left(acme) == [("Top-up", 500), ("Welcome", 300)]


def test_a_cancelled_finalize_gives_the_credit_back(acme):
    grant(acme, 300)
    invoice = make_draft(acme)
    add(invoice, "10.00")
    finalize_now(invoice, hold_seconds=60)
    assert left(acme) == [("Welcome", 0)]
    with transaction():
        cancel(invoice.id, now=NOW)
    assert left(acme) == [("Welcome", 300)]
    assert finalize_now(make_draft(acme)).total == 700


def test_credit_that_is_withdrawn_while_an_invoice_is_frozen_is_not_spent_twice(app, acme):
    made, invoice = grant(acme, 300), make_draft(acme)
    add(invoice, "10.00")
    fingerprint = fingerprint_of(invoice)
    withdrawn = threading.Event()
    refusals = []

    def withdrawing():
        with acting(app), transaction():
            withdraw_credit(made.id, reason="a mistake")
            withdrawn.set()
            time.sleep(0.5)  # The other one comes to the lock and waits.

    def finalizing():
        assert withdrawn.wait(10)
        with acting(app):
            try:
                with transaction():
                    finalize(invoice.id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms())
            except DraftChanged as refusal:
                refusals.append(refusal)

    threads = [threading.Thread(target=each) for each in (withdrawing, finalizing)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert left(acme) == [("Welcome", 0)]
    assert len(refusals) == 1


@pytest.mark.parametrize("change", ["UPDATE credit_entries SET amount = amount + 1", "DELETE FROM credit_entries"])
def test_movements_are_only_added(app, acme, owner_connection, change):
    grant(acme)
    for scope in (Scope("portal_system"), Scope("portal_staff"), tenant(acme.id)):
        with acting(app, scope), pytest.raises(DBAPIError, match="permission denied|only added"):
            sql(change)
    with pytest.raises(Exception, match="only added"), owner_connection.transaction():  # noqa: PT012
        owner_connection.execute("ALTER TABLE credit_entries NO FORCE ROW LEVEL SECURITY")
        owner_connection.execute(change)
    assert entries() == [(1000, "granted")]


def test_a_tenant_sees_its_own_credit_and_grants_itself_none(app, acme):
    grant(acme)
    grant(make_organization("other"), name="Another's")
    with acting(app, tenant(acme.id)):
        assert sql("SELECT name FROM credit_grants") == [("Welcome",)]
        assert sql("SELECT count(*) FROM credit_entries") == [(1,)]
        for table in ("credit_grants", "credit_entries"):
            with pytest.raises(DBAPIError, match="permission denied"):
                sql(f"INSERT INTO {table} SELECT * FROM {table}")


def test_the_commands_grant_list_and_withdraw_credit(runner, acme):
    def run(*words: str, code: int = 0) -> str:
        result = runner.invoke(args=["credits", *words])
        assert result.exit_code == code, result.output
        return result.output

    make_organization("tokyo", currency="JPY")
    given = partial(run, "grant", "acme", "--name", "Top [up]", "--reason", "paid", "--kind")
    assert "12.50 USD were granted" in given("prepaid", "12.50", "--expires-on", "2190-01-31", "--rank", "3")
    assert "USD has 2 decimals" in given("prepaid", "12.505", code=1)
    assert "more than nothing" in given("promotional", "0", code=1)
    yen = ("grant", "tokyo", "--name", "Y", "--reason", "r", "--kind", "prepaid")
    assert "JPY has 0 decimals" in run(*yen, "12.50", code=1)
    assert "12 JPY were granted" in run(*yen, "12.00")
    with transaction():
        [(made, _)] = grants_of(acme.id)
    listed = run("list", "acme")
    assert all(word in listed for word in (str(made.public_id), "Top [up]", "prepaid", "12.50", "2190-01-31", "3"))
    assert "no such credit" in run("withdraw", "tokyo", str(made.public_id), "--reason", "x", code=1)
    assert "no such credit" in run("withdraw", "acme", str(uuid4()), "--reason", "x", code=1)
    for amount in ("12.50", "0.00"):
        assert f"{amount} USD were withdrawn" in run("withdraw", "acme", str(made.public_id), "--reason", "x")
    assert made.created_by == sql("SELECT DISTINCT actor_name FROM audit_entries WHERE actor_kind = 'operator'")[0][0]
