"""Credit notes on final invoices: what they say, where the money goes, and that nothing is ever credited twice."""

import random
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.exc import DBAPIError

from portal import doctor
from portal.catalog.models import TaxRate
from portal.core.errors import DraftChanged, InvalidInput, InvalidTransition
from portal.core.lifecycle import PaymentState
from portal.infra.db import transaction
from portal.invoicing.credit_note_documents import is_intact
from portal.invoicing.credit_note_figures import Chosen
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import corrections_of, creditable_lines, lines_on, replacement_of
from portal.invoicing.credit_notes import Wish, figures_for, issue_credit_note
from portal.invoicing.crediting import grant_credit
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.drafting import draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.month_totals import months_of
from portal.invoicing.one_off_items import remove_item
from portal.invoicing.queries import one_off_items_on
from portal.invoicing.voiding import reissue_invoice, void_invoice
from portal.invoicing.writing_off import write_off
from portal.organizations.models import Organization
from tests.factories import (
    MONTH,
    NOW,
    add,
    at_once,
    finalize_now,
    make_draft,
    make_final,
    make_meter,
    make_organization,
    make_price,
    reload,
    sql,
    use,
)

pytestmark = pytest.mark.usefixtures("books")


def broken() -> list[str]:
    with transaction():
        return [f"{each.rule}: {each.broken}" for each in doctor.examine() if each.broken and each.code != "I8"]


def credit(invoice: Invoice, amount: int | None = None, **more: Any) -> CreditNote:
    """Issue a credit note, by default of all that is left."""
    values = {"reason": "wrong", "by": "Ada", "form_token": uuid4(), "now": NOW, **more}
    wish = values.pop("wish", Wish(amount=amount))
    with transaction():
        return issue_credit_note(invoice.id, wish, **values)


def mark_paid(invoice: Invoice) -> None:
    """As if Stripe had said so."""
    sql(
        "UPDATE invoices SET payment_state = 'paid', amount_paid = amount_due, stripe_status = 'paid',"
        " sync_state = 'none' WHERE id = :id",
        id=invoice.id,
    )


def still_due(invoice: Invoice) -> int:
    fresh = reload(invoice)
    with transaction():
        return corrections_of(fresh).still_due


def balance(organization: Organization) -> int:
    with transaction():
        return balance_of(organization.id)


def tax(percent: str, *, included: bool = False, organization: Organization | None = None) -> None:
    with transaction() as session:
        session.add(TaxRate(percent=Decimal(percent), valid_from=date(2026, 1, 1)))
        if organization is not None:
            session.merge(organization).prices_include_tax = included


@pytest.fixture
def acme() -> Organization:
    return make_organization()


def test_a_partial_note_lowers_what_is_due_and_takes_the_first_number(acme):
    invoice = make_final(acme, "12.00", "8.00")
    note = credit(invoice, 500)
    assert (note.number, note.total, note.off_due, note.to_refund, note.to_balance) == (
        "CN-2026-000001",
        500,
        500,
        0,
        0,
    )
    # Spread over both lines in their proportion.
    with transaction():
        assert [(item.line_number, item.net, item.tax) for item in lines_on(note.id)] == [(1, 300, 0), (2, 200, 0)]
    assert still_due(invoice) == 1_500
    assert note.sync_state == "pending"
    assert sql("SELECT arguments ->> 'credit_note_id' FROM outbox WHERE kind = 'sync_credit_note'") == [(str(note.id),)]
    assert broken() == []


def test_a_full_note_takes_back_what_is_left_and_then_nothing_is(acme):
    invoice = make_final(acme, "12.00", "-2.00")
    credit(invoice, 333)
    note = credit(invoice)
    assert note.total == 667
    assert still_due(invoice) == 0
    with pytest.raises(InvalidInput, match="nothing left"):
        credit(invoice)
    with transaction():
        assert {line.left.gross for line in creditable_lines(invoice)} == {0}
    assert broken() == []


