"""Sending one finished invoice to Stripe: create, add lines, read back, compare, finalize. Never twice.

Stripe must not round or tax for us: lines carry our integer amounts, and nothing is finalized there until currency,
every line and the total have been compared with ours, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from portal.core.lifecycle import InvoiceState, SyncState
from portal.core.periods import midnight
from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.invoicing.finalizing import SYNC
from portal.invoicing.models import Invoice, InvoiceItem
from portal.invoicing.queries import items_of, lock_invoice
from portal.invoicing.trail import record_change
from portal.invoicing.voiding import VOID_AT_STRIPE
from portal.organizations.models import Organization
from portal.payments import gateway, journal

LINES_PER_CALL = 100
# Source: Stripe, "Supported currencies", zero-decimal currencies and special cases.
COUNTED_OTHERWISE = frozenset({"ISK", "MGA", "UGX"})
LINES_PER_INVOICE = 250
_LONGEST_DESCRIPTION = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to stand at Stripe, as plain facts."""

    invoice_id: int
    public_id: UUID
    organization_id: int
    organization_public_id: UUID
    customer: str | None
    currency: str
    amount_due: int
    lines: tuple[dict[str, Any], ...]
    header: dict[str, Any]
    collects: bool
    resumed: bool


@outbox.handles(SYNC)
def sync_invoice(lease: Lease, *, invoice_id: int) -> None:
    """Bring one finalized invoice to Stripe. Idempotent: every step is journalled, so any retry goes on from there."""
    plan = _plan_of(lease, invoice_id)
    if plan is None:
        return
    try:
        answer = _bring_to_stripe(lease, plan)
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


class Mismatch(Exception):
    """What stands at Stripe is not what we sent; the text shows both. Nothing is finalized there."""


def _bring_to_stripe(lease: Lease, plan: Plan) -> dict[str, Any]:
    if plan.currency in COUNTED_OTHERWISE:
        raise GiveUp(
            f"Stripe counts {plan.currency} in other units than ISO 4217 does, and amounts are not converted yet;"
            " nothing was sent."
        )
    customer = plan.customer or _create_customer(lease, plan)
    subject: dict[str, Any] = {
        "subject": plan.public_id,
        "organization_id": plan.organization_id,
        "invoice_id": plan.invoice_id,
    }
    answer = journal.perform(lease, "create", **subject, parameters=lambda: {"customer": customer, **plan.header})
    stripe_id = answer["id"]
    _save_id(lease, plan.invoice_id, stripe_id)
    for part, start in enumerate(range(0, len(plan.lines), LINES_PER_CALL)):
        lines = {"lines": list(plan.lines[start : start + LINES_PER_CALL])}
        answer = journal.perform(
            lease, "add_lines", **subject, target=stripe_id, part=part, parameters=partial(dict, lines)
        )
    if plan.resumed:
        # The total that an earlier run was told may be out of date: somebody may have repaired the draft since.
        answer = journal.read_now(lambda: gateway.read_invoice(stripe_id))
    _compare(plan, answer, journal.read_now(lambda: gateway.read_lines(stripe_id)))
    answer = journal.perform(
        lease, "finalize", **subject, target=stripe_id, parameters=lambda: {"auto_advance": plan.collects}
    )
    if answer.get("total") != plan.amount_due:
        raise Mismatch(f"After finalizing, Stripe's total is {answer.get('total')}; ours is {plan.amount_due}.")
    return answer


