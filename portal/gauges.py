"""How the portal stands, in numbers for Prometheus, read from PostgreSQL at the moment of asking.

Each gauge is of the whole portal, so it is the same whichever process answers: over hosts take the maximum.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from portal.core.lifecycle import InvoiceState, SyncState
from portal.infra.db import db
from portal.infra.outbox_health import count_dead_jobs, open_work
from portal.infra.processes import processes
from portal.invoicing.models import Invoice
from portal.payments.breaker import standing
from portal.payments.drift_models import DriftState
from portal.payments.drift_queries import counts_by_drift_state
from portal.usage.waiting_queries import count_waiting

_AWAY = (SyncState.PENDING, SyncState.UNKNOWN, SyncState.MISMATCH, SyncState.DEAD)
_NOT_LATE, _SECOND = timedelta(0), timedelta(seconds=1)
_KINDS_OF_PROCESSES = ("worker", "clock")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number by its labels; `says` is the help of its family."""

    name: str
    says: str
    labels: tuple[tuple[str, str], ...]
    value: int


def gauges(*, now: datetime) -> Iterator[Gauge]:
    """All gauges of the portal, family by family, in a fixed number of statements."""
    waiting = open_work()
    for work in waiting:
        yield Gauge("portal_jobs_open", "Jobs that are not done.", (("kind", work.kind),), work.jobs)
    for work in waiting:
        late = max(now - work.due_at, _NOT_LATE) // _SECOND
        says = "For how long the first of them has been due."
        yield Gauge("portal_jobs_late_seconds", says, (("kind", work.kind),), late)
    yield Gauge("portal_jobs_dead", "Jobs that were given up and wait for somebody.", (), count_dead_jobs())
    alive = [each.kind for each, is_alive in processes(now=now) if is_alive]
    for kind in _KINDS_OF_PROCESSES:
        yield Gauge("portal_processes_alive", "Processes heard of lately.", (("kind", kind),), alive.count(kind))
    yield Gauge("portal_stripe_away", "1 while Stripe does not answer.", (), int(standing() is not None))
    away = _invoices_away()
    for state in _AWAY:
        says = "Final invoices that Stripe does not have as they are here."
        yield Gauge("portal_invoices_away", says, (("sync_state", state.value),), away.get(state, 0))
    differences = counts_by_drift_state().get(DriftState.OPEN, 0)
    yield Gauge("portal_differences_open", "Differences from Stripe that nobody has settled.", (), differences)
    yield Gauge("portal_events_waiting", "Events that wait for a meter.", (), count_waiting())


def written(found: Iterable[Gauge]) -> str:
    """Gauges in Prometheus' text format."""
    lines, family = [], ""
    for gauge in found:
        if gauge.name != family:
            family = gauge.name
            lines += [f"# HELP {family} {gauge.says}", f"# TYPE {family} gauge"]
        labels = ",".join(f'{name}="{value}"' for name, value in gauge.labels)
        lines.append(f"{family}{{{labels}}} {gauge.value}" if labels else f"{family} {gauge.value}")
    return "\n".join([*lines, ""])


def _invoices_away() -> dict[SyncState, int]:
    rows = db.session.execute(
        select(Invoice.sync_state, func.count())
        .where(Invoice.state == InvoiceState.FINALIZED, Invoice.sync_state.in_(_AWAY))
        .group_by(Invoice.sync_state)
    )
    return {SyncState(row[0]): row[1] for row in rows}