def test_quantities_and_amounts_of_chosen_lines_give_back_their_tax(acme):
    tax("20")
    meter = make_meter()
    make_price(meter, "0.10")
    use(acme, meter, 300, region="ams")
    invoice = make_draft(acme)
    add(invoice, "50.00", "Work")
    invoice = finalize_now(invoice)
    # 300 seconds are 30.00 and 6.00 of tax; 100 of them are a third. Of the work, 10.00 and 2.00.
    chosen = {1: Chosen(quantity=Decimal(100)), 2: Chosen(amount=1_000)}
    note = credit(invoice, wish=Wish(lines=chosen))
    assert (note.net, note.tax, note.total) == (2_000, 400, 2_400)
    assert note.document["rates"] == [{"percent": "20", "net": 2_000, "tax": 400}]
    assert [(line["line"], line["quantity"], line["net"]) for line in note.document["lines"]] == [
        (1, "100", 1_000),
        (2, None, 1_000),
    ]
    with pytest.raises(InvalidInput) as refused:
        credit(invoice, wish=Wish(lines={1: Chosen(quantity=Decimal(201))}))
    assert refused.value.field == "1"
    assert "at most 200" in refused.value.sentence
    with pytest.raises(InvalidInput) as refused:
        credit(invoice, wish=Wish(lines={2: Chosen(amount=4_001)}))
    assert refused.value.field == "2"
    assert credit(invoice).total == 9_600 - 2_400
    assert broken() == []


def test_amounts_of_lines_hold_the_tax_where_prices_do(acme):
    tax("20", included=True, organization=acme)
    invoice = make_final(acme, "12.00")
    note = credit(invoice, wish=Wish(lines={1: Chosen(amount=600)}))
    assert (note.net, note.tax, note.total) == (500, 100, 600)
    assert broken() == []


def test_the_document_says_all_and_is_frozen(acme):
    invoice = reload(make_final(acme, "12.00"))
    note = credit(invoice, 500, reason="  Outage of 3 October ")
    document = note.document
    assert document["invoice"] == {"number": invoice.number, "invoiced_on": "2026-11-22"}
    assert (document["reason"], document["issued_on"]) == ("Outage of 3 October", "2026-11-22")
    assert document["seller"] == invoice.document["seller"]
    assert document["buyer"] == invoice.document["buyer"]
    with transaction():
        assert is_intact(note, lines_on(note.id))
    for statement in (
        "UPDATE credit_notes SET total = total - 1, net = net - 1, off_due = off_due - 1",
        "UPDATE credit_notes SET reason = 'other'",
        "UPDATE credit_notes SET content_sha256 = NULL, number = NULL",
        "DELETE FROM credit_notes",
        "UPDATE credit_note_items SET net = 1",
        "DELETE FROM credit_note_items",
        "INSERT INTO credit_note_items (organization_id, credit_note_id, invoice_item_id, line_number, description,"
        " unit, percent, net, tax) SELECT organization_id, credit_note_id, invoice_item_id + 1, 2, '', '', 0, 1, 0"
        " FROM credit_note_items",
        "UPDATE invoice_replacements SET invoice_id = 1",
    ):
        with pytest.raises(DBAPIError, match="final|permission denied"):
            sql(statement)
    sql("UPDATE credit_notes SET sync_state = 'unknown', sync_message = 'asking'")


def test_after_payment_it_goes_to_the_balance_and_pays_the_next_invoice(acme):
    invoice = make_final(acme, "12.00")
    mark_paid(invoice)
    note = credit(invoice, 500)
    assert (note.off_due, note.to_refund, note.to_balance, note.stripe_amount) == (0, 0, 500, 500)
    assert balance(acme) == 500
    following = reload(make_final(acme, "9.00", month=MONTH.next.next, now=MONTH.plus(4).start))
    assert (following.balance_applied, following.amount_due) == (500, 400)
    assert broken() == []


