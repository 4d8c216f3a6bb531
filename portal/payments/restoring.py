"""After an older backup was restored: what Stripe has of ours and we have forgotten is adopted, if it is ours exactly.

An invoice there that carries our mark, while nothing here says that we ever asked for it, was made in the time that is
lost. It is adopted if a customer reads the same on both: number, currency, total and lines. Until the others have been
decided on, nothing new is sent for their organizations (drift.require_all_adopted).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import func, select

from portal.core.errors import InvalidInput
from portal.core.keys import stripe_key
from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra import audit, outbox
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of, lock_invoice
from portal.invoicing.terms import SYNC
from portal.invoicing.trail import record_change
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization
from portal.payments import gateway
from portal.payments.comparing import Ours, Theirs, same_lines
from portal.payments.journal import read_now
from portal.payments.lines import stripe_lines
from portal.payments.models import StripeCall
from portal.payments.settling import take_over
from portal.payments.stripe_units import is_same

Within = Callable[[], AbstractContextManager[Any]]
_KEPT = ("id", "total", "currency", "status")
_COLLECTED = ("open", "paid", "uncollectible")


def is_forgotten(ours: Ours, *, asked_for: Collection[int]) -> bool:
    """Whether nothing here says that this invoice was ever asked for at Stripe; `asked_for` are those that were.

    One whose creating call is journalled and whose sync goes on is not forgotten: the sync finds it by itself.
    """
    return ours.stripe_id is None and not (ours.id in asked_for and ours.is_on_its_way)


def asked_for_among(invoice_ids: Collection[int]) -> set[int]:
    """Those invoices whose creation at Stripe is in the journal."""
    query = select(StripeCall.invoice_id).where(
        StripeCall.step == "create", StripeCall.attempts > 0, StripeCall.invoice_id.in_(invoice_ids)
    )
    return {invoice_id for invoice_id in db.session.scalars(query) if invoice_id is not None}


def adopt(ours: Ours, theirs: Theirs, *, within: Within, now: datetime) -> bool:
    """Take a forgotten invoice over as it stands at Stripe, if it is ours exactly; says whether it was. Idempotent.

    Of a draft only who is asked, and in which currency, has to fit: the sync goes on with it, and compares.
    """
    lines: Sequence[Mapping[str, Any]] = (theirs.document.get("lines") or {}).get("data", ())
    if theirs.lines != len(lines):
        lines = read_now(partial(gateway.read_lines, theirs.id))
    with within():
        invoice = lock_invoice(ours.id)
        organization = lock_organization(invoice.organization_id)
        if invoice.stripe_id is not None or not _fits(invoice, organization, theirs, lines):
            return False
        if organization.stripe_customer_id is None:
            _adopt_customer(organization, theirs.customer)
        _take(invoice, theirs, now)
    return True


def adopt_customer(organization: Organization, customer: str) -> None:
    """Take a customer over that carries our mark, if we have forgotten that we have one. In the current transaction."""
    asked = select(StripeCall.id).where(
        StripeCall.subject == organization.public_id, StripeCall.step == "customer", StripeCall.attempts > 0
    )
    if organization.stripe_customer_id is None and db.session.scalar(asked.limit(1)) is None:
        _adopt_customer(organization, customer)


def _fits(invoice: Invoice, organization: Organization, theirs: Theirs, lines: Sequence[Mapping[str, Any]]) -> bool:
    if invoice.state != InvoiceState.FINALIZED or not invoice.amount_due or theirs.customer is None:
        return False
    known = organization.stripe_customer_id
    is_theirs = theirs.customer == known or (known is None and theirs.customer_mark == organization.public_id)
    if not is_theirs or theirs.customer_is_deleted or theirs.currency != invoice.currency:
        return False
    numbers = [field.get("value") for field in theirs.document.get("custom_fields") or ()]
    if numbers != [invoice.number]:
        return False
    if theirs.status == "draft":
        return outbox.is_open(SYNC, str(invoice.id))
    try:
        wanted = stripe_lines(invoice, items_of(invoice.id))
    except InvalidInput:
        return False
    same_total = is_same(invoice.amount_due, theirs.total, invoice.currency)
    return theirs.status in _COLLECTED and same_total and same_lines(wanted, lines)


def _take(invoice: Invoice, theirs: Theirs, now: datetime) -> None:
    before = {"sync_state": invoice.sync_state, "stripe_id": None}
    invoice.stripe_id = theirs.id
    _journal(invoice, "create", theirs)
    if theirs.status != "draft":
        _journal(invoice, "finalize", theirs)
        invoice.sync_state, invoice.sync_message, invoice.synced_at = SyncState.SYNCED, None, now
    record_change(
        invoice,
        "adopted from Stripe",
        before=before,
        after={"sync_state": invoice.sync_state, "stripe_id": theirs.id, "total": theirs.total},
        reason="Stripe has it with our mark, and nothing here says that we asked for it.",
    )
    db.session.flush()
    if theirs.status != "draft":
        take_over(invoice.id, dict(theirs.document), now=now)


def _journal(invoice: Invoice, step: str, theirs: Theirs) -> None:
    """Say in the journal what the call that we have forgotten made, so that it is not made again."""
    query = select(func.max(StripeCall.generation)).where(
        StripeCall.subject == invoice.public_id, StripeCall.step == step
    )
    generation = (db.session.scalar(query) or 0) + 1
    db.session.add(
        StripeCall(
            organization_id=invoice.organization_id,
            invoice_id=invoice.id,
            subject=invoice.public_id,
            step=step,
            generation=generation,
            idempotency_key=stripe_key(step, invoice.public_id, generation),
            parameters={},
            outcome="adopted",
            answer={name: theirs.document[name] for name in _KEPT},
        )
    )


def _adopt_customer(organization: Organization, customer: str | None) -> None:
    organization.stripe_customer_id = customer
    audit.record(
        "adopted its Stripe customer",
        subject="organization",
        subject_id=organization.id,
        organization_id=organization.id,
        before={"stripe_customer_id": None},
        after={"stripe_customer_id": customer},
        reason="Stripe has it with our mark, and nothing here says that we asked for it.",
    )
