"""Coupons, credits and tax on invoices that are finalized, cancelled, voided and sent."""

from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from portal import doctor
from portal.catalog.models import Coupon, CouponRedemption, Product, TaxRate
from portal.catalog.tax_rates import require_tax_code, tax_codes
from portal.core.errors import InvalidInput
from portal.core.money import LARGEST_AMOUNT
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.db import transaction
from portal.invoicing.crediting import GrantKind, grant_credit, grants_of, use_credit
from portal.invoicing.documents import is_intact
from portal.invoicing.drafting import draft_of
from portal.invoicing.exporting.files import Paper, json_file, pages_of_final
from portal.invoicing.finalizing import cancel
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.one_off_items import add_item
from portal.invoicing.queries import items_of
from portal.invoicing.verifying import verify
from portal.invoicing.voiding import void_invoice
from portal.organizations.models import Organization
from portal.payments.syncing import stripe_lines
from tests.factories import (
    MONTH,
    NOW,
    finalize_now,
    make_draft,
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
    with transaction():
        return [each.rule for each in doctor.examine() if each.broken and each.code != "I8"]


def tax(percent: str, *, product: str | None = None, organization: Organization | None = None) -> None:
    with transaction() as session:
        product_id = product and session.scalar(select(Product.id).where(Product.name == product))
        session.add(
            TaxRate(
                percent=Decimal(percent),
                product_id=product_id,
                organization_id=organization and organization.id,
                valid_from=date(2026, 1, 1),
            )
        )


def grant(organization: Organization, kind: GrantKind, amount: int, **more: Any) -> int:
    with transaction():
        return grant_credit(
            organization.id, kind=kind, name="Credit", amount=amount, reason="test", by="Ada", today=NOW.date(), **more
        ).id


def left(organization: Organization) -> dict[int, int]:
    with transaction():
        return {each.id: rest for each, rest in grants_of(organization.id)}


def coupon(organization: Organization, percent: str) -> None:
    with transaction() as session:
        row = Coupon(code="welcome", name="Welcome", percent=Decimal(percent), products=["Compute"])
        session.add(row)
        session.flush()
        session.add(CouponRedemption(organization_id=organization.id, coupon_id=row.id, first_month=MONTH.first_day))


@pytest.fixture
def acme() -> Organization:
    """A customer with 100.00 of usage, 10 % off, promotional and prepaid credit, and 20 % tax."""
    organization, meter = make_organization(), make_meter()
    make_price(meter, "1")
    use(organization, meter, 100)
    coupon(organization, "10")
    tax("20")
    return organization


def test_a_final_invoice_holds_everything_that_its_draft_showed(acme):
    # 100.00 − 10.00 − 15.00 of promotional credit = 75.00; 20 % are 15.00: 90.00; prepaid pays 40.00: 50.00 due.
    promotional, prepaid = grant(acme, "promotional", 1_500), grant(acme, "prepaid", 4_000)
    invoice = reload(finalize_now(make_draft(acme)))
    assert (invoice.total, invoice.tax, invoice.credits_applied, invoice.amount_due) == (9_000, 1_500, 4_000, 5_000)
    with transaction():
        items = items_of(invoice.id)
        assert is_intact(invoice, items)
        assert [(item.kind, item.amount, item.discount, item.credited, item.tax) for item in items] == [
            ("usage", 10_000, 1_000, 1_500, 1_500),
            ("coupon", -1_000, 0, 0, 0),
            ("promotional", -1_500, 0, 0, 0),
            ("tax", 1_500, 0, 0, 0),
        ]
        lines = stripe_lines(invoice, items)
    assert sum(line["amount"] for line in lines) == invoice.amount_due
    assert lines[-1]["description"] == "Prepaid credit applied"
    assert invoice.document["tax"]["rates"] == [{"percent": "20", "net": 7_500, "tax": 1_500}]
    assert left(acme) == {promotional: 0, prepaid: 0}
    assert broken() == []


def test_cancelling_gives_all_credit_back_and_the_draft_is_what_it_was(acme):
    grants = {grant(acme, "promotional", 1_500): 1_500, grant(acme, "prepaid", 4_000): 4_000}
    invoice = make_draft(acme)
    with transaction():
        before = draft_of(acme, MONTH).fingerprint
    finalize_now(invoice, hold_seconds=60)
    assert set(left(acme).values()) == {0}
    assert broken() == []
    with transaction():
        # In its hold window the draft still shows what it has taken itself.
        assert draft_of(acme, MONTH, frozen_invoice_id=invoice.id).fingerprint == before
        cancel(invoice.id, now=NOW)
    assert left(acme) == grants
    with transaction():
        assert draft_of(acme, MONTH).fingerprint == before
    assert reload(invoice).tax_details is None
    assert broken() == []


def test_voiding_gives_all_credit_back_and_the_next_invoice_uses_it(acme):
    prepaid = grant(acme, "prepaid", 4_000)
    invoice = finalize_now(make_draft(acme))
    with transaction():
        void_invoice(invoice.id, reason="wrong", now=NOW)
    assert left(acme) == {prepaid: 4_000}
    assert broken() == []
    again = reload(finalize_now(make_draft(acme)))
    assert (again.credits_applied, again.amount_due) == (4_000, 6_800)
    assert broken() == []


def test_an_invoice_that_credit_pays_whole_is_paid_and_never_sent(acme):
    grant(acme, "prepaid", 50_000)
    invoice = reload(finalize_now(make_draft(acme)))
    assert (invoice.amount_due, invoice.payment_state, invoice.sync_state) == (0, "paid", "none")
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'sync_invoice'") == [(0,)]
    assert broken() == []


def test_credit_pays_up_to_the_month_in_which_it_expires(acme):
    today = date(2026, 9, 1)
    with transaction():
        for name, last in (("until 30 September", date(2026, 9, 30)), ("until 1 October", date(2026, 10, 1))):
            grant_credit(
                acme.id, kind="promotional", name=name, amount=100, reason="t", by="Ada", today=today, expires_on=last
            )
        lines = draft_of(acme, MONTH).statement.lines
    assert [line.description for line in lines if line.kind == "promotional"] == ["until 1 October"]


def test_rates_by_organization_and_product(acme):
    tax("7", product="Compute")
    with transaction():
        assert draft_of(acme, MONTH).statement.tax == 630
    tax("5", organization=acme)
    with transaction():
        assert draft_of(acme, MONTH).statement.tax == 450


def test_an_item_with_a_tax_code_of_its_own_is_taxed_by_it_from_the_draft_to_stripe(acme):
    # All: 20 %; Compute: 7 %. Usage 100.00 − 10.00 coupon = 90.00 at 7 % = 6.30.
    tax("7", product="Compute")
    draft = make_draft(acme)
    codes = ((None, "Compute"), ("standard", "Compute"), ("exempt", "Compute"), ("product:Compute", None))
    with transaction():
        for number, (code, product) in enumerate(codes):
            add_item(
                draft.id,
                kind="charge",
                description=f"Work {number}",
                quantity=Decimal(1),
                unit_amount=Decimal(100),
                internal_reason=None,
                form_token=uuid4(),
                created_by_id=None,
                product=product,
                tax_code=code,
            )
    invoice = reload(finalize_now(draft))
    # The coupon takes 10 % of what is of Compute: 90.00 each of the first three, 100.00 of the last one.
    # 7 %: 90.00 + 90.00 + 100.00 = 280.00 → 19.60; 20 %: 90.00 → 18.00; exempt: 90.00. 460.00 + 37.60 = 497.60
    assert invoice.document["tax"]["rates"] == [
        {"percent": "7", "net": 28_000, "tax": 1_960},
        {"percent": "20", "net": 9_000, "tax": 1_800},
    ]
    assert (invoice.tax, invoice.total) == (3_760, 49_760)
    with transaction():
        items = items_of(invoice.id)
        assert {item.description: item.tax for item in items if item.kind == "one_off"} == {
            "Work 0": 630,
            "Work 1": 1_800,
            "Work 2": 0,
            "Work 3": 700,
        }
        assert sum(line["amount"] for line in stripe_lines(invoice, items)) == invoice.amount_due == 49_760
    lines = {line["description"]: line["derivation"] for line in invoice.document["lines"]}
    assert [lines[f"Work {number}"].get("tax_code") for number in range(4)] == [code for code, _ in codes]
    assert verify(json_file(invoice).make()).findings == ()
    printed = repr(pages_of_final(invoice, Paper(terms().seller, "https://portal.example")))
    assert printed.count("exempt from tax") == 1
    assert "tax 20%: $18.00" in printed
    assert broken() == []


def test_only_a_tax_code_that_there_is_can_be_chosen(acme):
    tax("7", product="Compute")
    with transaction():
        assert list(tax_codes()) == ["standard", "exempt", "product:Compute"]
        for code in ("reduced", "product:Network", "Compute", ""):
            with pytest.raises(InvalidInput, match="There is no tax code"):
                require_tax_code(code)


@pytest.mark.parametrize("treatment", [TaxTreatment.EXEMPT, TaxTreatment.REVERSE_CHARGE])
def test_who_is_exempt_or_liable_pays_no_tax_and_the_document_says_why(acme, treatment):
    with transaction() as session:
        session.merge(acme).tax_treatment = treatment
    invoice = reload(finalize_now(make_draft(acme)))
    assert (invoice.total, invoice.tax) == (9_000, 0)
    assert invoice.document["tax"]["sentence"] == treatment.sentence
    assert broken() == []


@pytest.mark.parametrize("rounding", list(TaxRounding))
@pytest.mark.parametrize("included", [True, False])
def test_every_mode_is_finalized_and_adds_up(acme, rounding, included):
    for number in range(7):
        meter = make_meter(f"meter_{number}")
        make_price(meter, "0.333")
        use(acme, meter, 10 + number)
    with transaction() as session:
        organization = session.merge(acme)
        organization.tax_rounding, organization.prices_include_tax = rounding, included
    invoice = reload(finalize_now(make_draft(acme)))
    assert invoice.tax > 0
    assert broken() == []
    with transaction():
        items = items_of(invoice.id)
    assert sum(item.amount for item in items) == invoice.total
    assert sum(item.tax for item in items) == invoice.tax


def test_the_doctor_finds_credit_and_tax_that_do_not_add_up(acme, owner_connection):
    grant(acme, "prepaid", 4_000)
    invoice = finalize_now(make_draft(acme))
    owner_connection.execute("ALTER TABLE invoice_items DISABLE TRIGGER freeze_final")
    owner_connection.execute("ALTER TABLE invoice_items NO FORCE ROW LEVEL SECURITY")
    owner_connection.execute("UPDATE invoice_items SET tax = tax + 1 WHERE kind = 'usage'")
    assert any("tax" in rule for rule in broken())
    owner_connection.execute("UPDATE invoice_items SET tax = tax - 1 WHERE kind = 'usage'")
    owner_connection.execute("ALTER TABLE invoice_items FORCE ROW LEVEL SECURITY")
    owner_connection.execute("ALTER TABLE invoice_items ENABLE TRIGGER freeze_final")
    assert broken() == []
    small = grant(acme, "prepaid", 1)
    with transaction() as session:
        use_credit(session.get_one(Invoice, invoice.id), {small: 2})
    assert any("credit" in rule for rule in broken())


def test_too_large_a_credit_is_refused():
    with pytest.raises(InvalidInput) as refused:
        grant(make_organization(), "prepaid", LARGEST_AMOUNT + 1)
    assert refused.value.field == "amount"
    assert sql("SELECT count(*) FROM credit_grants") == [(0,)]


def test_items_name_the_coupon_and_the_grant_that_they_come_from(acme):
    promotional = grant(acme, "promotional", 1_500)
    invoice = finalize_now(make_draft(acme))
    with transaction() as session:
        items = list(session.scalars(select(InvoiceItem).where(InvoiceItem.invoice_id == invoice.id)))
    assert [item.credit_grant_id for item in items if item.kind == "promotional"] == [promotional]
    assert all(item.coupon_redemption_id for item in items if item.kind == "coupon")
