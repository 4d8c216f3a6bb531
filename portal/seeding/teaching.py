"""Teaching the sandbox the seeded history, as if the portal had sent it when it happened."""

import json
import urllib.request
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from portal.config import Settings
from portal.core.lifecycle import PaymentState
from portal.core.periods import midnight
from portal.infra.db import transaction
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of
from portal.payments.syncing import stripe_lines

SANDBOX_TIMEOUT_SECONDS = 30


def tell_sandbox(settings: Settings) -> str:
    """Teach the sandbox what it does not know of the seeded history, so that pay links work and both sides agree."""
    base = settings.stripe_api_base
    if not base:
        return "No sandbox is set (STRIPE_API_BASE), so pay links of seeded invoices do not work."
    try:
        known = {invoice["id"] for invoice in _sandbox(f"{base}/_ctl/ledger")["invoices"]}
        with transaction() as session:
            query = select(Invoice).where(Invoice.stripe_id.startswith("in_seed")).order_by(Invoice.id)
            missing = [each for each in session.scalars(query) if each.stripe_id not in known]
            document = _as_sandbox_takes_it([(each, stripe_lines(each, items_of(each.id))) for each in missing])
        if missing:
            _sandbox(f"{base}/_ctl/load", document)
    except OSError as error:
        return (
            f"The sandbox at {base} did not answer ({error}). Start it with “flask stripe sandbox” and seed again,"
            " so that pay links of seeded invoices work."
        )
    return f"The sandbox learned {len(missing)} invoices of the history."


def _sandbox(address: str, document: dict[str, Any] | None = None) -> Any:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=SANDBOX_TIMEOUT_SECONDS) as answer:  # nosec B310
        return json.load(answer)


def _as_sandbox_takes_it(invoices: Sequence[tuple[Invoice, tuple[dict[str, Any], ...]]]) -> dict[str, Any]:
    """Seeded invoices with their lines, and their customers, in the sandbox's form."""
    organizations = {each.organization_id: each.organization for each, _ in invoices}
    return {
        "customers": [
            {
                "id": each.stripe_customer_id,
                "name": each.legal_name,
                "email": each.billing_email,
                "metadata": {"organization_id": str(each.public_id)},
            }
            for each in organizations.values()
        ],
        "invoices": [_as_stripe(each, lines) for each, lines in invoices],
    }


def _as_stripe(invoice: Invoice, lines: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    assert invoice.finalized_at is not None
    assert invoice.due_date is not None
    return {
        "id": invoice.stripe_id,
        "customer": invoice.organization.stripe_customer_id,
        "customer_name": invoice.organization.legal_name,
        "currency": invoice.currency.lower(),
        "total": invoice.amount_due,
        "status": invoice.stripe_status,
        "amount_paid": invoice.amount_paid,
        "attempt_count": int(invoice.payment_state == PaymentState.FAILED),
        "created": int(invoice.finalized_at.timestamp()),
        "due_date": int(midnight(invoice.due_date).timestamp()),
        "collection_method": invoice.organization.collection_method,
        "custom_fields": [{"name": "Invoice", "value": invoice.number}],
        "metadata": {"invoice_id": str(invoice.public_id), "content_sha256": invoice.content_sha256},
        "lines": list(lines),
    }
