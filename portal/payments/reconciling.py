"""Reconciling: every invoice of a window, on both sides, page by page; the result must read "0 differences, 0.00".

A run is a row: it knows how far it has come, so whoever is killed in the middle goes on from there, and a page that is
read twice changes nothing. It only reads at Stripe. It writes down what differs and closes what does not any more;
the one thing that it changes is to adopt what a restored backup has forgotten (restoring.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from portal.core.errors import InvalidInput
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import Lease, RetryLater
from portal.invoicing.models import Invoice
from portal.payments import drift, gateway
from portal.payments.comparing import Ours, Theirs, read_theirs
from portal.payments.drift_models import Drift, DriftState, Phase, ReconciledInvoice, Reconciliation
from portal.payments.drift_queries import report_of
from portal.payments.journal import read_now
from portal.payments.matching import adopt_forgotten, compare, compare_customers, compare_missing, load
from portal.payments.restoring import Within

RECONCILE = "reconcile_with_stripe"
OURS_PER_STEP = 100
STEPS_PER_JOB = 10
# Stripe counts whole seconds: a window that ends now ends with the second.
A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """What was made at Stripe in [since, until); with a month also its invoices, whenever they were made."""

    since: datetime
    until: datetime
    month: Month | None = None

    @classmethod
    def of_month(cls, month: Month, *, now: datetime) -> "Window":
        """The month after: that is when the invoices of a month are made. Raises InvalidInput before it is over."""
        if now < month.end:
            raise InvalidInput(f"{month} is not over; its invoices are made after its end.", field="month")
        return cls(month.end, month.next.end, month)


def begin(window: Window, *, now: datetime) -> int:
    """Start a run, in the current transaction; returns its id. Nothing is read yet."""
    if window.until <= window.since:
        raise InvalidInput("The window ends before it begins.", field="until")
    run = Reconciliation(
        since=window.since,
        until=window.until,
        month=window.month.first_day if window.month else None,
        started_at=now,
    )
    db.session.add(run)
    db.session.flush()
    return run.id


def begin_nightly(*, now: datetime) -> bool:
    """The clock's part: once a day, a run over what was made since the last month began. Says if it was started now."""
    with transaction():
        run_id = db.session.scalar(
            insert(Reconciliation)
            .values(since=Month.of(now).previous.start, until=Month.of(now).end, night=now.date(), started_at=now)
            .on_conflict_do_nothing()
            .returning(Reconciliation.id)
        )
        if run_id is not None:
            outbox.enqueue(RECONCILE, dedupe_key=str(run_id), organization_id=None, reconciliation_id=run_id)
    return run_id is not None


@outbox.handles(RECONCILE)
def reconcile(lease: Lease, *, reconciliation_id: int) -> None:
    """Go on with a run, a few pages at a time. Idempotent."""
    for _ in range(STEPS_PER_JOB):
        if not advance(reconciliation_id, within=lease.transaction):
            return
    raise RetryLater("There are more pages to read.", seconds=0)


def advance(run_id: int, *, within: Within = transaction) -> bool:
    """Read and compare the next page of a run; False once it is done. Raises what reading at Stripe raises."""
    with within():
        run = db.session.get_one(Reconciliation, run_id, populate_existing=True)
    match run.phase:
        case Phase.CUSTOMERS:
            customers, more = read_now(partial(gateway.page_of_customers, run.since, run.until, run.read_up_to))
            with within():
                compare_customers(customers, now=run.started_at)
                _move_on(run_id, customers if more else [], Phase.INVOICES, customers=len(customers))
        case Phase.INVOICES:
            documents, more = read_now(partial(gateway.page_of_invoices, run.since, run.until, run.read_up_to))
            theirs = [read_theirs(each) for each in documents]
            adopted = adopt_forgotten(theirs, within=within)
            with within():
                seen = compare(theirs, now=run.started_at)
                _remember(run_id, [each for each in seen if not _may_be_elsewhere(each)])
                _move_on(run_id, documents if more else [], Phase.OURS, invoices=len(documents), adopted=adopted)
        case Phase.OURS:
            _look_for_ours(run, within)
        case Phase.DONE:
            return False
    return True


def _look_for_ours(run: Reconciliation, within: Within) -> None:
    """The next of our invoices that were not in Stripe's list: read one by one, for they should be somewhere."""
    after = int(run.read_up_to or 0)
    with within():
        rest = load(_of_window(run) & (Invoice.id > after) & ~_is_reconciled(run.id), limit=OURS_PER_STEP)
    found: list[Theirs] = []
    missing: list[Ours] = []
    for each in rest:
        document = read_now(partial(gateway.find_invoice, each.stripe_id)) if each.stripe_id else None
        if document is None:
            missing.append(each)
        else:
            found.append(read_theirs(document))
    with within():
        compare(found, now=run.started_at)
        compare_missing(missing, now=run.started_at)
        on_their_way = sum(each.is_on_its_way for each in rest)
        if len(rest) == OURS_PER_STEP:
            _move_on(run.id, [{"id": str(rest[-1].id)}], Phase.OURS, invoices=len(rest), on_their_way=on_their_way)
        else:
            _move_on(run.id, [], Phase.DONE, invoices=len(rest), on_their_way=on_their_way)
            _finish(run.id)


def _finish(run_id: int) -> None:
    run = db.session.get_one(Reconciliation, run_id, populate_existing=True)
    drift.close(
        or_(
            (Drift.stripe_created_at >= run.since) & (Drift.stripe_created_at < run.until),
            Drift.invoice_id.in_(select(Invoice.id).where(_of_window(run))),
        ),
        now=run.started_at,
    )
    run.differences = len(report_of(run).differences)
    db.session.execute(delete(ReconciledInvoice).where(ReconciledInvoice.reconciliation_id <= run_id))


def _of_window(run: Reconciliation) -> ColumnElement[bool]:
    """Our invoices that a run asks for: those made in its window or of its month; nightly also all that differ."""
    wanted: list[ColumnElement[bool]] = [(Invoice.finalized_at >= run.since) & (Invoice.finalized_at < run.until)]
    if run.month is not None:
        wanted.append(Invoice.period_start == run.month)
    if run.night is not None:
        alive = aliased(Drift)
        wanted.append(exists().where(alive.invoice_id == Invoice.id, alive.state != DriftState.GONE))
    return or_(*wanted) & Invoice.state.in_([InvoiceState.FINALIZED, InvoiceState.VOID])


def _is_reconciled(run_id: int) -> ColumnElement[bool]:
    return exists().where(ReconciledInvoice.reconciliation_id == run_id, ReconciledInvoice.invoice_id == Invoice.id)


def _may_be_elsewhere(ours: Ours) -> bool:
    """Whether an invoice whose mark was in the list has yet to be looked for: its sync has not stored an id."""
    return ours.stripe_id is None and ours.is_on_its_way


def _remember(run_id: int, seen: Sequence[Ours]) -> None:
    rows = [{"reconciliation_id": run_id, "invoice_id": each.id} for each in seen]
    if rows:
        db.session.execute(insert(ReconciledInvoice).values(rows).on_conflict_do_nothing())


def _move_on(run_id: int, page: Sequence[dict[str, Any]], after: Phase, **counted: int) -> None:
    """Note how far a run has come: to the end of this page, or, without one, to the next phase."""
    run = db.session.get_one(Reconciliation, run_id, populate_existing=True, with_for_update=True)
    run.read_up_to = page[-1]["id"] if page else None
    if not page:
        run.phase = after
        run.finished_at = clock.now() if after == Phase.DONE else None
    for name, count in counted.items():
        setattr(run, name, getattr(run, name) + count)
