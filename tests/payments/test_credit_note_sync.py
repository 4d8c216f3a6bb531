"""Credit notes and write-offs reach Stripe once, whatever happens on the way; both sides agree on what is due."""

from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from portal.core.lifecycle import SyncState
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import corrections_of, credit_note_of
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.crediting import grant_credit
from portal.invoicing.draft_facts import balance_of
from portal.invoicing.models import Invoice
from portal.invoicing.writing_off import write_off
from portal.organizations.models import Organization
from portal.payments.crediting import sync_credit_note_again
from portal.payments.sweeping import LOOK_AGAIN
from tests.factories import NOW, make_final, make_organization, reload, sql
from tests.full import every
from tests.payments.conftest import examine, open_rows, work
from tests.payments.test_kill_at_every_step import helper, kill_everywhere, newest_job

__all__ = ["helper"]  # a fixture
pytestmark = pytest.mark.usefixtures("books")
# All points of a kill with --full; at other times some.
EVERY = every(17)
CREATE = "POST /v1/credit_notes"


def credit(invoice: Invoice, amount: int | None = None, *, refund: bool = False) -> CreditNote:
    with transaction():
        return issue_credit_note(
            invoice.id,
            Wish(amount=amount),
            reason="wrong",
            by="Ada",
            form_token=uuid4(),
            now=NOW,
            refund=refund,
        )


def fresh(note: CreditNote) -> CreditNote:
    with transaction() as session:
        session.expire_all()
        return credit_note_of(note.public_id)


def synced(*amounts: str, organization: Organization | None = None) -> Invoice:
    """A final invoice that Stripe has."""
    invoice = make_final(organization or make_organization(), *amounts)
    work()
    return reload(invoice)


def pay(sandbox: Any, invoice: Invoice, *, heard: bool = True) -> None:
    """The customer pays at Stripe; and we hear of it."""
    sandbox.act("pay", invoice=invoice.stripe_id)
    if heard:
        look_again(invoice)


def look_again(invoice: Invoice) -> None:
    sql(
        "INSERT INTO outbox (kind, dedupe_key, arguments)"
        " VALUES (:kind, :key, jsonb_build_object('invoice_id', CAST(:id AS bigint)))",
        kind=LOOK_AGAIN,
        key=str(invoice.id),
        id=invoice.id,
    )
    work()


def notes_at(sandbox: Any) -> list[dict[str, Any]]:
    return list(sandbox.ledger()["credit_notes"])


def balance(invoice: Invoice) -> int:
    with transaction():
        return balance_of(invoice.organization_id)


def still_due(invoice: Invoice) -> int:
    now = reload(invoice)
    with transaction():
        return corrections_of(now).still_due


def test_a_note_on_an_open_invoice_lowers_what_stripe_asks_for(sandbox):
    invoice = synced("12.00", "8.00")
    note = credit(invoice, 500)
    work()
    [theirs] = notes_at(sandbox)
    assert (theirs["amount"], theirs["pre_payment_amount"], theirs["memo"]) == (500, 500, "Credit note CN-2026-000001")
    assert theirs["metadata"] == {"credit_note_id": str(note.public_id), "content_sha256": note.content_sha256}
    [at_stripe] = sandbox.invoices(invoice.public_id)
    assert at_stripe["amount_remaining"] == 1_500 == still_due(invoice)
    assert (fresh(note).sync_state, fresh(note).stripe_id) == ("synced", theirs["id"])
    assert [call for call in sandbox.calls() if "credit_notes" in call and call.startswith("POST")] == [CREATE]
    pay(sandbox, invoice)
    assert (reload(invoice).payment_state, still_due(invoice), balance(invoice)) == ("paid", 0, 0)
    assert sandbox.invoices(invoice.public_id)[0]["amount_paid"] == 1_500
    assert examine() == []


@pytest.mark.parametrize("state", ["pending", "dead"])
def test_a_note_waits_until_its_invoice_is_at_stripe(sandbox, state):
    invoice = make_final(make_organization(), "12.00")
    sql("UPDATE invoices SET sync_state = :state", state=state)
    note = credit(invoice, 500)
    outbox.run(newest_job("sync_credit_note"))
    assert (notes_at(sandbox), fresh(note).sync_state) == ([], "pending")
    waiting = sql("SELECT last_error, tries, run_after > now() FROM outbox WHERE kind = 'sync_credit_note'")
    assert waiting == [("Its invoice is not at Stripe yet; this waits for it.", 0, True)]
    work()
    assert (len(notes_at(sandbox)), fresh(note).sync_state) == (1, "synced")
    assert examine() == []


