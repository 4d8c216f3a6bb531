"""Making the approved invoices of a chunk final: freeze, wait for the end of the hold window, finish; or take back.

Both are done for many organizations in one transaction. Those that cannot be frozen so (a draft has changed, usage has
no price) are left to a transaction of their own each, as an admin's click does it; so is everybody if it fails
altogether, so that one bad organization never stops the others.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from portal.bill_runs.generating import adopt_final, generate_again
from portal.bill_runs.models import BillRun, BillRunItem, ItemState, RunState
from portal.bill_runs.scoring import CHANGED_POINTS
from portal.bill_runs.work import (
    NOT_ITS_FAULT,
    claim,
    fail,
    finished,
    hold_run,
    items_in,
    move,
    move_many,
    ring_for_end_of_hold,
    ring_for_freezing,
)
from portal.core.errors import DraftChanged, InvalidTransition, NotReady
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.db import db
from portal.infra.outbox import Lease, RetryLater
from portal.invoicing.bulk_finalizing import finish_many
from portal.invoicing.bulk_freezing import Approval, SomeRefused, schedule_many
from portal.invoicing.finalizing import cancel, schedule
from portal.invoicing.models import Invoice
from portal.invoicing.queries import lock_invoice
from portal.invoicing.terms import Terms

log = logging.getLogger(__name__)
# A draft that changes again and again while it is being frozen waits for a person.
TIMES_COMPUTED_ANEW = 3


def freeze_chunk(lease: Lease, run_id: int, chunk: int, *, terms: Terms) -> None:
    """Freeze what is approved in a chunk, each as it was approved, and ask for the end of its hold window."""
    while claimed := claim(lease, run_id, chunk, ItemState.APPROVED):
        alone = _freeze_together(lease, run_id, claimed, terms)
        if alone is None:
            return
        for organization_id in alone:
            try:
                if not _freeze(lease, run_id, organization_id, terms):
                    return
            except NOT_ITS_FAULT:
                raise
            except Exception as error:
                log.exception("invoice cannot be finalized", extra={"organization_id": organization_id})
                fail(lease, run_id, organization_id, ItemState.APPROVED, error)
    with lease.transaction():
        ends = _end_of_hold(run_id, chunk)
        if ends is not None:
            ring_for_end_of_hold(run_id, chunk, ends, now=clock.now())


def _freeze_together(lease: Lease, run_id: int, organization_ids: Sequence[int], terms: Terms) -> list[int] | None:
    """Freeze many organizations' invoices at once; returns those that have to be looked at one by one.

    None once the run is no longer finalizing.
    """
    alone: set[int] = set()
    whose: dict[int, int] = {}
    while wanted := [each for each in organization_ids if each not in alone]:
        try:
            with lease.transaction():
                run = hold_run(run_id, RunState.FINALIZING)
                if run is None:
                    return None
                items = items_in(run_id, wanted, ItemState.APPROVED)
                whose = {item.invoice_id: item.organization_id for item in items if item.invoice_id is not None}
                if items:
                    approved = {item.invoice_id: _approval(run, item) for item in items if item.invoice_id is not None}
                    schedule_many(approved, now=clock.now(), terms=terms)
                    move_many(run_id, list(whose.values()), ItemState.SCHEDULED)
            break
        except SomeRefused as some:
            alone |= {whose[invoice_id] for invoice_id in some.reasons}
        except NOT_ITS_FAULT:
            raise
        except Exception:
            log.exception("a chunk cannot be frozen at once", extra={"bill_run_id": run_id})
            return list(organization_ids)
    return sorted(alone)


def _approval(run: BillRun, item: BillRunItem) -> Approval:
    assert item.fingerprint is not None
    return Approval(item.fingerprint, item.decided_by or run.finalized_by or run.started_by)


def _freeze(lease: Lease, run_id: int, organization_id: int, terms: Terms) -> bool:
    """Freeze one organization's invoice; False once the run is no longer finalizing."""
    for _ in range(TIMES_COMPUTED_ANEW):
        try:
            with lease.transaction():
                run = hold_run(run_id, RunState.FINALIZING)
                if run is None:
                    return False
                for item in items_in(run_id, [organization_id], ItemState.APPROVED):
                    _freeze_item(run, item, terms)
                return True
        except DraftChanged:
            if not _computed_anew(lease, run_id, organization_id):
                return True
    with lease.transaction():
        for item in items_in(run_id, [organization_id], ItemState.APPROVED):
            move(item, ItemState.GENERATED, reason="The draft keeps changing while it is being finalized.")
    return True


def _freeze_item(run: BillRun, item: BillRunItem, terms: Terms) -> None:
    assert item.invoice_id is not None
    seen = _approval(run, item)
    try:
        with db.session.begin_nested():
            schedule(item.invoice_id, fingerprint=seen.fingerprint, by=seen.by, now=clock.now(), terms=terms)
    except InvalidTransition:
        _follow(item, lock_invoice(item.invoice_id))
        return
    except NotReady as refusal:
        item.decided_by = item.decided_at = None
        move(item, ItemState.GENERATED, reason=refusal.sentence)
        return
    move(item, ItemState.SCHEDULED)


def _computed_anew(lease: Lease, run_id: int, organization_id: int) -> bool:
    """The draft is no longer the one that was approved. Says whether it can be finalized with its new figures.

    What nobody has looked at is looked at again by the rules; what somebody has approved asks for that person again.
    """
    with lease.transaction():
        run = hold_run(run_id, RunState.FINALIZING)
        if run is None:
            return False
        for item in items_in(run_id, [organization_id], ItemState.APPROVED):
            decided_by, before = item.decided_by, item.total
            generate_again(run, item)
            if decided_by and item.state in (ItemState.APPROVED, ItemState.GENERATED):
                item.score += CHANGED_POINTS
                move(item, ItemState.GENERATED, reason=_changed(item, decided_by, before))
            return item.state == ItemState.APPROVED
    return False


