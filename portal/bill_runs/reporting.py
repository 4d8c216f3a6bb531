"""What a run has come to: counts and sums by currency, how fast it goes, what needs somebody, and how Stripe agrees."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, cast, exists, false, func, select

from portal.bill_runs.models import NEEDS_SOMEBODY, BillRun, BillRunItem, ItemState, RunState
from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.payments.drift_models import Phase, Reconciliation
from portal.payments.drift_queries import Report
from portal.payments.drift_queries import report_of as report_of_reconciliation

RATE_OVER = timedelta(seconds=60)
_ON_THE_WAY = (SyncState.PENDING, SyncState.UNKNOWN)
_AT_STRIPE_WRONG = (SyncState.UNKNOWN, SyncState.MISMATCH, SyncState.DEAD)


@dataclass(frozen=True, slots=True)
class CurrencySums:
    """The items of one currency: how many have a total, and what that is, now and last month; in minor units."""

    currency: str
    organizations: int
    total: int
    amount_due: int
    before: int


@dataclass(frozen=True, slots=True)
class Sent:
    """The final invoices of one currency: here, sent and the same there, and settled here without being sent."""

    currency: str
    invoices: int
    amount_due: int
    synced: int
    synced_amount: int
    settled: int
    void: int

    @property
    def difference(self) -> int:
        """What is owed here and has not arrived at Stripe."""
        return self.amount_due - self.synced_amount


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stage is: real counts, how many a minute there are lately, and how long the rest takes at that."""

    done: int
    whole: int
    a_minute: int
    seconds_left: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """A run in numbers: organizations in each state, and by currency what they come to and what is sent."""

    counts: dict[ItemState, int]
    sums: list[CurrencySums]
    sent: list[Sent]


def counts_of(run: BillRun) -> dict[ItemState, int]:
    """How many organizations are in each state."""
    rows = db.session.execute(
        select(BillRunItem.state, func.count()).where(BillRunItem.bill_run_id == run.id).group_by(BillRunItem.state)
    )
    return dict.fromkeys(ItemState, 0) | {row[0]: row[1] for row in rows}


def approved_sums(run: BillRun) -> list[tuple[str, int, int]]:
    """Of what is approved: currency, how many, and the sum of their totals in minor units."""
    rows = db.session.execute(
        select(BillRunItem.currency, func.count(), cast(func.sum(BillRunItem.total), BigInteger))
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.APPROVED)
        .group_by(BillRunItem.currency)
        .order_by(BillRunItem.currency)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def figures_of(run: BillRun) -> Figures:
    """All of a run's counts and sums, in one pass over its items and, once some are final, its month's invoices.

    What is skipped is counted and not summed.
    """
    rows = _grouped(run)
    counts = dict.fromkeys(ItemState, 0)
    for row in rows:
        counts[row.state] += row.items
    sums, sent = [], []
    for currency in sorted({row.currency for row in rows if row.state != ItemState.SKIPPED}):
        here = [row for row in rows if row.currency == currency and row.state != ItemState.SKIPPED]
        sums.append(
            CurrencySums(
                currency,
                organizations=sum(row.computed for row in here),
                total=sum(row.total for row in here),
                amount_due=sum(row.due for row in here),
                before=sum(row.before for row in here),
            )
        )
        if final := [row for row in here if row.invoice_state is not None]:
            sent.append(_sent(currency, final))
    return Figures(counts, sums, sent)


def _grouped(run: BillRun) -> Sequence[Any]:
    """How many items there are of each state, currency, and standing of their final invoice, and what they come to."""
    total, due, before, owed = (
        cast(func.coalesce(func.sum(column), 0), BigInteger)
        for column in (BillRunItem.total, BillRunItem.amount_due, BillRunItem.total_before, Invoice.amount_due)
    )
    final = BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.FINALIZED
    its_invoice: ColumnElement[bool] = false()
    if db.session.scalar(select(exists().where(*final))):
        # The month says nothing new, but finds the invoices side by side in an index.
        its_invoice = and_(*final, Invoice.id == BillRunItem.invoice_id, Invoice.period_start == run.month)
    groups = (
        BillRunItem.state,
        BillRunItem.currency,
        Invoice.state.label("invoice_state"),
        Invoice.sync_state,
        (Invoice.amount_due > 0).label("is_owed"),
    )
    return db.session.execute(
        select(
            *groups,
            func.count().label("items"),
            func.count(BillRunItem.total).label("computed"),
            total.label("total"),
            due.label("due"),
            before.label("before"),
            owed.label("owed"),
        )
        .outerjoin(Invoice, its_invoice)
        .where(BillRunItem.bill_run_id == run.id)
        .group_by(*groups)
    ).all()