def test_after_payment_it_can_be_refunded_up_to_what_was_paid_through_stripe(acme):
    with transaction():
        grant_credit(acme.id, kind="prepaid", name="Top-up", amount=400, reason="t", by="Ada", today=NOW.date())
    invoice = make_final(acme, "12.00")
    with pytest.raises(InvalidInput) as refused:
        credit(invoice, 500, refund=True)
    assert refused.value.field == "refund"
    mark_paid(invoice)
    note = credit(invoice, refund=True)
    # 4.00 had been paid with prepaid credit; Stripe knows nothing of it.
    assert (note.to_refund, note.to_balance, note.stripe_amount) == (800, 400, 800)
    assert balance(acme) == 400
    assert broken() == []


def test_before_payment_what_credit_had_paid_goes_to_the_balance_last(acme):
    with transaction():
        grant_credit(acme.id, kind="prepaid", name="Top-up", amount=400, reason="t", by="Ada", today=NOW.date())
    invoice = make_final(acme, "12.00")
    assert credit(invoice, 700).off_due == 700
    note = credit(invoice)
    assert (note.off_due, note.to_balance, note.stripe_amount) == (100, 400, 100)
    assert still_due(invoice) == 0
    assert broken() == []


def test_an_invoice_that_stripe_never_saw_is_credited_to_the_balance_alone(acme):
    with transaction():
        grant_credit(acme.id, kind="prepaid", name="Top-up", amount=5_000, reason="t", by="Ada", today=NOW.date())
    invoice = make_final(acme, "12.00")
    note = credit(invoice)
    assert (note.to_balance, note.stripe_amount, note.sync_state) == (1_200, 0, "none")
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_credit_note'") == [(0,)]
    assert broken() == []


def test_the_same_form_twice_makes_one_note(acme):
    invoice = make_final(acme, "12.00")
    token = uuid4()
    assert credit(invoice, 500, form_token=token).id == credit(invoice, 500, form_token=token).id
    assert still_due(invoice) == 700
    assert sql("SELECT last_number FROM number_series WHERE series = 'CN-2026'") == [(1,)]


def test_two_at_once_never_credit_more_than_there_is(acme, app: Flask):
    invoice = make_final(acme, "12.00")
    results = at_once(app, *[lambda: credit(invoice, 500) for _ in range(4)])
    assert sorted(type(each).__name__ for each in results) == ["CreditNote"] * 2 + ["InvalidInput"] * 2
    assert still_due(invoice) == 200
    assert broken() == []


def test_a_refused_note_takes_no_number(acme):
    invoice = make_final(acme, "12.00")
    with pytest.raises(InvalidInput) as refused:
        credit(invoice, 500, reason="  ")
    assert refused.value.field == "reason"
    with pytest.raises(InvalidInput):
        credit(invoice, 1_201)
    with pytest.raises(DraftChanged):
        credit(invoice, seen_total=1_199)
    assert sql("SELECT count(*) FROM number_series WHERE series LIKE 'CN-%'") == [(0,)]
    assert credit(invoice).number == "CN-2026-000001"


def test_what_is_no_final_invoice_is_not_credited(acme):
    draft = make_draft(acme)
    add(draft, "12.00")
    with pytest.raises(InvalidTransition, match="only a final one"):
        credit(draft)
    negative = make_final(acme, "-12.00", month=MONTH.previous)
    with pytest.raises(InvalidInput, match="nothing left"):
        credit(negative)
    disputed = make_final(acme, "12.00", month=MONTH.plus(-2))
    sql("UPDATE invoices SET payment_state = 'disputed' WHERE id = :id", id=disputed.id)
    with pytest.raises(InvalidTransition, match="disputed"):
        credit(disputed)


def test_an_invoice_with_credit_notes_is_not_voided(acme):
    invoice = make_final(acme, "12.00")
    credit(invoice, 500)
    with pytest.raises(InvalidTransition, match="credit notes"), transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
    assert reload(invoice).state == "finalized"


def test_the_totals_of_the_month_know_of_it(acme):
    credit(make_final(acme, "12.00"), 500)
    with transaction():
        [october] = months_of(acme.id)
    assert (october.totals.total, october.totals.credited) == (1_200, 500)


