"""One payer for several organizations: one invoice with a section each, and not a cent twice or lost."""

import json
from datetime import date, timedelta
from decimal import Decimal
from functools import partial

import pytest

from portal import doctor
from portal.catalog.tax_rates import add_tax_rate
from portal.core.errors import DraftChanged, InvalidTransition, NotReady
from portal.core.keys import content_hash
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.infra.db import acting_as, tenant, transaction
from portal.invoicing.credit_notes import Wish, issue_credit_note
from portal.invoicing.draft_totals import refresh_by_clock
from portal.invoicing.exporting.electronic import electronic_invoice
from portal.invoicing.exporting.files import Paper, csv_file, json_file, pdf_file
from portal.invoicing.exporting.printed import printed_invoice
from portal.invoicing.finalizing import cancel, finalize, finish
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.linked_parts import billed_on
from portal.invoicing.linking import end_link, link_to_payer
from portal.invoicing.queries import items_of
from portal.invoicing.verifying import verify
from portal.invoicing.voiding import void_invoice
from portal.payments.lines import LINES_PER_INVOICE, count_lines, stripe_lines
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
    make_organization,
    reload,
    sql,
    terms,
)
from tests.invoicing.test_documents import text_of


def examine() -> list[str]:
    with transaction():
        return [f"{each.code} {each.rule}: {each.broken}" for each in doctor.examine() if each.broken]


@pytest.fixture
def three(books):
    """A payer and two that it pays for."""
    made = [make_organization(slug) for slug in ("holding", "north", "south")]
    for each in made[1:]:
        with transaction():
            link_to_payer(each.id, made[0].id, first_month=MONTH)
    return made


def void(invoice):
    with transaction():
        return void_invoice(invoice.id, reason="a mistake", now=NOW)


def test_what_parts_owe_is_on_the_payers_invoice_exactly(three):
    holding, north, south = three
    parts = [make_final(north, "10.01"), make_final(south, "5.00", "-2.00")]
    for part, amount in zip(parts, (1001, 300), strict=True):
        assert (part.total, part.moved, part.amount_due) == (amount, -amount, 0)
        assert (part.sync_state, part.payment_state) == (SyncState.NONE, PaymentState.PAID)
        assert part.document["billed_to"] == {"name": "Holding", "amount": amount}
    whole = make_final(holding, "0.02")
    assert (whole.total, whole.moved, whole.amount_due) == (2, 1301, 1303)
    assert (whole.sync_state, whole.payment_state) == (SyncState.PENDING, PaymentState.OPEN)
    sections = whole.document["sections"]
    assert [(each["name"], each["number"], each["amount"]) for each in sections] == [
        ("North", parts[0].number, 1001),
        ("South", parts[1].number, 300),
    ]
    assert [each["lines"] for each in sections] == [part.document["lines"] for part in parts]
    assert whole.sections is None
    assert [billed_on(part).number for part in parts] == [whole.number] * 2
    assert sql("SELECT kind, count(*) FROM outbox WHERE kind = 'sync_invoice' GROUP BY 1") == [("sync_invoice", 1)]
    # The same money is in no total twice.
    totals = "SELECT sum(total)::bigint, sum(amount_due)::bigint FROM "
    assert sql(f"{totals} invoice_months") == sql(f"{totals} platform_months") == [(1303, 1303)]
    assert examine() == []


def test_a_payer_waits_until_what_it_pays_for_is_final(three):
    holding, north, south = three
    draft = make_draft(holding)
    make_final(north, "10.00")
    with pytest.raises(NotReady, match="The invoice of South for 2026-10 is not final, and this one pays for it"):
        finalize_now(draft)
    scheduled = finalize_now(make_draft(south), hold_seconds=60)
    with pytest.raises(NotReady, match="South"):
        finalize_now(draft)
    seen = fingerprint_of(draft)
    with transaction():
        finish(scheduled.id, now=NOW, terms=terms())
    sql("UPDATE outbox SET finished_at = now() WHERE kind = 'finish_finalizing'")
    # That a part has become final changes no figure, so what was seen is what is billed.
    with transaction():
        done = finalize(draft.id, fingerprint=seen, by="Ada", now=NOW, terms=terms())
    assert (done.total, done.amount_due) == (0, 1000)
    assert examine() == []


