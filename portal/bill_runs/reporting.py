"""What a run has come to: counts and sums by currency, how fast it goes, what needs somebody, and how Stripe agrees."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, cast, func, select

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
_SUMMED = (BillRunItem.total, BillRunItem.amount_due, BillRunItem.total_before)


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


def counts_of(run: BillRun) -> dict[ItemState, int]:
    """How many organizations are in each state."""
    rows = db.session.execute(
        select(BillRunItem.state, func.count()).where(BillRunItem.bill_run_id == run.id).group_by(BillRunItem.state)
    )
    found = {row[0]: row[1] for row in rows}
    return {state: found.get(state, 0) for state in ItemState}


def sums_of(run: BillRun) -> list[CurrencySums]:
    """What the drafts and invoices of a run come to, those that are left out (skipped) apart."""
    total, due, before = (cast(func.coalesce(func.sum(column), 0), BigInteger) for column in _SUMMED)
    rows = db.session.execute(
        select(BillRunItem.currency, func.count(BillRunItem.total), total, due, before)
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state != ItemState.SKIPPED)
        .group_by(BillRunItem.currency)
        .order_by(BillRunItem.currency)
    )
    return [CurrencySums(*row) for row in rows]


def approved_sums(run: BillRun) -> list[tuple[str, int, int]]:
    """Of what is approved: currency, how many, and the sum of their totals."""
    rows = db.session.execute(
        select(BillRunItem.currency, func.count(), cast(func.sum(BillRunItem.total), BigInteger))
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.APPROVED)
        .group_by(BillRunItem.currency)
        .order_by(BillRunItem.currency)
    )
    return [(row[0], row[1], row[2]) for row in rows]


def sent_of(run: BillRun) -> list[Sent]:
    """How the final invoices of a run stand at Stripe."""
    is_void = Invoice.state == InvoiceState.VOID
    is_owed = ~is_void & (Invoice.amount_due > 0)
    is_synced = is_owed & (Invoice.sync_state == SyncState.SYNCED)

    def amount(condition: Any) -> Any:
        return cast(func.coalesce(func.sum(Invoice.amount_due).filter(condition), 0), BigInteger)

    rows = db.session.execute(
        select(
            Invoice.currency,
            func.count().filter(~is_void),
            amount(is_owed),
            func.count().filter(is_synced),
            amount(is_synced),
            func.count().filter(~is_void & (Invoice.amount_due == 0)),
            func.count().filter(is_void),
        )
        .join(BillRunItem, BillRunItem.invoice_id == Invoice.id)
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.FINALIZED)
        .group_by(Invoice.currency)
        .order_by(Invoice.currency)
    )
    return [Sent(*row) for row in rows]


def is_on_the_way(run: BillRun) -> bool:
    """Whether Stripe has yet to be heard of any of the run's invoices."""
    query = _final_invoices(run).where(Invoice.sync_state.in_(_ON_THE_WAY), Invoice.state == InvoiceState.FINALIZED)
    return db.session.scalar(query.limit(1)) is not None


def wrong_at_stripe(run: BillRun, *, limit: int | None = 50) -> Sequence[Invoice]:
    """The run's invoices that Stripe does not have as they are here, or nobody knows."""
    query = _final_invoices(run).where(Invoice.sync_state.in_(_AT_STRIPE_WRONG)).order_by(Invoice.id).limit(limit)
    return db.session.scalars(query).all()


def _final_invoices(run: BillRun) -> Any:
    return (
        select(Invoice)
        .join(BillRunItem, BillRunItem.invoice_id == Invoice.id)
        .where(BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.FINALIZED)
    )


def compared_with_stripe(run: BillRun) -> Report | None:
    """What is open of what comparing every invoice with Stripe's has found; None before that is done."""
    if run.reconciliation_id is None:
        return None
    compared = db.session.get_one(Reconciliation, run.reconciliation_id, populate_existing=True)
    return report_of_reconciliation(compared) if compared.phase == Phase.DONE else None


def problems_of(run: BillRun) -> int:
    """How much of a run needs somebody: organizations that were left over, and invoices that Stripe has otherwise."""
    counts = counts_of(run)
    wrong = {invoice.id for invoice in wrong_at_stripe(run, limit=None)}
    compared = compared_with_stripe(run)
    differing = [row for row in compared.differences if row.invoice_id not in wrong] if compared else []
    return sum(counts[state] for state in NEEDS_SOMEBODY) + len(wrong) + len(differing)


def progress_of(run: BillRun, counts: dict[ItemState, int], *, now: datetime) -> Progress:
    """How far the run's stage is, by the rows."""
    whole = sum(counts.values()) - counts[ItemState.SKIPPED]
    left = {
        RunState.GENERATING: counts[ItemState.WAITING],
        RunState.FINALIZING: counts[ItemState.APPROVED] + counts[ItemState.SCHEDULED],
    }.get(run.stage, 0)
    if run.stage == RunState.SYNCING:
        sent = sent_of(run)
        whole = sum(each.invoices for each in sent)
        left = whole - sum(each.synced + each.settled for each in sent)
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
    counts = counts_of(run)
    return {
        "organizations": {state.value: count for state, count in counts.items() if count},
        "sums": [asdict(each) for each in sums_of(run)],
        "sent": [asdict(each) for each in sent_of(run)],
        "stripe": compared.sentence if compared else None,
        "problems": problems_of(run),
    }
