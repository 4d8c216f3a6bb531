"""From a draft to a document that never changes; whoever comes second, or too early, is told so."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from portal import billing_cycle, doctor
from portal.core.errors import InvalidInput, InvalidTransition, NotReady, PortalError
from portal.core.periods import Month
from portal.infra import outbox
from portal.infra.db import Scope, transaction
from portal.invoicing.documents import is_intact
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.drafting import draft_of
from portal.invoicing.finalizing import cancel, finalize, finish
from portal.invoicing.models import Invoice
from portal.invoicing.one_off_items import add_item, remove_item, restore_item
from portal.invoicing.queries import items_of, open_draft
from portal.invoicing.voiding import void_invoice
from tests.factories import (
    MONTH,
    NOW,
    acting,
    add,
    at_once,
    finalize_now,
    fingerprint_of,
    make_draft,
    make_final,
    make_meter,
    make_organization,
    make_price,
    reload,
    sql,
    terms,
    use,
)

pytestmark = pytest.mark.usefixtures("books")


def broken() -> list[str]:
    """What the doctor finds, but for overdue work: `NOW` is fixed, so a hold window may have ended long ago."""
    with transaction():
        found = [each for each in doctor.examine() if each.broken and each.code != "I8"]
    return [f"{each.code} {each.rule}: {each.broken}" for each in found]


@pytest.fixture
def acme():
    return make_organization()


@pytest.fixture
def used(acme):
    """A draft of 5.00 of usage and 12.00 by hand."""
    meter = make_meter()
    make_price(meter, "0.05")
    use(acme, meter, 60, at=date(2026, 10, 3), region="ams")
    use(acme, meter, 40, at=date(2026, 10, 4), region="fra")
    invoice = make_draft(acme)
    add(invoice, "12.00")
    return invoice


def test_a_final_invoice_has_a_number_a_date_its_lines_and_a_hash(used):
    done = finalize_now(used)
    assert (done.state, done.number, done.total, done.amount_due) == ("finalized", "INV-2026-000001", 1700, 1700)
    assert done.finalized_at == done.invoiced_at == NOW
    assert done.due_date == date(2026, 12, 6)
    with transaction():
        items = items_of(done.id)
        assert is_intact(done, items)
    assert [(item.kind, item.amount) for item in items] == [("usage", 500), ("one_off", 1200)]
    assert done.document["seller"]["name"]
    assert done.document["buyer"]["name"] == "Acme"
    billed = sql("SELECT day, quantity, events FROM billed_usage ORDER BY day")
    assert billed == [(date(2026, 10, 3), Decimal(60), 1), (date(2026, 10, 4), Decimal(40), 1)]
    assert sql("SELECT kind FROM outbox") == [("sync_invoice",)]
    assert broken() == []


def test_numbers_follow_each_other_within_a_year(acme):
    numbers = [make_final(acme, "1.00", month=MONTH.plus(-n)).number for n in range(3)]
    following = make_final(acme, "1.00", month=MONTH.plus(-3), now=NOW.replace(year=2027))
    assert [*numbers, following.number] == [
        "INV-2026-000001",
        "INV-2026-000002",
        "INV-2026-000003",
        "INV-2027-000001",
    ]
    assert broken() == []


def test_a_month_that_is_not_over_is_not_finalized(acme):
    invoice = make_draft(acme)
    for now in (MONTH.start, MONTH.end - timedelta(microseconds=1)):
        with pytest.raises(NotReady, match="2026-11-01, 00:00 UTC"):
            finalize_now(invoice, now=now)
    assert finalize_now(invoice, now=MONTH.end).number


def test_a_rolled_back_finalize_queues_nothing_and_gives_the_number_back(used):
    fingerprint = fingerprint_of(used)
    with pytest.raises(ZeroDivisionError), transaction():  # noqa: PT012
        taken = finalize(used.id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms())
        assert taken.number == "INV-2026-000001"
        raise ZeroDivisionError
    assert sql("SELECT count(*) FROM outbox") == [(0,)]
    assert sql("SELECT count(*) FROM billed_usage") == [(0,)]
    assert finalize_now(used).number == "INV-2026-000001"


def test_who_comes_second_is_told_who_was_first_and_when(used):
    finalize_now(used, by="Ada Lovelace")
    with pytest.raises(InvalidTransition, match="already finalized by Ada Lovelace at 22 Nov 2026, 12:00:00 UTC"):
        finalize_now(used, by="Grace")
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'finalized'") == [(1,)]


@pytest.mark.parametrize("admins", [2, 8])
def test_when_many_finalize_at_once_one_does_and_the_others_hear_of_it(app, used, admins):
    fingerprint, invoice_id = fingerprint_of(used), used.id

    def click(name: str):
        def do():
            with transaction():
                done = finalize(invoice_id, fingerprint=fingerprint, by=name, now=NOW, terms=terms())
            return done.number

        return do

    results = at_once(app, *(click(f"admin {n}") for n in range(admins)))
    winners = [each for each in results if isinstance(each, str)]
    losers = [each for each in results if not isinstance(each, str)]
    assert winners == ["INV-2026-000001"]
    assert len(losers) == admins - 1
    winner = f"admin {results.index(winners[0])}"
    for loser in losers:
        assert isinstance(loser, InvalidTransition)
        assert f"by {winner} at" in loser.sentence
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'finalized'") == [(1,)]
    assert sql("SELECT count(*) FROM outbox") == [(1,)]
    assert broken() == []


def test_when_many_invoices_are_finalized_at_once_numbers_have_no_gap(app):
    ids = []
    for number in range(6):
        invoice = make_draft(make_organization(f"org-{number}"))
        add(invoice, "1.00")
        ids.append((invoice.id, fingerprint_of(invoice)))

    def click(invoice_id, fingerprint):
        def do():
            with transaction():
                done = finalize(invoice_id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms())
            return done.number

        return do

    numbers = at_once(app, *(click(*each) for each in ids))
    assert sorted(numbers) == [f"INV-2026-{n:06d}" for n in range(1, 7)]
    assert broken() == []


def test_two_invoices_of_one_organization_do_not_spend_the_same_balance(app, acme):
    make_final(acme, "-10.00", month=MONTH.plus(-3))
    invoices = []
    for offset in (-1, 0):
        invoice = make_draft(acme, MONTH.plus(offset))
        add(invoice, "8.00")
        invoices.append((invoice.id, fingerprint_of(invoice)))

    def click(invoice_id, fingerprint):
        def do():
            with transaction():
                return finalize(invoice_id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms()).balance_applied

        return do

    results = at_once(app, *(click(*each) for each in invoices))
    # The second saw a balance that the first has used: it must look again.
    assert Counter(type(each).__name__ for each in results) == {"int": 1, "DraftChanged": 1}
    assert balance_of(acme.id) == 200
    for invoice_id, _ in invoices:
        invoice = sql("SELECT state FROM invoices WHERE id = :id", id=invoice_id)
        if invoice == [("draft",)]:
            billing_cycle.finalize_as_it_stands(invoice_id, by="Ada", now=NOW, settings=_settings(app))
    assert balance_of(acme.id) == 0
    assert sql("SELECT sum(balance_applied), sum(amount_due) FROM invoices") == [(1000, 600)]
    assert broken() == []


def _settings(app):
    return app.config["SETTINGS"]


@pytest.mark.parametrize("seed", range(6))
def test_an_item_that_races_with_finalizing_is_in_it_or_refused(app, used, seed):
    fingerprint, invoice_id = fingerprint_of(used), used.id

    def click():
        with transaction():
            return finalize(invoice_id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms())

    def adding():
        with transaction():
            return add_item(
                invoice_id, kind="charge", description="late", quantity=Decimal(1), unit_amount=Decimal(3),
                internal_reason=None, form_token=uuid4(), created_by_id=None,
            )  # fmt: skip

    finalized, added = at_once(app, click, adding)
    if isinstance(added, InvalidTransition):
        assert isinstance(finalized, Invoice)
        assert reload(used).total == 1700
        assert sql("SELECT count(*) FROM one_off_items") == [(1,)]
    else:
        assert isinstance(finalized, PortalError)  # the draft has changed: nothing was done
        assert reload(used).state == "draft"
        assert sql("SELECT count(*) FROM one_off_items") == [(2,)]
        assert finalize_now(used).total == 2000
    assert broken() == []


def test_usage_that_races_with_finalizing_is_billed_or_late_and_never_both(app, used):
    meter, acme = make_meter(), used.organization
    for seed in range(4):
        invoice = used if seed == 0 else make_draft(acme, MONTH.plus(-seed))
        day = invoice.period_start
        fingerprint, invoice_id = fingerprint_of(invoice), invoice.id

        def click(invoice_id=invoice_id, fingerprint=fingerprint):
            with transaction():
                return finalize(invoice_id, fingerprint=fingerprint, by="Ada", now=NOW, terms=terms()).total

        def using(day=day, seed=seed):
            return use(acme, meter, 7, at=day, event_id=f"race-{seed}")

        finalized, _ = at_once(app, click, using)
        [(events,)] = sql("SELECT coalesce(sum(events), 0) FROM billed_usage WHERE invoice_id = :id", id=invoice_id)
        [(recorded,)] = sql("SELECT sum(events) FROM usage_daily WHERE date_trunc('month', day) = :day", day=day)
        if isinstance(finalized, PortalError):
            assert events == 0
        else:
            assert recorded - events == 1  # it is late, and the rollup still knows it
        assert broken() == []


def test_cancel_within_the_hold_window_restores_the_draft_exactly(acme, used):
    make_final(acme, "-3.00", month=MONTH.previous)
    before = fingerprint_of(used)
    scheduled = finalize_now(used, hold_seconds=60)
    assert (scheduled.state, scheduled.number, scheduled.amount_due) == ("scheduled", None, 1400)
    assert scheduled.finalize_at == NOW + timedelta(seconds=60)
    assert balance_of(acme.id) == 0
    assert sql("SELECT count(*) FROM billed_usage") == [(2,)]
    assert broken() == []
    with transaction():
        cancel(used.id, now=NOW)
    restored = reload(used)
    assert (restored.state, restored.total, restored.balance_applied, restored.fingerprint) == ("draft", 0, 0, None)
    assert fingerprint_of(used) == before
    assert balance_of(acme.id) == 300
    assert sql("SELECT count(*) FROM billed_usage") == [(0,)]
    assert sql("SELECT count(*) FROM invoice_items WHERE invoice_id = :id", id=used.id) == [(0,)]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'finish_finalizing' AND finished_at IS NULL") == [(0,)]
    assert finalize_now(used).number == "INV-2026-000002"
    assert broken() == []


def test_cancelling_twice_is_one_cancel_and_after_the_end_it_is_too_late(used):
    finalize_now(used, hold_seconds=60)
    for _ in range(2):
        with transaction():
            assert cancel(used.id, now=NOW).state == "draft"
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'cancelled finalizing'") == [(1,)]
    finalize_now(used)
    with pytest.raises(InvalidTransition, match="too late"), transaction():
        cancel(used.id, now=NOW)


def test_cancel_and_the_end_of_the_window_at_once_end_in_one_of_both(app, used):
    finalize_now(used, hold_seconds=60)
    invoice_id = used.id

    def cancelling():
        with transaction():
            return cancel(invoice_id, now=NOW).state

    def ending():
        with transaction():
            return finish(invoice_id, now=NOW, terms=terms()).state

    cancelled, ended = at_once(app, cancelling, ending)
    state = reload(used).state
    if state == "draft":
        assert (cancelled, ended) == ("draft", "draft")
        assert sql("SELECT count(*) FROM number_series") == [(0,)]
    else:
        assert isinstance(cancelled, InvalidTransition)
        assert ended == "finalized"
    assert broken() == []


def test_in_the_hold_window_the_figures_stay_as_they_were_clicked(acme, used):
    meter = make_meter()
    finalize_now(used, hold_seconds=60)
    use(acme, meter, 1000, at=date(2026, 10, 5))
    with pytest.raises(InvalidTransition, match="scheduled and takes no more items"):
        add(used, "1.00")
    for _ in range(2):  # ending the window twice is ending it once
        with transaction():
            finish(used.id, now=NOW, terms=terms())
    done = reload(used)
    assert (done.state, done.total, done.number) == ("finalized", 1700, "INV-2026-000001")
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(1,)]
    assert broken() == []


def test_the_window_is_ended_by_a_worker(used):
    finalize_now(used, hold_seconds=60, now=NOW.replace(year=2100))
    assert outbox.drain() == 0
    sql("UPDATE outbox SET run_after = now(), lease_until = NULL WHERE finished_at IS NULL")
    outbox.drain(limit=1)
    assert reload(used).state == "finalized"
    [(actor,)] = sql("SELECT actor_kind || ' ' || actor_name FROM audit_entries WHERE action = 'finalized'")
    assert actor == "job finish_finalizing"


CHANGES = {
    "invoices": [
        "UPDATE invoices SET total = total + 1, amount_due = amount_due + 1",
        "UPDATE invoices SET number = 'INV-2026-000009'",
        "UPDATE invoices SET state = 'draft'",
        "UPDATE invoices SET state = 'scheduled'",
        "UPDATE invoices SET document = '{}'",
        "UPDATE invoices SET due_date = due_date + 30",
        "UPDATE invoices SET organization_id = organization_id + 1",
        "UPDATE invoices SET content_sha256 = 'x'",
        "DELETE FROM invoices",
    ],
    "invoice_items": [
        "UPDATE invoice_items SET amount = amount + 1",
        "UPDATE invoice_items SET description = 'x'",
        "DELETE FROM invoice_items",
        "INSERT INTO invoice_items (organization_id, invoice_id, position, kind, description, quantity, unit, amount,"
        " period_start, period_end, derivation, series, public_id) SELECT organization_id, invoice_id, 99, kind,"
        " description, quantity, unit, amount, period_start, period_end, derivation, series, gen_random_uuid()"
        " FROM invoice_items LIMIT 1",
    ],
    "billed_usage": [
        "UPDATE billed_usage SET quantity = 0",
        "DELETE FROM billed_usage",
        "INSERT INTO billed_usage SELECT invoice_id, day + 20, series_id, organization_id, meter_id, 1, 1"
        " FROM billed_usage LIMIT 1",
    ],
    "one_off_items": [
        "UPDATE one_off_items SET amount = amount + 1",
        "UPDATE one_off_items SET removed_at = now()",
        "DELETE FROM one_off_items",
    ],
}


@pytest.mark.parametrize("void", [False, True], ids=["final", "void"])
@pytest.mark.parametrize("statement", [each for changes in CHANGES.values() for each in changes])
def test_a_final_invoice_cannot_be_changed_by_anybody(used, owner_connection, statement, void, app):
    finalize_now(used)
    if void:
        with transaction():
            void_invoice(used.id, reason="a mistake", now=NOW)
    for role in ("portal_system", "portal_staff", "portal_tenant"):
        scope = Scope(role, used.organization_id if role == "portal_tenant" else None)
        with acting(app, scope), pytest.raises(DBAPIError, match="final|permission denied|cannot|is void"):
            sql(statement)
    with pytest.raises(psycopg.Error, match="final|is void"), owner_connection.transaction():  # noqa: PT012
        owner_connection.execute("SET LOCAL ROLE portal_system")
        owner_connection.execute(statement)
    assert broken() == []


def test_even_the_owner_of_the_tables_is_stopped_by_the_trigger(used, owner_connection):
    finalize_now(used)
    for table, changes in CHANGES.items():
        for statement in changes:
            with pytest.raises(psycopg.errors.RestrictViolation), owner_connection.transaction():  # noqa: PT012
                owner_connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
                owner_connection.execute("ALTER TABLE invoices NO FORCE ROW LEVEL SECURITY")
                owner_connection.execute(statement)
    forced = "SELECT count(*) FROM pg_class WHERE relname = ANY(%s) AND relforcerowsecurity"
    assert owner_connection.execute(forced, (list(CHANGES),)).fetchone() == (len(CHANGES),)


def test_what_is_not_content_still_moves(used):
    finalize_now(used)
    sql("UPDATE invoices SET sync_state = 'synced', stripe_id = 'in_1', payment_state = 'paid', amount_paid = 1700")
    assert reload(used).payment_state == "paid"


def test_a_hash_shows_what_slipped_past_the_trigger(used, owner_connection):
    finalize_now(used)
    with owner_connection.transaction():
        owner_connection.execute("ALTER TABLE invoice_items DISABLE TRIGGER freeze_final")
        owner_connection.execute("ALTER TABLE invoice_items NO FORCE ROW LEVEL SECURITY")
        owner_connection.execute("UPDATE invoice_items SET description = 'changed' WHERE kind = 'usage'")
        owner_connection.execute("ALTER TABLE invoice_items FORCE ROW LEVEL SECURITY")
        owner_connection.execute("ALTER TABLE invoice_items ENABLE TRIGGER freeze_final")
    assert [finding for finding in broken() if finding.startswith("I4")]


def test_in_the_hold_window_a_draft_still_shows_the_balance_that_it_uses(acme, used):
    earlier = make_draft(acme, Month(2026, 9))
    add(earlier, "-4.00")
    finalize_now(earlier)
    held = finalize_now(used, hold_seconds=60)
    assert (held.balance_applied, held.amount_due, balance_of(acme.id)) == (400, 1300, 0)
    with transaction():
        shown = draft_of(acme, MONTH, frozen_invoice_id=held.id)
    assert (shown.statement.balance_applied, shown.statement.amount_due) == (400, 1300)
    assert shown.fingerprint == held.fingerprint


def test_a_voided_month_has_a_draft_again_with_all_of_its_usage(acme, used):
    final = finalize_now(used)
    with transaction():
        void_invoice(final.id, reason="wrong customer", now=NOW)
    again = make_draft(acme)
    assert (again.id != final.id, again.state) == (True, "draft")
    # The 5.00 of usage; the 12.00 by hand stay with the void invoice.
    billed = finalize_now(again)
    assert (final.total, billed.total, billed.number) == (1700, 500, "INV-2026-000002")
    assert broken() == []


def test_voiding_gives_the_balance_back_and_keeps_the_number(acme, used):
    make_final(acme, "-3.00", month=MONTH.previous)
    done = finalize_now(used)
    assert (done.balance_applied, balance_of(acme.id)) == (300, 0)
    with transaction():
        void_invoice(used.id, reason="wrong customer", now=NOW)
    void = reload(used)
    assert (void.state, void.number, void.void_reason) == ("void", "INV-2026-000002", "wrong customer")
    assert balance_of(acme.id) == 300
    with transaction():
        void_invoice(used.id, reason="again", now=NOW)
    assert balance_of(acme.id) == 300
    again = make_draft(acme)
    assert again.id != used.id
    add(again, "12.00")
    assert finalize_now(again).number == "INV-2026-000003"
    assert sql("SELECT reason FROM audit_entries WHERE action = 'voided'") == [("wrong customer",)]
    assert broken() == []


def test_the_usage_of_a_void_invoice_is_billed_by_the_next_one(used):
    finalize_now(used)
    with transaction():
        void_invoice(used.id, reason="wrong", now=NOW)
    again = finalize_now(make_draft(used.organization))
    assert again.total == 500  # the usage; the item by hand belonged to the void one
    assert broken() == []


def test_voiding_a_credit_takes_it_out_of_the_balance_unless_it_was_used(acme):
    credit = make_final(acme, "-10.00", month=MONTH.plus(-2))
    later = make_final(acme, "4.00", month=MONTH.previous)
    with pytest.raises(InvalidTransition, match="has been used on a later invoice"), transaction():
        void_invoice(credit.id, reason="no credit after all", now=NOW)
    assert balance_of(acme.id) == 600
    with transaction():
        void_invoice(later.id, reason="first", now=NOW)
    with transaction():
        void_invoice(credit.id, reason="no credit after all", now=NOW)
    assert balance_of(acme.id) == 0
    assert broken() == []


def test_what_cannot_be_voided_is_refused(acme, used):
    with pytest.raises(InvalidTransition, match="is draft"), transaction():
        void_invoice(used.id, reason="a draft", now=NOW)
    finalize_now(used, hold_seconds=60)
    with pytest.raises(InvalidTransition, match="is scheduled"), transaction():
        void_invoice(used.id, reason="scheduled", now=NOW)
    with transaction():
        finish(used.id, now=NOW, terms=terms())
    with pytest.raises(InvalidInput) as refused, transaction():
        void_invoice(used.id, reason="  ", now=NOW)
    assert refused.value.field == "reason"
    sql("UPDATE invoices SET payment_state = 'paid', amount_paid = amount_due")
    with pytest.raises(InvalidTransition, match="credited, not voided"), transaction():
        void_invoice(used.id, reason="paid", now=NOW)
    assert reload(used).state == "finalized"


def test_one_invoice_per_organization_and_month(app, acme):
    def opening():
        with transaction():
            return open_draft(acme, MONTH).id

    assert len(set(at_once(app, *[opening] * 4))) == 1
    with pytest.raises(IntegrityError, match="uq_invoices"):
        sql(
            "INSERT INTO invoices (public_id, organization_id, period_start, period_end, currency)"
            " SELECT gen_random_uuid(), organization_id, period_start, period_end, currency FROM invoices"
        )


def test_every_active_organization_gets_its_draft_once(app):
    for slug, status in [("a", "active"), ("b", "active"), ("c", "suspended"), ("d", "closed")]:
        make_organization(slug, status=status)
    assert sorted(at_once(app, *[lambda: billing_cycle.open_drafts(Month.of(NOW))] * 3)) == [0, 0, 2]
    assert sql("SELECT period_start FROM invoices") == [(date(2026, 11, 1),)] * 2


def test_a_form_sent_twice_adds_one_item(app, used):
    token = UUID(int=7)

    def adding():
        return add(used, "5.00", token=token).id

    assert len(set(at_once(app, adding, adding, adding))) == 1
    assert sql("SELECT count(*) FROM one_off_items WHERE amount = 500") == [(1,)]


def test_a_removed_item_is_not_billed_and_can_be_put_back(used):
    item = add(used, "5.00", "extra")
    before = fingerprint_of(used)
    for _ in range(2):
        with transaction():
            remove_item(used.id, item.public_id, now=NOW)
    assert fingerprint_of(used) != before
    with transaction():
        restore_item(used.id, item.public_id)
    assert fingerprint_of(used) == before
    assert sql(
        "SELECT action, count(*) FROM audit_entries WHERE action LIKE '%one-off item' GROUP BY 1 ORDER BY 1"
    ) == [
        ("added one-off item", 2),
        ("removed one-off item", 1),
        ("restored one-off item", 1),
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"quantity": Decimal(0)}, "quantity"),
        ({"quantity": Decimal(-1)}, "quantity"),
        ({"unit_amount": Decimal(-1)}, "unit_amount"),
        ({"unit_amount": Decimal("1000000")}, "unit_amount"),
        ({"kind": "credit"}, "internal_reason"),
        ({"kind": "credit", "internal_reason": ""}, "internal_reason"),
    ],
)
def test_an_item_that_cannot_be_billed_is_refused_and_the_field_is_named(used, values, field):
    good = {
        "kind": "charge",
        "description": "x",
        "quantity": Decimal(1),
        "unit_amount": Decimal(1),
        "internal_reason": None,
    }
    with pytest.raises(InvalidInput) as refused, transaction():
        add_item(used.id, **(good | values), form_token=uuid4(), created_by_id=None)
    assert refused.value.field == field


def test_an_items_amount_is_rounded_once_away_from_zero(used):
    with transaction():
        for kind in ("charge", "credit"):
            add_item(
                used.id, kind=kind, description=kind, quantity=Decimal("0.5"), unit_amount=Decimal("0.01"),
                internal_reason="x", form_token=uuid4(), created_by_id=None,
            )  # fmt: skip
    assert sql("SELECT amount FROM one_off_items WHERE quantity < 1 ORDER BY id") == [(1,), (-1,)]