def test_a_section_that_changes_after_somebody_has_looked_is_a_changed_draft(three):
    holding, north, south = three
    draft, part = make_draft(holding), make_draft(north)
    make_final(south)
    seen = fingerprint_of(draft)
    add(part, "1.00")
    finalize_now(part)
    with pytest.raises(DraftChanged), transaction():
        finalize(draft.id, fingerprint=seen, by="Ada", now=NOW, terms=terms())


def test_cancelling_and_voiding_free_the_parts_and_billing_them_anew_is_once(three):
    holding, north, south = three
    part = make_final(north, "10.00")
    make_final(south)
    whole = finalize_now(make_draft(holding), hold_seconds=60)
    assert sql("SELECT count(*), max(number) FROM billed_parts") == [(2, None)]
    with pytest.raises(InvalidTransition, match="Its amount is on the invoice of Holding: void that one first"):
        void(part)
    with transaction():
        cancel(whole.id, now=NOW)
    assert sql("SELECT count(*) FROM billed_parts") == [(0,)]
    whole = finalize_now(reload(whole))
    with pytest.raises(InvalidTransition, match=f"on invoice {whole.number} of Holding"):
        void(part)
    assert examine() == []
    void(whole)
    assert examine() == []
    void(part)
    again = make_final(north, "7.00")
    anew = finalize_now(make_draft(holding))
    assert (anew.amount_due, billed_on(again).number) == (700, anew.number)
    assert examine() == []


def test_a_credit_note_on_a_part_lowers_what_the_payer_pays_next(three):
    holding, north, south = three
    part = make_final(north, "10.00")
    make_final(south)
    whole = make_final(holding, "3.00")
    form_token = part.public_id
    with transaction():
        note = issue_credit_note(part.id, Wish(amount=400), reason="a fault", by="Ada", form_token=form_token, now=NOW)
        assert (note.to_balance, note.stripe_amount) == (400, 0)
    assert reload(whole).amount_due == 1300
    later = NOW + timedelta(days=30)
    following = make_final(north, "10.00", month=MONTH.next, now=later)
    assert (following.balance_applied, following.moved) == (400, -600)
    make_final(south, month=MONTH.next, now=later)
    assert make_final(holding, month=MONTH.next, now=later).amount_due == 600
    assert examine() == []


def test_own_credit_pays_own_lines_and_sections_are_asked_for_all_the_same(three):
    holding, north, south = three
    make_final(north, "10.00")
    make_final(south, "-4.00")
    whole = make_final(holding, "-3.00")
    assert (whole.total, whole.amount_due) == (-300, 1000)
    with transaction():
        assert whole_draft_of(holding, MONTH).whole_total == 700
    lines = stripe_lines(whole, items_of(whole.id))
    assert [(line["description"], line["amount"]) for line in lines] == [
        ("Item 0001", -300),
        ("North: Item 0001", 1000),
        ("Carried forward to the next invoice", 300),
    ]
    assert sum(line["amount"] for line in lines) == whole.amount_due
    assert verify(json_file(whole).make()).findings == ()
    balances = "SELECT organization_id, sum(amount)::bigint FROM balance_entries GROUP BY 1 ORDER BY 1"
    assert sql(balances) == [(holding.id, 300), (south.id, 400)]
    assert examine() == []


