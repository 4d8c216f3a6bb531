"""Sending one finished invoice to Stripe: create, add lines, read back, compare, finalize. Never twice.

Stripe must not round or tax for us: lines carry our integer amounts, and nothing is finalized there until currency,
every line and the total have been compared with ours, exactly.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra import clock, outbox
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.invoicing.announcing import announce_issued
from portal.invoicing.models import Invoice
from portal.invoicing.queries import items_of, lock_invoice
from portal.invoicing.terms import SYNC
from portal.invoicing.trail import record_change
from portal.organizations.models import Organization
from portal.payments import drift, finding, journal
from portal.payments.breaker import Parked
from portal.payments.customers import create_customer
from portal.payments.filling import LINES_PER_CALL as LINES_PER_CALL
from portal.payments.filling import Mismatch, Wanted, fill
from portal.payments.lines import stripe_lines as stripe_lines
from portal.payments.stripe_units import stripe_text, to_stripe


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to stand at Stripe, as plain facts, and for whom."""

    wanted: Wanted
    organization_public_id: UUID
    customer: str | None
    header: dict[str, Any]
    collects: bool
    resumed: bool


class Withdrawn(Exception):
    """The invoice was voided here while it was on its way; its draft at Stripe is left to the voiding."""


@outbox.handles(SYNC)
def sync_invoice(lease: Lease, *, invoice_id: int) -> None:
    """Bring one finalized invoice to Stripe. Idempotent: every step is journalled, so any retry goes on from there."""
    try:
        plan = _plan_of(lease, invoice_id)
        if plan is None:
            return
        answer = _bring_to_stripe(lease, plan)
    except Withdrawn:
        return
    except Parked:
        # Nothing was sent just now, so what is known of the invoice has not changed.
        raise
    except RetryLater as wait:
        _mark(lease, invoice_id, SyncState.UNKNOWN, str(wait))
        raise
    except GiveUp as reason:
        _mark(lease, invoice_id, SyncState.DEAD, str(reason))
        raise
    except Mismatch as difference:
        _mark(lease, invoice_id, SyncState.MISMATCH, str(difference))
        raise GiveUp(str(difference)) from difference
    _mark_synced(lease, invoice_id, answer)


def _bring_to_stripe(lease: Lease, plan: Plan) -> dict[str, Any]:
    wanted = plan.wanted
    customer = plan.customer or create_customer(lease, wanted.organization_id, plan.organization_public_id)
    created = journal.perform(
        lease,
        "create",
        **wanted.subject,
        parameters=lambda: {"customer": customer, **plan.header},
        look_up=finding.invoice,
    )
    stripe_id = created["id"]
    _save_id(lease, wanted.invoice_id, stripe_id)
    shown = fill(lease, wanted, stripe_id, resumed=plan.resumed)
    if shown.get("status") == "void":
        raise Mismatch("The invoice was voided at Stripe, not here.")
    _require_final(lease, wanted.invoice_id)
    answer = _finalize(lease, plan, stripe_id, shown)
    if answer.get("total") != wanted.total:
        theirs, ours = (stripe_text(total, wanted.currency) for total in (answer.get("total"), wanted.total))
        raise Mismatch(f"After finalizing, Stripe's total is {theirs}; ours is {ours}.")
    return answer


def _finalize(lease: Lease, plan: Plan, stripe_id: str, shown: dict[str, Any]) -> dict[str, Any]:
    look_up = finding.finalized(stripe_id)
    if shown.get("status") not in (None, "draft"):
        # Done already: by an earlier call of ours, or by somebody at Stripe. What stands there has been compared; it
        # counts, and not what Stripe answered once.
        told = journal.outcome_of(lease, "finalize", subject=plan.wanted.public_id, look_up=look_up)
        if told is not None and told.get("total") != shown.get("total"):
            journal.correct_answer(lease, "finalize", subject=plan.wanted.public_id, shown=shown)
        return shown
    return journal.perform(
        lease,
        "finalize",
        **plan.wanted.subject,
        target=stripe_id,
        parameters=partial(dict, auto_advance=plan.collects),
        look_up=look_up,
        repeatable=True,
    )


def _plan_of(lease: Lease, invoice_id: int) -> Plan | None:
    """What to send; None if there is nothing (left) to do. Raises GiveUp for amounts that Stripe cannot take."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.state != InvoiceState.FINALIZED or invoice.sync_state == SyncState.SYNCED or not invoice.amount_due:
            return None
        organization = invoice.organization
        drift.require_all_adopted(invoice)
        try:
            total = to_stripe(invoice.amount_due, invoice.currency)
            lines = stripe_lines(invoice, items_of(invoice.id))
        except InvalidInput as reason:
            raise GiveUp(f"{reason.sentence} Nothing was sent.") from reason
        return Plan(
            wanted=Wanted(
                invoice_id=invoice.id,
                public_id=invoice.public_id,
                organization_id=organization.id,
                currency=invoice.currency,
                total=total,
                lines=lines,
            ),
            organization_public_id=organization.public_id,
            customer=organization.stripe_customer_id,
            header=_header(invoice, organization),
            collects=organization.collection_method == "charge_automatically",
            resumed=invoice.stripe_id is not None,
        )


def _header(invoice: Invoice, organization: Organization) -> dict[str, Any]:
    assert invoice.due_date is not None
    assert invoice.invoiced_at is not None
    header: dict[str, Any] = {
        "currency": invoice.currency.lower(),
        "auto_advance": False,
        "pending_invoice_items_behavior": "exclude",
        "collection_method": organization.collection_method,
        "custom_fields": [{"name": "Invoice", "value": invoice.number}],
        "metadata": {"invoice_id": str(invoice.public_id), "content_sha256": invoice.content_sha256},
    }
    if organization.collection_method == "send_invoice":
        header["days_until_due"] = max((invoice.due_date - invoice.invoiced_at.date()).days, 0)
    return header


def _save_id(lease: Lease, invoice_id: int, stripe_id: str) -> None:
    with lease.transaction():
        lock_invoice(invoice_id).stripe_id = stripe_id


def _require_final(lease: Lease, invoice_id: int) -> None:
    with lease.transaction():
        if lock_invoice(invoice_id).state != InvoiceState.FINALIZED:
            raise Withdrawn


def _mark(lease: Lease, invoice_id: int, state: SyncState, message: str) -> None:
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.sync_state != state:
            record_change(
                invoice,
                "sync changed",
                before={"sync_state": invoice.sync_state},
                after={"sync_state": state.value},
                reason=message,
            )
        invoice.sync_state = state
        invoice.sync_message = message


def _mark_synced(lease: Lease, invoice_id: int, answer: dict[str, Any]) -> None:
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        before = invoice.sync_state
        invoice.sync_state = SyncState.SYNCED
        invoice.sync_message = None
        invoice.synced_at = clock.now()
        # A webhook may have brought a later status already; "draft" is the only one that is certainly older.
        if invoice.stripe_status in (None, "draft"):
            invoice.stripe_status = answer.get("status")
        invoice.hosted_invoice_url = answer.get("hosted_invoice_url")
        record_change(
            invoice,
            "synced to Stripe",
            before={"sync_state": before},
            after={"sync_state": "synced", "stripe_id": answer["id"], "total": answer.get("total")},
        )
        announce_issued(invoice)