def test_a_note_of_all_settles_the_invoice_on_both_sides(sandbox):
    invoice = synced("12.00")
    credit(invoice)
    work()
    assert sandbox.invoices(invoice.public_id)[0]["status"] == "paid"
    assert (reload(invoice).payment_state, still_due(invoice), balance(invoice)) == ("paid", 0, 0)
    assert examine() == []


def test_after_payment_the_choice_is_a_refund(sandbox):
    invoice = synced("12.00")
    pay(sandbox, invoice)
    credit(invoice, 500, refund=True)
    work()
    assert reload(invoice).payment_state == "paid"
    last = credit(invoice, refund=True)
    work()
    assert [(each["amount"], each["post_payment_amount"]) for each in notes_at(sandbox)] == [(500, 500), (700, 700)]
    assert (fresh(last).sync_state, reload(invoice).payment_state, balance(invoice)) == ("synced", "refunded", 0)
    assert examine() == []


def test_or_the_account_balance_which_is_not_stripes(sandbox):
    invoice = synced("12.00")
    pay(sandbox, invoice)
    credit(invoice, 500)
    work()
    [theirs] = notes_at(sandbox)
    assert theirs["out_of_band_amount"] == 500
    assert sandbox.ledger()["customers"][0]["balance"] == 0
    assert (balance(invoice), reload(invoice).payment_state) == (500, "paid")
    assert examine() == []


def test_stripe_hears_only_of_what_it_had_asked_for(sandbox):
    organization = make_organization()
    with transaction():
        grant_credit(organization.id, kind="prepaid", name="Top-up", amount=400, reason="t", by="Ada", today=NOW.date())
    invoice = synced("12.00", organization=organization)
    credit(invoice)
    work()
    assert [each["amount"] for each in notes_at(sandbox)] == [800]
    assert (balance(invoice), reload(invoice).payment_state) == (400, "paid")
    assert examine() == []


def test_a_customer_who_pays_in_full_before_stripe_hears_of_the_note_gets_it_on_the_balance(sandbox):
    invoice = synced("12.00")
    note = credit(invoice, 500)
    pay(sandbox, invoice, heard=False)
    work()
    assert (fresh(note).overpaid, fresh(note).sync_state, balance(invoice)) == (500, "synced", 500)
    assert (reload(invoice).payment_state, reload(invoice).amount_paid) == ("paid", 1_200)
    assert notes_at(sandbox)[0]["out_of_band_amount"] == 500
    # All of the 12.00 came in, 5.00 of it are credited: 7.00 can still be refunded.
    assert credit(invoice, refund=True).to_refund == 700
    work()
    assert [each["amount"] for each in notes_at(sandbox)] == [500, 700]
    assert examine() == []


def test_a_payment_between_the_look_and_the_call_is_seen_on_the_next_try(sandbox, monkeypatch):
    from portal.payments import crediting

    invoice = synced("12.00")
    note = credit(invoice, 500)
    look = crediting._status_of

    def then_pay(plan):
        status = look(plan)
        if status == "open":
            pay(sandbox, invoice, heard=False)
        return status

    monkeypatch.setattr(crediting, "_status_of", then_pay)
    work()
    assert [(call.outcome, call.generation) for call in calls_of(note)] == [("refused", 1), ("ok", 2)]
    assert (fresh(note).sync_state, fresh(note).overpaid, balance(invoice)) == ("synced", 500, 500)
    assert len(notes_at(sandbox)) == 1
    assert examine() == []


def calls_of(note: CreditNote) -> list[Any]:
    return sql(
        "SELECT outcome, generation, attempts FROM stripe_calls WHERE subject = :id ORDER BY id", id=note.public_id
    )


@pytest.mark.parametrize("mode", ["timeout_after", "timeout_before", "reset_after", "500_after", "html_502", "429"])
def test_whatever_goes_wrong_on_the_way_there_is_one_note_at_stripe(sandbox, impatient, mode):
    invoice = synced("12.00")
    sandbox.fault(CREATE, mode, times=1)
    note = credit(invoice, 500)
    work()
    assert len(notes_at(sandbox)) == 1
    assert fresh(note).sync_state == "synced"
    assert sandbox.invoices(invoice.public_id)[0]["amount_remaining"] == 700
    assert examine() == []


def test_a_note_of_another_total_at_stripe_is_a_mismatch_as_long_as_it_has_that(sandbox):
    invoice = synced("12.00")
    sandbox.fault("GET /v1/credit_notes", "wrong_total", sticky=True)
    note = credit(invoice, 500)
    work()
    assert fresh(note).sync_state == "mismatch"
    assert "ours is of another amount" in fresh(note).sync_message
    for expected in ("mismatch", "synced"):
        with transaction():
            sync_credit_note_again(note.id)
        if expected == "synced":
            sandbox.heal()
        work()
        assert fresh(note).sync_state == expected
    assert len(notes_at(sandbox)) == 1
    assert examine() == []