def test_a_part_is_taxed_and_pays_with_its_own_credit_before_anything_is_moved(three):
    holding, north, south = three
    with transaction():
        add_tax_rate(Decimal(19), valid_from=date(2026, 1, 1), open_from=None)
    make_final(north, "-2.00", month=MONTH.previous)
    part, _, whole = make_final(north, "10.01"), make_final(south), make_final(holding, "0.03")
    assert (part.total, part.tax, part.balance_applied, part.moved) == (1191, 190, 238, -953)
    assert (whole.total, whole.tax, whole.amount_due) == (4, 1, 957)
    lines = stripe_lines(whole, items_of(whole.id))
    assert [line["description"] for line in lines] == [
        *("Item 0001", "Tax 19%", "North: Item 0001", "North: Tax 19%", "North: credit applied"),
    ]
    assert (sum(line["amount"] for line in lines), count_lines(whole, 2)) == (957, 5)
    assert (verify(json_file(whole).make()).findings, examine()) == ((), [])


def test_the_parts_of_many_lines_are_still_one_total_at_stripe(three):
    holding, north, south = three
    make_final(north, *(f"{number}.00" for number in range(1, LINES_PER_INVOICE + 10)))
    make_final(south)
    whole = make_final(holding, "1.00")
    lines = stripe_lines(whole, items_of(whole.id))
    assert (len(lines), count_lines(whole, 1)) == (LINES_PER_INVOICE, LINES_PER_INVOICE)
    assert sum(line["amount"] for line in lines) == whole.amount_due
    assert len({line["metadata"]["item_id"] for line in lines}) == LINES_PER_INVOICE


def test_every_file_says_the_same_and_can_be_computed_again(three):
    holding, north, south = three
    part = make_final(north, "10.01")
    make_final(south, "5.00")
    whole = make_final(holding, "0.02")
    paper = Paper(terms().seller, "https://portal.example")
    text = text_of(pdf_file(whole, paper, now=NOW).make())
    assert all(words in text for words in ("Billed for North", "Billed for South", "15.03"))
    assert "Billed to Holding" in text_of(pdf_file(part, paper, now=NOW).make())
    rows = [row.split(",") for row in csv_file(whole).make().decode("utf-8-sig").splitlines()]
    section = rows[0].index("Section")
    assert [(row[section], row[rows[0].index("Amount")]) for row in rows[1:]] == [
        ("", "0.02"),
        ("North", "10.01"),
        ("South", "5.00"),
    ]
    for invoice in (whole, part):
        assert verify(json_file(invoice).make()).findings == ()
        assert electronic_invoice(invoice.document | {"currency": "EUR"}) is None
    forged = json.loads(json_file(whole).make())
    forged["document"]["sections"][0]["amount"] -= 1
    forged["document"]["amount_due"] -= 1
    forged["content_sha256"] = content_hash(forged["document"])
    findings = verify(json.dumps(forged).encode()).findings
    assert findings == ("North: The amount due is 10.00 and comes to 10.01.",)
    away = json.loads(json_file(part).make())
    away["document"]["billed_to"]["amount"] -= 1
    away["document"]["amount_due"] += 1
    away["content_sha256"] = content_hash(away["document"])
    assert verify(json.dumps(away).encode()).findings == ("What is billed to Holding is 10.00 and comes to 10.01.",)
    assert printed_invoice(part, portal_url="").get("pay") is None


def test_each_sees_its_own_and_the_payer_all_sections_as_last_looked_at(app, three):
    holding, north, south = three
    draft, part = make_draft(holding), make_draft(north)
    add(part, "10.00")
    add(draft, "1.00")
    refresh_by_clock(now=NOW)
    for organization in (holding, north, south):
        with acting(app, tenant(organization.id)):
            seen = sql("SELECT payer_name, sections FROM invoices")
            amounts = [(section["name"], section["amount"]) for _, kept in seen for section in kept or ()]
            expected = [("North", 1000), ("South", 0)] if organization is holding else []
            assert amounts == expected
            assert [name for name, _ in seen] == {"south": []}.get(organization.slug, [None if expected else "Holding"])
            assert sql("SELECT * FROM billed_parts") == []
    assert sql("SELECT amount_due FROM draft_totals ORDER BY invoice_id") == [(1100,), (0,)]
    part, _, whole = finalize_now(part), make_final(south), finalize_now(draft)
    with acting(app, tenant(north.id)):
        assert sql("SELECT number FROM billed_parts") == [(whole.number,)]
        assert sql("SELECT number FROM invoices") == [(part.number,)]