def _sent(currency: str, rows: Sequence[Any]) -> Sent:
    valid = [row for row in rows if row.invoice_state != InvoiceState.VOID]
    owed = [row for row in valid if row.is_owed]
    synced = [row for row in owed if row.sync_state == SyncState.SYNCED]
    return Sent(
        currency,
        invoices=sum(row.items for row in valid),
        amount_due=sum(row.owed for row in owed),
        synced=sum(row.items for row in synced),
        synced_amount=sum(row.owed for row in synced),
        settled=sum(row.items for row in valid if not row.is_owed),
        void=sum(row.items for row in rows if row.invoice_state == InvoiceState.VOID),
    )


def is_on_the_way(run: BillRun) -> bool:
    """Whether Stripe has yet to be heard of any of the run's invoices."""
    query = select(Invoice.id).where(*_final_of(run), Invoice.sync_state.in_(_ON_THE_WAY))
    return db.session.scalar(query.where(Invoice.state == InvoiceState.FINALIZED).limit(1)) is not None


def wrong_at_stripe(run: BillRun, *, limit: int = 50) -> Sequence[Invoice]:
    """The first of the run's invoices that Stripe does not have as they are here, or nobody knows."""
    return db.session.scalars(select(Invoice).where(*_is_wrong(run)).order_by(Invoice.id).limit(limit)).all()


def _is_wrong(run: BillRun) -> tuple[ColumnElement[bool], ...]:
    return (*_final_of(run), Invoice.sync_state.in_(_AT_STRIPE_WRONG))


def _final_of(run: BillRun) -> tuple[ColumnElement[bool], ...]:
    return (
        Invoice.id == BillRunItem.invoice_id,
        BillRunItem.bill_run_id == run.id,
        BillRunItem.state == ItemState.FINALIZED,
    )


def compared_with_stripe(run: BillRun) -> Report | None:
    """What is open of what comparing every invoice with Stripe's has found; None before that is done."""
    if run.reconciliation_id is None:
        return None
    compared = db.session.get_one(Reconciliation, run.reconciliation_id, populate_existing=True)
    return report_of_reconciliation(compared) if compared.phase == Phase.DONE else None


def problems_of(run: BillRun) -> int:
    """How much of a run needs somebody: organizations that were left over, and invoices that Stripe has otherwise."""
    return count_problems(run, counts_of(run), compared_with_stripe(run))


def count_problems(run: BillRun, counts: dict[ItemState, int], compared: Report | None) -> int:
    """The same for who has the run's counts and what comparing has found already."""
    left_over = sum(counts[state] for state in NEEDS_SOMEBODY)
    if not counts[ItemState.FINALIZED]:
        return left_over
    wrong = set(db.session.scalars(select(Invoice.id).where(*_is_wrong(run))))
    differing = [row for row in compared.differences if row.invoice_id not in wrong] if compared else []
    return left_over + len(wrong) + len(differing)


def progress_of(run: BillRun, figures: Figures, *, now: datetime) -> Progress:
    """How far the run's stage is, by the rows."""
    counts = figures.counts
    whole = sum(counts.values()) - counts[ItemState.SKIPPED]
    left = {
        RunState.GENERATING: counts[ItemState.WAITING],
        RunState.FINALIZING: counts[ItemState.APPROVED] + counts[ItemState.SCHEDULED],
    }.get(run.stage, 0)
    if run.stage == RunState.SYNCING:
        whole = sum(each.invoices for each in figures.sent)
        left = whole - sum(each.synced + each.settled for each in figures.sent)
    a_minute, seconds_left = 0, None
    entered = run.entered_at(RunState(run.state))
    if left and entered is not None and run.state in (RunState.GENERATING, RunState.FINALIZING):
        span = max(min(now - entered, RATE_OVER), timedelta(seconds=1))
        recent = _moved_since(run, now - span)
        a_minute = recent * (RATE_OVER // timedelta(seconds=1)) // (span // timedelta(seconds=1))
        seconds_left = left * (span // timedelta(seconds=1)) // recent if recent else None
    return Progress(done=whole - left, whole=whole, a_minute=a_minute, seconds_left=seconds_left)


def _moved_since(run: BillRun, moment: datetime) -> int:
    query = (
        select(func.count())
        .select_from(BillRunItem)
        .where(
            BillRunItem.bill_run_id == run.id,
            BillRunItem.updated_at > moment,
            BillRunItem.state.not_in([ItemState.WAITING, ItemState.SKIPPED]),
        )
    )
    return db.session.scalar(query) or 0


def report_of(run: BillRun) -> dict[str, Any]:
    """What a run has come to, as plain data; amounts in minor units."""
    compared = compared_with_stripe(run)
    figures = figures_of(run)
    return {
        "organizations": {state.value: count for state, count in figures.counts.items() if count},
        "sums": [asdict(each) for each in figures.sums],
        "sent": [asdict(each) for each in figures.sent],
        "stripe": compared.sentence if compared else None,
        "problems": count_problems(run, figures.counts, compared),
    }
