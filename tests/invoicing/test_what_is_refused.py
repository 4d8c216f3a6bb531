"""Items, templates, notes, credits and write-offs that cannot be: each is refused in a sentence, and nothing is stored.

And what is asked twice is done once.
"""

from datetime import date, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from portal.core.errors import DraftChanged, InvalidInput, InvalidTransition, NotFound
from portal.infra.db import transaction
from portal.infra.ids import uuid7
from portal.invoicing import credit_note_documents, documents
from portal.invoicing.crediting import grant_credit
from portal.invoicing.draft_notes import set_memo
from portal.invoicing.item_templates import retire_template, save_template
from portal.invoicing.item_uploads import HEAD, rows_of
from portal.invoicing.models import ItemTemplate
from portal.invoicing.one_off_items import add_item, remove_item, restore_item
from portal.invoicing.seconding import ask_for_second
from portal.invoicing.writing_off import write_off
from portal.organizations.approvals import Person
from tests.factories import MONTH, NOW, add, finalize_now, make_draft, make_final, make_organization, sql

SOMEBODY = Person(1, "ada")
AN_HOUR = timedelta(hours=1)


def item(invoice_id: int, **more: Any) -> Any:
    values = {"kind": "charge", "description": "Work", "quantity": Decimal(1), "unit_amount": Decimal(5)}
    named = {"internal_reason": None, "form_token": uuid7(), "created_by_id": None}
    return add_item(invoice_id, **(values | named | more))


def template(public_id: Any = None, **more: Any) -> ItemTemplate:
    values = {"name": "Migration", "kind": "charge", "description": "Work", "currency": "USD", "product": None}
    return save_template(public_id, **(values | {"quantity": Decimal(1), "unit_amount": Decimal(5)} | more))


@pytest.mark.usefixtures("books")
def test_an_item_that_cannot_be_billed_is_not_added_and_one_is_removed_once():
    draft = make_draft(make_organization())
    kept = add(draft, "5.00")
    for change, field in (
        ({"kind": "credit"}, "internal_reason"),
        ({"service_period": (date(2026, 10, 2), date(2026, 10, 1))}, "service_end"),
    ):
        with pytest.raises(InvalidInput) as refused, transaction():
            item(draft.id, **change)
        assert refused.value.field == field
    with pytest.raises(NotFound, match="no such item on this invoice"), transaction():
        remove_item(draft.id, uuid7(), now=NOW)
    for verb in (
        lambda: remove_item(draft.id, kept.public_id, now=NOW),
        lambda: restore_item(draft.id, kept.public_id),
    ):
        for _ in range(2):
            with transaction():
                verb()
    assert sql("SELECT count(*) FROM one_off_items WHERE removed_at IS NULL") == [(1,)]
    actions = sql("SELECT action FROM audit_entries WHERE action LIKE '%one-off item' ORDER BY id")
    assert [row.action for row in actions] == ["added one-off item", "removed one-off item", "restored one-off item"]


@pytest.mark.usefixtures("books")
def test_a_template_has_a_name_of_its_own_and_changes_until_it_is_retired():
    with transaction():
        kept = template()
    with transaction():
        template(kept.public_id)  # nothing has changed, so nothing is said
    for name in (" ", "x" * 81, "MIGRATION "):
        with pytest.raises(InvalidInput) as refused, transaction():
            template(name=name)
        assert refused.value.field == "name"
    for _ in range(2):
        with transaction():
            retire_template(kept.public_id, now=NOW)
    with pytest.raises(InvalidTransition, match="“Migration” is retired"), transaction():
        template(kept.public_id, description="More work")
    with pytest.raises(NotFound, match="no such item template"), transaction():
        retire_template(uuid7(), now=NOW)
    actions = sql("SELECT action FROM audit_entries WHERE action LIKE '%item template' ORDER BY id")
    assert [row.action for row in actions] == ["made an item template", "retired an item template"]


@pytest.mark.usefixtures("books")
def test_nobody_is_asked_for_a_second_yes_to_figures_that_have_changed_or_are_final():
    draft = make_draft(make_organization())
    with pytest.raises(DraftChanged, match="Nothing was done"), transaction():
        ask_for_second(draft.id, fingerprint="seen before", by=SOMEBODY, now=NOW, within=AN_HOUR)
    finalize_now(draft)
    with pytest.raises(InvalidTransition, match="nothing to approve"), transaction():
        ask_for_second(draft.id, fingerprint="seen before", by=SOMEBODY, now=NOW, within=AN_HOUR)
    assert sql("SELECT count(*) FROM approval_requests") == [(0,)]


@pytest.mark.usefixtures("books")
def test_notes_credits_and_write_offs_have_their_limits():
    acme = make_organization()
    final = make_final(acme, "12.00")
    with pytest.raises(InvalidInput, match="at most 1000 characters"), transaction():
        set_memo(final.id, "x" * 1001)
    with pytest.raises(NotFound, match="no such invoice"), transaction():
        set_memo(0, "To whom?")
    for change, field in (({"name": " "}, "name"), ({"rank": 10**6}, "rank"), ({"amount": 0}, "amount")):
        values = {"kind": "promotional", "name": "Gift", "amount": 1, "reason": "test", "by": "Ada", **change}
        with pytest.raises(InvalidInput) as refused, transaction():
            grant_credit(acme.id, **values, today=NOW.date())
        assert refused.value.field == field
    with transaction():
        write_off(final.id, reason="bankrupt")
    sql("UPDATE invoices SET stripe_status = 'uncollectible'")
    sql("UPDATE outbox SET finished_at = clock_timestamp()")
    with transaction():
        write_off(final.id, reason="bankrupt")
    assert sql("SELECT count(*) FROM outbox WHERE finished_at IS NULL") == [(0,)], "Stripe knows it already"


@pytest.mark.usefixtures("books")
def test_a_row_of_a_file_says_what_is_wrong_with_it():
    organization = make_organization()
    draft = make_draft(organization)
    head = ",".join(HEAD)
    rows = {
        "": "A reference has 1 to",
        "r1": "The type is charge or credit.",
        "r2": "A description has 1 to",
        "r3": "two days, written like 2026-11-03",
    }
    text = "\n".join(
        [
            head,
            f",acme,{MONTH},charge,Work,1,1,USD,,,,",
            f"r1,acme,{MONTH},gift,Work,1,1,USD,,,,",
            f"r2,acme,{MONTH},charge,,1,1,USD,,,,",
            f"r3,acme,{MONTH},charge,Work,1,1,USD,soon,,,",
        ]
    )
    with transaction():
        problems = [row.problem for row in rows_of(text)]
    assert len(problems) == len(rows)
    assert all(words in (problem or "") for words, problem in zip(rows.values(), problems, strict=True))
    finalize_now(draft)
    with transaction():
        [row] = rows_of(f"{head}\nr4,acme,{MONTH},charge,Work,1,1,USD,,,,")
    assert "no draft" in (row.problem or "")


@pytest.mark.parametrize("is_intact", [documents.is_intact, credit_note_documents.is_intact])
@pytest.mark.parametrize("document", [None, {"total": 1}])
def test_what_has_no_document_or_another_one_is_not_intact(is_intact, document):
    assert not is_intact(SimpleNamespace(document=document, content_sha256="of another document"), [])
