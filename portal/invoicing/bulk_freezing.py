"""Freezing the figures of many drafts in one transaction: so many statements, however many there are.

All or none: if some cannot be frozen, nothing is, and whoever asked goes on without them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.catalog.locking import hold_prices
from portal.core.errors import DraftChanged, InvalidTransition, NeedsSecondPerson, NotReady, PortalError
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.core.statement import Statement, tax_facts
from portal.infra import audit
from portal.infra.db import db
from portal.infra.ids import uuid7
from portal.infra.many_rows import add_rows, save_together
from portal.invoicing.billed import freeze
from portal.invoicing.crediting import use_credit
from portal.invoicing.drafting import Draft
from portal.invoicing.linked_drafts import parts_of, whole_drafts_of
from portal.invoicing.linked_models import BilledPart
from portal.invoicing.models import BalanceEntry, Invoice, InvoiceItem
from portal.invoicing.queries import lock_invoices, open_draft
from portal.invoicing.terms import Terms
from portal.invoicing.trail import change_of
from portal.organizations.locking import lock_organizations
from portal.organizations.models import Organization

_FROZEN = (
    *("state", "fingerprint", "scheduled_by", "finalize_at"),
    *("total", "tax", "tax_details", "credits_applied", "balance_applied", "amount_due"),
    *("payer_organization_id", "payer_name", "moved", "sections"),
)
_REFERENCES = ("price_version_id", "subscription_id", "one_off_item_id", "coupon_redemption_id", "credit_grant_id")


@dataclass(frozen=True, slots=True)
class Approval:
    """Which figures somebody has seen and wants frozen; large ones take a second person."""

    fingerprint: str
    by: str
    seconded_by: str | None = None

    @property
    def names(self) -> str:
        """Who it was, for whoever looks at the invoice."""
        return f"{self.by} and {self.seconded_by}" if self.seconded_by else self.by


class SomeRefused(Exception):
    """Why some of the invoices (by their ids) cannot be frozen. The transaction is to be rolled back."""

    def __init__(self, reasons: Mapping[int, PortalError]) -> None:
        super().__init__(f"{len(reasons)} invoices cannot be frozen")
        self.reasons = reasons


def schedule_many(approved: Mapping[int, Approval], *, now: datetime, terms: Terms) -> list[Invoice]:
    """Freeze drafts of one month (by their ids) as their fingerprints show them, in the order of their ids.

    Whoever calls this sees to it that they are finished after their hold. Raises SomeRefused with the reasons that
    `finalizing.schedule` names; NotFound.
    """
    # Before any row, as whoever publishes takes it.
    hold_prices()
    invoices = lock_invoices(list(approved))
    month = invoices[0].month
    assert all(invoice.month == month for invoice in invoices)
    _refuse({invoice.id: _why_not_now(invoice, now) for invoice in invoices})
    # What payers pay for is locked after them, and nobody locks it the other way round: none of it is void meanwhile.
    held = set(parts_of([invoice.organization_id for invoice in invoices], month))
    if held:
        lock_invoices(held)
    # Two invoices of one organization must not spend the same balance or credit; nor may what it agreed to, or what
    # everything costs, change meanwhile.
    lock_organizations([invoice.organization_id for invoice in invoices])
    freeze(invoices, month, now=now)
    drafts = _drafts(invoices, month)
    _refuse({each.id: _why_not(drafts[each.id], held, approved[each.id], each.currency, terms) for each in invoices})
    for invoice in invoices:
        _take_figures(invoice, drafts[invoice.id])
        invoice.state = InvoiceState.SCHEDULED
        invoice.fingerprint, invoice.scheduled_by = approved[invoice.id].fingerprint, approved[invoice.id].names
        invoice.finalize_at = now + timedelta(seconds=terms.hold_seconds)
    save_together(invoices, _FROZEN)
    _open_drafts_of_payers(drafts.values(), month)
    _add_movements(invoices, drafts)
    db.session.flush()
    rows = [row for each in invoices for row in _item_rows(each, drafts[each.id].statement)]
    add_rows(InvoiceItem.__table__, rows)  # type: ignore[arg-type]
    audit.record_many([_entry(invoice) for invoice in invoices])
    return invoices


def _drafts(invoices: Sequence[Invoice], month: Month) -> dict[int, Draft]:
    """The drafts by the ids of their invoices."""
    frozen = {invoice.organization_id: invoice.id for invoice in invoices}
    drafts = whole_drafts_of([invoice.organization for invoice in invoices], month, frozen=frozen)
    return {invoice.id: drafts[invoice.organization_id] for invoice in invoices}


def _open_drafts_of_payers(drafts: Iterable[Draft], month: Month) -> None:
    """What is moved needs an invoice to be on, also where the payer has nothing of its own to pay."""
    for payer_id in sorted({draft.payer.organization_id for draft in drafts if draft.payer}):
        open_draft(db.session.get_one(Organization, payer_id), month)


def _refuse(reasons: Mapping[int, PortalError | None]) -> None:
    if found := {invoice_id: reason for invoice_id, reason in reasons.items() if reason is not None}:
        raise SomeRefused(found)


def _why_not_now(invoice: Invoice, now: datetime) -> PortalError | None:
    if invoice.state == InvoiceState.DRAFT:
        if now >= invoice.month.end:
            return None
        return NotReady(
            f"{invoice.month} is not over: it can be finalized from {invoice.month.next.first_day}, 00:00 UTC."
        )
    by = f" by {invoice.scheduled_by}" if invoice.scheduled_by else ""
    if invoice.state == InvoiceState.SCHEDULED:
        ends = f"; it becomes final at {invoice.finalize_at:%H:%M:%S} UTC"
    else:
        when = invoice.finalized_at
        ends = f" at {when:%d %b %Y, %H:%M:%S} UTC" if when else ""
    return InvalidTransition(f"The invoice of {invoice.month} is already {invoice.state}{by}{ends}.")


def _why_not(
    draft: Draft, held: Collection[int], approval: Approval, currency: str, terms: Terms
) -> PortalError | None:
    reasons = draft.blockers + draft.waits_for_parts
    if reasons:
        return NotReady(f"The invoice cannot be finalized. {' '.join(reasons)}")
    if any(section.invoice_id not in held for section in draft.sections):
        return NotReady("An invoice that this one pays for became final just now. Try again.")
    if draft.fingerprint != approval.fingerprint:
        return DraftChanged("The draft has changed since you looked at it. Nothing was done; look again and decide.")
    if approval.seconded_by is None and terms.second_approval_from.is_reached(draft.whole_total, currency):
        return NeedsSecondPerson("The total is so large that a second person approves it. Ask on the invoice's page.")
    return None


def _take_figures(invoice: Invoice, draft: Draft) -> None:
    statement = draft.statement
    invoice.total = statement.total
    invoice.tax = statement.tax
    invoice.tax_details = tax_facts(statement)
    invoice.credits_applied = statement.credits_applied
    invoice.balance_applied = statement.balance_applied
    invoice.amount_due = draft.amount_due
    invoice.moved = draft.moved
    invoice.payer_organization_id = draft.payer.organization_id if draft.payer else None
    invoice.payer_name = draft.payer.name if draft.payer else None
    invoice.sections = [section.facts for section in draft.sections] or None


def _add_movements(invoices: Sequence[Invoice], drafts: Mapping[int, Draft]) -> None:
    """What the invoices take of balances, of credit grants and from those that they pay for."""
    for invoice in invoices:
        statement = drafts[invoice.id].statement
        whose = {"organization_id": invoice.organization_id, "invoice_id": invoice.id}
        if applied := statement.balance_applied:
            db.session.add(BalanceEntry(**whose, amount=-applied, reason="applied to this invoice"))
        use_credit(invoice, statement.promotional_used | statement.credits_used)
        for section in drafts[invoice.id].sections:
            assert section.invoice_id is not None
            db.session.add(
                BilledPart(
                    invoice_id=section.invoice_id,
                    organization_id=section.organization_id,
                    payer_invoice_id=invoice.id,
                )
            )


def _item_rows(invoice: Invoice, statement: Statement) -> Iterable[dict[str, Any]]:
    for position, line in enumerate(statement.lines):
        yield {
            "public_id": uuid7(),
            "organization_id": invoice.organization_id,
            "invoice_id": invoice.id,
            "position": position,
            "kind": line.kind.value,
            "description": line.description,
            "quantity": line.quantity,
            "unit": line.unit,
            "unit_amount": line.unit_amount,
            "amount": line.amount,
            "discount": line.discount,
            "credited": line.credited,
            "tax": line.tax,
            "period_start": line.period_start,
            "period_end": line.period_end,
            "derivation": line.kept(),
            "series": line.series,
            **{name: line.references.get(name) for name in _REFERENCES},
        }


def _entry(invoice: Invoice) -> audit.Entry:
    return change_of(
        invoice,
        "scheduled finalizing",
        before={"state": "draft"},
        after={"state": "scheduled", "total": invoice.total, "fingerprint": invoice.fingerprint},
    )
