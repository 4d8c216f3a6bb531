"""What is approved in a run and so large that it takes two people: it is left out, and a second person is asked."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select

from portal.bill_runs.models import BillRun, BillRunItem, ItemState, RunState
from portal.bill_runs.steps import locked_run_of, may_enter, record
from portal.bill_runs.work import move
from portal.core.approving import AmountLimits
from portal.core.lifecycle import InvoiceState
from portal.infra.db import db
from portal.invoicing.queries import lock_invoices
from portal.invoicing.seconding import ask_as_seen
from portal.organizations.approvals import Person


def count_large(run: BillRun, limits: AmountLimits) -> int:
    """How many of the approved invoices take a second person."""
    query = select(func.count()).select_from(BillRunItem).where(*_is_large(run, limits))
    return db.session.scalar(query) or 0


def set_large_aside(public_id: UUID, *, by: Person, limits: AmountLimits, now: datetime, within: timedelta) -> int:
    """Ask a second person about each, as it was approved, and put it back into review; returns how many there were.

    Once approved, it is finalized by that on its own, and the run follows. Nothing is done unless the run can be
    finalized now.
    """
    run = locked_run_of(public_id)
    if not may_enter(run, RunState.FINALIZING):
        return 0
    query = select(BillRunItem).where(*_is_large(run, limits)).order_by(BillRunItem.organization_id)
    items = list(db.session.scalars(query.with_for_update().execution_options(populate_existing=True)))
    found = {item.invoice_id: item for item in items if item.invoice_id is not None}
    drafts = [each for each in (lock_invoices(list(found)) if found else []) if each.state == InvoiceState.DRAFT]
    for draft in drafts:
        item = found[draft.id]
        assert item.fingerprint is not None, "what is approved has been computed"
        assert item.total is not None, "what is approved has been computed"
        ask_as_seen(draft, item.fingerprint, max(item.total, item.amount_due or 0), by=by, now=now, within=within)
        item.decided_by = item.decided_at = None
        move(item, ItemState.GENERATED, reason=f"It waits for a second approval; {by.name} asked for it.")
    db.session.flush()
    if drafts:
        among = [draft.organization_id for draft in drafts]
        record(run, "asked for second approvals in bill run", after={"organizations": len(among), "among": among})
    return len(drafts)


def _is_large(run: BillRun, limits: AmountLimits) -> tuple[ColumnElement[bool], ...]:
    approved = (BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.APPROVED)
    currencies = db.session.scalars(select(BillRunItem.currency).where(*approved).distinct()) if limits.amounts else ()
    reached = [
        # What a payer's invoice asks for others is above its own total.
        (BillRunItem.currency == currency) & (func.greatest(BillRunItem.total, BillRunItem.amount_due) >= least)
        for currency in currencies
        if (least := limits.least(currency)) is not None
    ]
    return (*approved, or_(False, *reached))