def test_a_link_that_is_gone_leaves_nothing_on_the_drafts(three):
    holding, north, south = three
    draft = make_draft(holding)
    refresh_by_clock(now=NOW)
    for each in (north, south):
        with transaction():
            end_link(each.id, end_month=MONTH)
    refresh_by_clock(now=NOW + timedelta(hours=1))
    assert sql("SELECT sections, payer_name FROM invoices") == [(None, None)]
    own = make_final(north, "4.00")
    assert (own.amount_due, own.payer_organization_id, "billed_to" in own.document) == (400, None, False)
    assert (finalize_now(draft).amount_due, examine()) == (0, [])


def test_a_part_opens_its_payers_draft_so_that_there_is_an_invoice_for_what_is_moved(three):
    holding, north, _ = three
    assert sql("SELECT count(*) FROM invoices WHERE organization_id = :id", id=holding.id) == [(0,)]
    make_final(north, "4.00")
    assert sql("SELECT state FROM invoices WHERE organization_id = :id", id=holding.id) == [("draft",)]


def make_it_final(invoice, now):
    """Finalize as it stands: what the page does after the last look."""
    seen = fingerprint_of(invoice)
    with transaction():
        return finalize(invoice.id, fingerprint=seen, by="Ada", now=now, terms=terms())


def test_a_part_and_its_payer_at_the_same_moment_are_billed_once_or_the_payer_waits(app, three):
    holding, north, south = three
    for month in (MONTH, MONTH.next, MONTH.plus(2)):
        now = max(month.end, NOW)
        make_final(south, month=month, now=now)
        draft, part = make_draft(holding, month), make_draft(north, month)
        add(part, "10.00")
        works = [partial(make_it_final, each, now) for each in (draft, part)]
        whole, moved = at_once(app, *works)
        assert moved.amount_due == 0
        if isinstance(whole, NotReady):
            whole = make_it_final(draft, now)
        assert whole.amount_due == 1000
    assert examine() == []


def test_voiding_a_part_while_its_payer_is_finalized_bills_what_is_left_or_is_refused(app, three):
    holding, north, south = three
    make_final(south)
    part, draft = make_final(north, "10.00"), make_draft(holding)
    whole, voided = at_once(app, lambda: make_it_final(draft, NOW), lambda: void(part))
    assert isinstance(whole, NotReady | DraftChanged) is (reload(part).state == InvoiceState.VOID)
    assert isinstance(voided, InvalidTransition) is (reload(draft).state == InvoiceState.FINALIZED)
    assert examine() == []


def test_the_doctor_names_what_is_moved_and_on_no_invoice(three):
    holding, north, south = three
    part, _, whole = make_final(north, "10.00"), make_final(south), make_final(holding)
    sql("UPDATE billed_parts SET number = 'INV-1' WHERE invoice_id = :id", id=part.id)
    [found] = examine()
    assert f"part {part.id}" in found
    sql("DELETE FROM billed_parts")
    [found] = examine()
    assert f"invoice {part.number} is on no invoice of its payer" in found
    assert f"section of North on invoice {whole.id}" in found


def test_a_live_payer_draft_sums_what_its_parts_would_be_today(three):
    holding, north, _ = three
    part = make_draft(north)
    add(part, "10.00")
    with transaction():
        draft = whole_draft_of(holding, MONTH)
    assert (draft.amount_due, draft.moved, draft.whole_total, draft.blockers) == (1000, 1000, 1000, ())
    assert len(draft.waits_for_parts) == 2
    with acting_as(tenant(holding.id)):
        assert sql("SELECT count(*) FROM invoices") == [(0,)]
