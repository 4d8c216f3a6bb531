"""Reads of differences and of the runs that found them."""

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import contains_eager, joinedload

from portal.core.errors import NotFound
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.payments.drift import UNDECIDED
from portal.payments.drift_models import Drift, DriftState, Field, Phase, Reconciliation
from portal.payments.stripe_units import stripe_text


@dataclass(frozen=True, slots=True)
class Report:
    """What is open of what one run saw. `amount` is how much money it is about: "0.00", or a sum per currency."""

    differences: tuple[Drift, ...]
    unmanaged: int
    amount: str

    @property
    def sentence(self) -> str:
        """The result in a few words: "0 differences, 0.00"."""
        count = len(self.differences)
        return f"{count} {'difference' if count == 1 else 'differences'}, {self.amount}"


def report_of(run: Reconciliation) -> Report:
    """What of the differences that a run saw is still open, invoices that are not ours apart."""
    query = _with_names().where(Drift.last_seen >= run.started_at, Drift.state.in_(UNDECIDED)).order_by(Drift.id)
    found = list(db.session.scalars(query))
    ours = tuple(row for row in found if row.field != Field.UNMANAGED)
    return Report(ours, unmanaged=len(found) - len(ours), amount=amount_of(ours))


def amount_of(rows: tuple[Drift, ...]) -> str:
    """How much money differences are about: a sum per currency, the largest field of every invoice once."""
    largest: dict[tuple[int | None, str | None, str], int] = {}
    for row in rows:
        if row.currency is not None and row.amount:
            key = (row.invoice_id, row.stripe_id, row.currency)
            largest[key] = max(largest.get(key, 0), row.amount)
    sums: Counter[str] = Counter()
    for (_, _, currency), amount in largest.items():
        sums[currency] += amount
    return " + ".join(stripe_text(sums[currency], currency) for currency in sorted(sums)) or "0.00"


def list_drift(*, state: DriftState | None = None, before: int | None = None, limit: int = 50) -> list[Drift]:
    """One page of differences, the latest first; without a state those that are alive."""
    query = _with_names().order_by(Drift.id.desc()).limit(limit)
    query = query.where(Drift.state == state) if state else query.where(Drift.state != DriftState.GONE)
    if before is not None:
        query = query.where(Drift.id < before)
    return list(db.session.scalars(query))


def drift_of(public_id: UUID) -> Drift:
    """One difference with its invoice and organization. Raises NotFound."""
    found: Drift | None = db.session.scalar(_with_names().where(Drift.public_id == public_id))
    if found is None:
        raise NotFound("There is no such difference.")
    return found


def counts_by_drift_state() -> dict[str, int]:
    """How many differences there are in each state."""
    return {row[0]: row[1] for row in db.session.execute(select(Drift.state, func.count()).group_by(Drift.state))}


def last_run() -> Reconciliation | None:
    """The run that was finished last."""
    query = select(Reconciliation).where(Reconciliation.phase == Phase.DONE)
    return db.session.scalar(query.order_by(Reconciliation.finished_at.desc()).limit(1))


def _with_names() -> Select[Drift]:
    return (
        select(Drift)
        .outerjoin(Drift.invoice)
        .options(contains_eager(Drift.invoice).defer(Invoice.document), joinedload(Drift.organization))
    )