def test_a_wrong_total_in_the_answer_alone_is_no_mismatch(sandbox):
    invoice = synced("12.00")
    sandbox.fault(CREATE, "wrong_total", times=1)
    note = credit(invoice, 500)
    work()
    assert fresh(note).sync_state == "synced"
    assert examine() == []


def test_a_refused_note_stops_with_stripes_words_and_can_be_sent_again(sandbox):
    invoice = synced("12.00")
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"amount_remaining": 100})
    note = credit(invoice, 500)
    work()
    assert fresh(note).sync_state == "dead"
    assert "greater than what can be credited" in fresh(note).sync_message
    assert open_rows() == 0
    sandbox.act("edit", invoice=invoice.stripe_id, force=True, changes={"amount_remaining": 1_200})
    with transaction():
        sync_credit_note_again(note.id)
    work()
    assert fresh(note).sync_state == "synced"
    assert len(notes_at(sandbox)) == 1
    assert examine() == []


def test_an_invoice_that_is_written_off_is_uncollectible_at_stripe_too(sandbox):
    invoice = synced("12.00")
    with transaction():
        write_off(invoice.id, reason="insolvent")
    work()
    assert sandbox.invoices(invoice.public_id)[0]["status"] == "uncollectible"
    assert (reload(invoice).payment_state, reload(invoice).stripe_status) == ("uncollectible", "uncollectible")
    pay(sandbox, invoice)
    assert reload(invoice).payment_state == "paid"
    assert examine() == []


def test_a_payment_that_was_faster_than_the_write_off_takes_it_back(sandbox):
    invoice = synced("12.00")
    pay(sandbox, invoice, heard=False)
    with transaction():
        write_off(invoice.id, reason="insolvent")
    work()
    assert (reload(invoice).payment_state, reload(invoice).stripe_status) == ("paid", "paid")
    assert examine() == []


def test_a_write_off_waits_until_the_invoice_is_at_stripe(sandbox):
    invoice = make_final(make_organization(), "12.00")
    with transaction():
        write_off(invoice.id, reason="insolvent")
    work()
    assert sandbox.invoices(invoice.public_id)[0]["status"] == "uncollectible"
    assert reload(invoice).payment_state == "uncollectible"
    assert examine() == []


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("paid", [False, True])
def test_a_credit_note_whose_job_is_killed_anywhere_is_at_stripe_once(helper, sandbox, capsys, paid):
    notes, invoices = [], []

    def prepare(number: int) -> int:
        invoice = make_final(make_organization(f"org-{number}"), "12.00")
        helper(work="run", outbox_id=newest_job("sync_invoice"))
        notes.append(credit(invoice, 500))
        if paid:
            # Behind our back: the note has to become one that gives back, and the balance gets it once.
            sandbox.act("pay", invoice=reload(invoice).stripe_id)
        invoices.append(invoice)
        return newest_job("sync_credit_note")

    points = kill_everywhere(helper, prepare, capsys, f"credit note, {'paid' if paid else 'open'}", every=EVERY)
    theirs = Counter(each["metadata"]["credit_note_id"] for each in notes_at(sandbox))
    assert theirs == {str(note.public_id): 1 for note in notes}
    assert {fresh(note).sync_state for note in notes} == {SyncState.SYNCED}
    assert {balance(invoice) for invoice in invoices} == {500 if paid else 0}
    assert sql("SELECT count(*) FROM audit_entries WHERE action = 'credit note synced to Stripe'") == [(points + 2,)]
    assert examine() == []


@pytest.mark.fault
@pytest.mark.slow
def test_a_write_off_whose_job_is_killed_anywhere_is_done_once(helper, sandbox, capsys):
    invoices = []

    def prepare(number: int) -> int:
        invoice = make_final(make_organization(f"org-{number}"), "12.00")
        helper(work="run", outbox_id=newest_job("sync_invoice"))
        with transaction():
            write_off(invoice.id, reason="insolvent")
        invoices.append(invoice)
        return newest_job("write_off_at_stripe")

    kill_everywhere(helper, prepare, capsys, "write-off", every=EVERY)
    assert {each["status"] for each in sandbox.invoices()} == {"uncollectible"}
    assert {reload(invoice).stripe_status for invoice in invoices} == {"uncollectible"}
    assert examine() == []