def test_preview_changes_nothing_and_says_what_the_note_then_does(acme):
    invoice = make_final(acme, "12.00")
    fresh = reload(invoice)
    with transaction():
        figures = figures_for(fresh, Wish(amount=500))
    assert (figures.due_before, figures.due_after, figures.total.gross) == (1_200, 700, 500)
    assert sql("SELECT count(*) FROM credit_notes") == [(0,)]


@pytest.mark.parametrize(
    ("table", "change", "back", "rule"),
    [
        ("credit_note_items", "net = net + 2000", "net = net - 2000", "within their invoice, by line"),
        ("credit_note_items", "net = net + 1", "net = net - 1", "sum of its lines"),
        ("credit_notes", "off_due = off_due - 1, to_balance = 1", "off_due = off_due + 1, to_balance = 0", "balance"),
        ("credit_notes", "stripe_amount = 0, off_due = 0, to_balance = total", "number = number", "need not know"),
        ("credit_notes", "number = 'CN-2026-000002'", "number = 'CN-2026-000001'", "no gaps"),
        ("credit_notes", "number = 'CN-2026-000002'", "number = 'CN-2026-000001'", "audit entry"),
        ("credit_notes", "reason = 'another'", "reason = 'wrong'", "are what they were"),
        ("invoices", "amount_due = 400, balance_applied = 1600", "amount_due = amount_due", "than is due"),
        ("number_series", "last_number = last_number + 1", "last_number = last_number - 1", "no gaps"),
    ],
)
def test_the_doctor_finds_a_note_that_was_tampered_with(acme, owner_connection, table, change, back, rule):
    credit(make_final(acme, "12.00", "8.00"), 500)
    assert broken() == []
    owner_connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    owner_connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    try:
        owner_connection.execute(f"UPDATE {table} SET {change}")
        assert any(rule in sentence for sentence in broken())
        owner_connection.execute(f"UPDATE {table} SET {back}")
    finally:
        owner_connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        owner_connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@pytest.mark.parametrize("included", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_notes_of_any_amounts_on_a_taxed_invoice_with_a_discount_leave_nothing_in_the_end(acme, seed, included):
    tax("8.875", included=included, organization=acme)
    with transaction():
        grant_credit(acme.id, kind="promotional", name="Gift", amount=777, reason="t", by="Ada", today=NOW.date())
        grant_credit(acme.id, kind="prepaid", name="Top-up", amount=555, reason="t", by="Ada", today=NOW.date())
    invoice = reload(make_final(acme, "33.33", "12.01", "7.77", "-4.56"))
    draw = random.Random(seed)
    left = invoice.total
    while left > 100:
        amount = draw.randint(1, left - 1)
        left -= credit(invoice, amount).total
        if draw.random() < 0.3 and reload(invoice).payment_state != PaymentState.PAID:
            mark_paid(invoice)
        assert broken() == []
    credit(invoice)
    with transaction():
        assert {(line.left.net, line.left.tax) for line in creditable_lines(invoice)} == {(0, 0)}
    [(total, tax_given, off_due, to_balance)] = sql(
        "SELECT sum(total), sum(tax), sum(off_due), sum(to_balance) FROM credit_notes"
    )
    assert (total, tax_given) == (invoice.total, invoice.tax)
    assert off_due + to_balance == invoice.total
    assert broken() == []


def test_an_invoice_that_is_issued_anew_takes_its_one_off_items_along_and_both_say_so(acme):
    invoice = make_draft(acme)
    add(invoice, "50.00", "Migration help")
    add(invoice, "-5.00", "Goodwill")
    gone = add(invoice, "1.00", "A mistake")
    with transaction():
        remove_item(invoice.id, gone.public_id, now=NOW)
    invoice = finalize_now(invoice)
    for _ in range(2):
        with transaction():
            draft = reissue_invoice(invoice.id, reason="wrong address", now=NOW)
    assert reload(invoice).state == "void"
    with transaction():
        assert [(each.description, each.amount) for each in one_off_items_on(draft.id)] == [
            ("Migration help", 5_000),
            ("Goodwill", -500),
        ]
        assert draft_of(acme, MONTH).statement.total == 4_500
        assert corrections_of(draft).replaces.id == invoice.id
        assert corrections_of(invoice).replaced_by.id == draft.id
    again = finalize_now(draft)
    with transaction():
        assert corrections_of(again).replaces.number == invoice.number
    assert broken() == []


def test_voiding_alone_leaves_one_off_items_and_they_can_follow_later(acme):
    invoice = make_final(acme, "50.00")
    with transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
        draft = replacement_of(invoice.id)
        assert one_off_items_on(draft.id) == []
        reissue_invoice(invoice.id, reason="wrong", now=NOW)
        assert [each.amount for each in one_off_items_on(draft.id)] == [5_000]


def test_a_replacement_that_is_final_takes_no_items(acme):
    invoice = make_final(acme, "50.00")
    with transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
    finalize_now(make_draft(acme))
    with pytest.raises(InvalidTransition, match="takes no more items"), transaction():
        reissue_invoice(invoice.id, reason="wrong", now=NOW)


def test_an_open_invoice_is_written_off_with_a_reason_and_stripe_is_told(acme):
    invoice = make_final(acme, "50.00")
    with pytest.raises(InvalidInput) as refused, transaction():
        write_off(invoice.id, reason=" ")
    assert refused.value.field == "reason"
    for _ in range(2):
        with transaction():
            write_off(invoice.id, reason="insolvent")
    assert reload(invoice).payment_state == "uncollectible"
    assert sql("SELECT reason FROM audit_entries WHERE action = 'written off'") == [("insolvent",)]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'write_off_at_stripe'") == [(1,)]
    # What is written off can still be credited: then nothing is due any more.
    assert credit(invoice).off_due == 5_000
    assert broken() == []


@pytest.mark.parametrize("state", ["paid", "refunded", "disputed"])
def test_what_was_paid_is_not_written_off(acme, state):
    invoice = make_final(acme, "50.00")
    sql("UPDATE invoices SET payment_state = :state WHERE id = :id", state=state, id=invoice.id)
    with pytest.raises(InvalidTransition, match="cannot become uncollectible"), transaction():
        write_off(invoice.id, reason="insolvent")


def test_what_was_credited_whole_is_not_written_off(acme):
    invoice = make_final(acme, "50.00")
    credit(invoice)
    with pytest.raises(InvalidTransition, match="nothing to write off"), transaction():
        write_off(invoice.id, reason="insolvent")


def test_a_draft_is_not_written_off(acme):
    draft = make_draft(acme)
    with pytest.raises(InvalidTransition, match="only a final one"), transaction():
        write_off(draft.id, reason="insolvent")


@pytest.fixture
def run(runner: FlaskCliRunner) -> Callable[..., Result]:
    """Run a command of the books."""

    def run_command(*words: str) -> Result:
        return runner.invoke(args=["billing", *words])

    return run_command


def test_the_commands_credit_and_write_off(acme, run):
    invoice = str(make_final(acme, "12.00").public_id)
    done = run("credit-note", invoice, "--amount", "2.50", "--reason", "Outage")
    assert done.exit_code == 0, done.output
    assert "CN-2026-000001" in done.output
    assert "2.50" in done.output
    refused = run("credit-note", invoice, "--amount", "10.00", "--reason", "Outage")
    assert refused.exit_code == 1
    assert "at most what is left" in refused.output
    assert run("credit-note", invoice, "--amount", "1", "--full", "--reason", "x").exit_code == 2
    assert run("credit-note", invoice, "--reason", "x").exit_code == 2
    assert run("write-off", invoice, "--reason", "insolvent").exit_code == 0
    assert "9.50" in run("credit-note", invoice, "--full", "--reason", "Goodwill").output
    assert sql("SELECT DISTINCT payment_state FROM invoices") == [("uncollectible",)]