def _plan_of(lease: Lease, invoice_id: int) -> Plan | None:
    """What to send; None if there is nothing (left) to do."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if invoice.state != InvoiceState.FINALIZED or invoice.sync_state == SyncState.SYNCED or not invoice.amount_due:
            return None
        organization = invoice.organization
        return Plan(
            invoice_id=invoice.id,
            public_id=invoice.public_id,
            organization_id=organization.id,
            organization_public_id=organization.public_id,
            customer=organization.stripe_customer_id,
            currency=invoice.currency,
            amount_due=invoice.amount_due,
            lines=stripe_lines(invoice, items_of(invoice.id)),
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


def stripe_lines(invoice: Invoice, items: Sequence[InvoiceItem]) -> tuple[dict[str, Any], ...]:
    """Our lines as Stripe takes them: whole amounts, at most 250.

    Tax and coupons are lines already; what credit and balance pay is one line each, so that totals agree.
    Above the limit the largest lines stay and the rest is one line; the portal shows all of them.
    """
    paid_with = [
        (text, key, amount)
        for text, key, amount in (
            ("Prepaid credit applied", "credits", invoice.credits_applied),
            ("Credit balance applied", "balance", invoice.balance_applied),
        )
        if amount
    ]
    shown, rest = list(items), list[InvoiceItem]()
    if len(items) + len(paid_with) > LINES_PER_INVOICE:
        by_size = sorted(items, key=lambda item: (-abs(item.amount), item.position))
        kept = {item.id for item in by_size[: LINES_PER_INVOICE - 1 - len(paid_with)]}
        shown = [item for item in items if item.id in kept]
        rest = [item for item in items if item.id not in kept]
    lines = [
        _line(item.amount, _description(item), str(item.public_id), item.period_start, item.period_end)
        for item in shown
    ]
    period = invoice.period_start, invoice.period_end - timedelta(days=1)
    if rest:
        text = f"{len(rest)} further lines, each of them shown in the portal"
        lines.append(_line(sum(item.amount for item in rest), text, f"rest-{invoice.public_id}", *period))
    lines += [_line(-amount, text, f"{key}-{invoice.public_id}", *period) for text, key, amount in paid_with]
    return tuple(lines)


def _line(amount: int, description: str, item_id: str, first: Any, last: Any) -> dict[str, Any]:
    end = datetime.combine(last, time(23, 59, 59), tzinfo=UTC)
    return {
        "amount": amount,
        "description": description[:_LONGEST_DESCRIPTION],
        "period": {"start": int(midnight(first).timestamp()), "end": int(end.timestamp())},
        "metadata": {"item_id": item_id},
    }


def _description(item: InvoiceItem) -> str:
    quantity = f"{item.quantity.normalize():f}"
    return f"{item.description} ({quantity} {item.unit})" if item.unit and quantity != "1" else item.description


def _create_customer(lease: Lease, plan: Plan) -> str:
    def parameters() -> dict[str, Any]:
        organization = db.session.get_one(Organization, plan.organization_id)
        return {
            "name": organization.legal_name or organization.name,
            **({"email": organization.billing_email} if organization.billing_email else {}),
            "metadata": {"organization_id": str(organization.public_id)},
        }

    answer = journal.perform(
        lease,
        "customer",
        subject=plan.organization_public_id,
        organization_id=plan.organization_id,
        invoice_id=None,
        parameters=parameters,
    )
    customer: str = answer["id"]
    with lease.transaction():
        organization = db.session.get_one(Organization, plan.organization_id, with_for_update=True)
        organization.stripe_customer_id = organization.stripe_customer_id or customer
        return organization.stripe_customer_id


def _save_id(lease: Lease, invoice_id: int, stripe_id: str) -> None:
    with lease.transaction():
        lock_invoice(invoice_id).stripe_id = stripe_id


def _compare(plan: Plan, answer: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
    """Currency, every line, their number and the total must be ours, exactly. Raises Mismatch."""
    ours = {line["metadata"]["item_id"]: line["amount"] for line in plan.lines}
    theirs = {(line.get("metadata") or {}).get("item_id", line["id"]): line["amount"] for line in lines}
    problems = []
    if answer.get("currency", "").upper() != plan.currency:
        problems.append(f"currency {answer.get('currency')} instead of {plan.currency}")
    if len(lines) != len(plan.lines):
        problems.append(f"{len(lines)} lines instead of {len(plan.lines)}")
    problems += [
        f"line {item_id}: {theirs.get(item_id)} instead of {ours.get(item_id)}"
        for item_id in sorted(ours.keys() | theirs.keys())
        if ours.get(item_id) != theirs.get(item_id)
    ]
    if answer.get("total") != plan.amount_due:
        problems.append(f"total {answer.get('total')} instead of {plan.amount_due}")
    if problems:
        raise Mismatch("Stripe's draft is not ours: " + "; ".join(problems[:5]) + ".")


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


@outbox.handles(VOID_AT_STRIPE)
def void_at_stripe(lease: Lease, *, invoice_id: int) -> None:
    """Void at Stripe what has been voided here. Idempotent; waits for a sync that is still under way."""
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if outbox.is_open(SYNC, str(invoice_id)):
            raise RetryLater("The invoice is still being sent to Stripe; it is voided there afterwards.", seconds=1)
        stripe_id = invoice.stripe_id
        subject: dict[str, Any] = {
            "subject": invoice.public_id,
            "organization_id": invoice.organization_id,
            "invoice_id": invoice.id,
        }
    if stripe_id is None:
        return
    status = journal.read_now(lambda: gateway.read_invoice(stripe_id)).get("status")
    if status in ("open", "uncollectible"):
        journal.perform(lease, "void", **subject, target=stripe_id, parameters=dict)
    elif status == "draft":
        journal.perform(lease, "delete", **subject, target=stripe_id, parameters=dict)
    with lease.transaction():
        invoice = lock_invoice(invoice_id)
        if status == "paid":
            invoice.stripe_status, invoice.sync_state = status, SyncState.MISMATCH
            invoice.sync_message = "It was paid at Stripe before it could be voided there: give the money back."
        else:
            invoice.stripe_status = "deleted" if status == "draft" else "void"