def _changed(item: BillRunItem, decided_by: str, before: int | None) -> str:
    then, now = (f"{item.currency} {major_text(amount or 0, item.currency)}" for amount in (before, item.total))
    return f"The draft has changed since {decided_by} approved it: {then} then, {now} now."


def _follow(item: BillRunItem, invoice: Invoice) -> None:
    """Somebody else has moved the invoice meanwhile; the item says the same."""
    if invoice.state == InvoiceState.FINALIZED:
        adopt_final(item, invoice)
    elif invoice.state == InvoiceState.SCHEDULED:
        item.total, item.amount_due, item.fingerprint = invoice.total, invoice.amount_due, invoice.fingerprint
        move(item, ItemState.SCHEDULED)
    else:
        move(item, ItemState.WAITING)


def finish_chunk(lease: Lease, run_id: int, chunk: int, *, terms: Terms) -> None:
    """Make final what is frozen in a chunk and whose hold window is over. Raises RetryLater until the last one is."""
    while due := _due(lease, run_id, chunk):
        try:
            with lease.transaction():
                if hold_run(run_id, RunState.FINALIZING) is None:
                    return
                _finish_items(run_id, due, terms)
        except NOT_ITS_FAULT:
            raise
        except Exception:
            log.exception("a chunk cannot be finished at once", extra={"bill_run_id": run_id, "chunk": chunk})
            _finish_one_by_one(lease, run_id, due, terms)
    with lease.transaction():
        run = hold_run(run_id, RunState.FINALIZING)
        ends = _end_of_hold(run_id, chunk) if run is not None else None
        if run is not None:
            ring_for_freezing(run_id)
    if ends is not None:
        seconds = max((ends - clock.now()).total_seconds(), 1)
        raise RetryLater("The hold window of some invoices is still open.", seconds=seconds)


def _due(lease: Lease, run_id: int, chunk: int) -> list[int]:
    with lease.transaction() as session:
        query = (
            select(BillRunItem.organization_id)
            .join(Invoice, Invoice.id == BillRunItem.invoice_id)
            .where(
                BillRunItem.bill_run_id == run_id,
                BillRunItem.chunk == chunk,
                BillRunItem.state == ItemState.SCHEDULED,
                (Invoice.state != InvoiceState.SCHEDULED) | (Invoice.finalize_at <= clock.now()),
            )
            .order_by(BillRunItem.organization_id)
        )
        return list(session.scalars(query))


def _end_of_hold(run_id: int, chunk: int) -> datetime | None:
    return db.session.scalar(
        select(Invoice.finalize_at)
        .join(BillRunItem, BillRunItem.invoice_id == Invoice.id)
        .where(
            BillRunItem.bill_run_id == run_id,
            BillRunItem.chunk == chunk,
            BillRunItem.state == ItemState.SCHEDULED,
            Invoice.state == InvoiceState.SCHEDULED,
        )
        .order_by(Invoice.finalize_at.desc())
        .limit(1)
    )


def _finish_items(run_id: int, organization_ids: Sequence[int], terms: Terms) -> None:
    items = {
        item.invoice_id: item
        for item in items_in(run_id, organization_ids, ItemState.SCHEDULED)
        if item.invoice_id is not None
    }
    invoices = finish_many(list(items), now=clock.now(), terms=terms)
    for invoice in invoices:
        if invoice.state != InvoiceState.FINALIZED:
            move(items[invoice.id], ItemState.HELD, reason="Finalizing was cancelled on the invoice's own page.")
    db.session.flush()
    finished(run_id, [invoice for invoice in invoices if invoice.state == InvoiceState.FINALIZED])


def _finish_one_by_one(lease: Lease, run_id: int, organization_ids: Sequence[int], terms: Terms) -> None:
    for organization_id in organization_ids:
        try:
            with lease.transaction():
                if hold_run(run_id, RunState.FINALIZING) is None:
                    return
                _finish_items(run_id, [organization_id], terms)
        except NOT_ITS_FAULT:
            raise
        except Exception as error:
            log.exception("invoice cannot be finished", extra={"organization_id": organization_id})
            fail(lease, run_id, organization_id, ItemState.SCHEDULED, error)


def take_back_chunk(lease: Lease, run_id: int, chunk: int) -> None:
    """Take back what is frozen in a chunk and not final: the drafts live again. Idempotent."""
    while claimed := claim(lease, run_id, chunk, ItemState.SCHEDULED):
        for organization_id in claimed:
            with lease.transaction():
                run = hold_run(run_id, RunState.REVIEW, RunState.CANCELLED)
                if run is None:
                    return
                for item in items_in(run_id, [organization_id], ItemState.SCHEDULED):
                    _take_back(run, item)


def _take_back(run: BillRun, item: BillRunItem) -> None:
    assert item.invoice_id is not None
    try:
        with db.session.begin_nested():
            cancel(item.invoice_id, now=clock.now())
    except InvalidTransition:
        adopt_final(item, lock_invoice(item.invoice_id))
        return
    if run.state == RunState.CANCELLED:
        move(item, ItemState.SKIPPED, reason="The run was cancelled.")
    else:
        move(item, ItemState.APPROVED)
