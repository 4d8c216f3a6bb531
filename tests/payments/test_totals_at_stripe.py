"""The amount that Stripe asks for is the amount due, to the cent, for invoices with everything that one can have."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import stripe

from portal.core.errors import InvalidInput
from portal.invoicing.models import Invoice, InvoiceItem
from portal.payments.lines import stripe_lines
from portal.payments.stripe_units import is_same
from tests.full import FULL
from tests.invoicing.random_invoices import random_invoice

# As many as tests/invoicing/test_documents.py compares in HTML, PDF, CSV and JSON.
COMPARED, BLOCK = (500, 50) if FULL else (60, 30)


def items_of(invoice: Invoice) -> list[InvoiceItem]:
    assert invoice.document is not None
    return [
        InvoiceItem(
            id=place,
            public_id=UUID(line["id"]),
            position=place,
            description=line["description"],
            quantity=Decimal(line["quantity"]),
            unit=line["unit"],
            amount=line["amount"],
            period_start=date.fromisoformat(line["period"][0]),
            period_end=date.fromisoformat(line["period"][1]),
        )
        for place, line in enumerate(invoice.document["lines"])
    ]


@pytest.mark.parametrize("first", range(1, COMPARED, BLOCK))
def test_what_stripe_is_sent_adds_up_to_the_amount_due_there(sandbox, first):
    client = stripe.StripeClient("sk_test_sandbox", base_addresses={"api": sandbox.url})
    sent = 0
    for seed in range(first, first + BLOCK):
        invoice = random_invoice(seed)
        # Three decimals of which the last is not 0, or more than Stripe's largest amount: it is never sent.
        with suppress(InvalidInput):
            lines = stripe_lines(invoice, items_of(invoice))
            assert_is_asked_for(client, invoice, lines)
            sent += 1
    assert sent > BLOCK // 2


def assert_is_asked_for(client: stripe.StripeClient, invoice: Invoice, lines: Sequence[dict[str, Any]]) -> None:
    customer = client.v1.customers.create({"name": "Acme"})
    draft = client.v1.invoices.create({"customer": customer.id, "currency": invoice.currency.lower()})
    for start in range(0, len(lines), 100):
        draft = client.v1.invoices.add_lines(draft.id, {"lines": list(lines[start : start + 100])})
    # An invoice below zero is not sent: what it is below goes to the next one.
    owed = invoice.amount_due if invoice.total >= 0 else invoice.total
    assert is_same(owed, draft.total, invoice.currency), invoice.number
