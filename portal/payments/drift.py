"""The list of differences: noted once, closed by themselves, decided by people; and what they hold back.

A row stands for one field of one invoice. It stays while the difference is seen again, is closed when it is not, and
asks again when what was accepted or ignored has changed since.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert

from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.infra import audit
from portal.infra.db import db
from portal.infra.ids import uuid7
from portal.invoicing.models import Invoice
from portal.payments.breaker import Parked
from portal.payments.comparing import Difference
from portal.payments.drift_models import Drift, DriftState, Field

LONGEST_REASON = 500
# What nobody has decided on yet.
UNDECIDED = (DriftState.OPEN, DriftState.PUSHED)
_HELD_SECONDS = 60


def note(found: Sequence[Difference], *, now: datetime) -> None:
    """Write down what was seen in the run that started at `now`, in the current transaction. Idempotent."""
    if not found:
        return
    alive = _alive(
        or_(
            Drift.invoice_id.in_({each.invoice_id for each in found}),
            Drift.stripe_id.in_({each.stripe_id for each in found}),
        )
    )
    by_key = {(row.invoice_id, row.stripe_id, row.field): row for row in alive}
    for each in found:
        row = by_key.get((each.invoice_id, each.stripe_id, each.field))
        if row is None:
            _open(each, now)
        elif (row.ours, row.theirs) == (each.ours, each.theirs):
            row.last_seen = max(row.last_seen, now)
            if row.state == DriftState.PUSHED and row.decided_at is not None and row.decided_at < now:
                _move(row, DriftState.OPEN, "What was pushed has not helped: the difference is still there.")
        elif row.state in UNDECIDED or row.field == Field.UNMANAGED:
            # What is not ours may move as it likes.
            row.ours, row.theirs = each.ours, each.theirs
            row.amount, row.currency, row.last_seen = each.amount, each.currency, max(row.last_seen, now)
        else:
            # What somebody decided on is not what is there now.
            _move(row, DriftState.GONE, "It has become another difference.")
            db.session.flush()
            _open(each, now)


def close(which: ColumnElement[bool], *, now: datetime) -> int:
    """Close what the run that started at `now` should have seen and did not, in the current transaction."""
    unseen = _alive(which, Drift.last_seen < now)
    for row in unseen:
        _move(row, DriftState.GONE, "The two sides agree, or the invoice is gone.")
    return len(unseen)


def keep(invoice_ids: Iterable[int], *, now: datetime) -> None:
    """Let the differences of invoices that are on their way stand until they have arrived."""
    for row in _alive(Drift.invoice_id.in_(list(invoice_ids))):
        row.last_seen = max(row.last_seen, now)


def decide(public_id: UUID, state: DriftState, *, reason: str, by: str, now: datetime) -> Drift:
    """Accept or ignore a difference, for a reason, in the current transaction; what it held back goes on.

    Raises InvalidInput without a reason, NotFound, and InvalidTransition for a difference that is gone.
    """
    assert state in (DriftState.ACCEPTED, DriftState.IGNORED), state
    if not reason.strip():
        raise InvalidInput("Say why; the reason is kept with the difference and in the audit log.", field="reason")
    if len(reason.strip()) > LONGEST_REASON:
        raise InvalidInput(f"A reason has at most {LONGEST_REASON} characters.", field="reason")
    row = lock_difference(public_id)
    _move(row, state, reason.strip())
    row.decided_by, row.decided_at = by, now
    return row


def mark_pushed(public_id: UUID, *, by: str, now: datetime) -> Drift:
    """Note that something was done about a difference, in the current transaction; the next run says if it helped."""
    row = lock_difference(public_id)
    _move(row, DriftState.PUSHED, None)
    row.decided_by, row.decided_at = by, now
    return row


def lock_difference(public_id: UUID) -> Drift:
    """A difference, locked until the transaction ends. Raises NotFound, and InvalidTransition if it is gone."""
    row: Drift | None = db.session.scalar(
        select(Drift).where(Drift.public_id == public_id).with_for_update().execution_options(populate_existing=True)
    )
    if row is None:
        raise NotFound("There is no such difference.")
    if row.state == DriftState.GONE:
        raise InvalidTransition("The difference is gone by itself; there is nothing left to decide.")
    return row


def require_all_adopted(invoice: Invoice) -> None:
    """Raise Parked while Stripe has an invoice of the same organization that we have forgotten and nobody decided on.

    Making a new one then could bill somebody twice. What has been made at Stripe already may go on.
    """
    if invoice.stripe_id is not None:
        return
    forgotten = db.session.scalar(
        select(Drift.stripe_id)
        .where(
            Drift.organization_id == invoice.organization_id, Drift.field == Field.UNADOPTED, Drift.state.in_(UNDECIDED)
        )
        .limit(1)
    )
    if forgotten is not None:
        raise Parked(
            f"Stripe has an invoice of this organization that the portal does not know ({forgotten})."
            " Nothing new is sent until somebody has decided on it, under Sync › Differences.",
            seconds=_HELD_SECONDS,
        )


def _alive(*which: ColumnElement[bool]) -> list[Drift]:
    """Rows that are not gone, locked in the order of their ids."""
    query = (
        select(Drift)
        .where(Drift.state != DriftState.GONE, *which)
        .order_by(Drift.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return list(db.session.scalars(query))


def _open(found: Difference, now: datetime) -> None:
    values = {name: getattr(found, name) for name in found.__slots__}
    statement = insert(Drift).values(**values, public_id=uuid7(), seen_since=now, last_seen=now)
    made = db.session.execute(
        # Two runs at once see the same: one row, that both have seen.
        statement.on_conflict_do_update(
            index_elements=[Drift.invoice_id, Drift.stripe_id, Drift.field],
            # Spelled as in the index: a prepared statement could not tell from a parameter.
            index_where=text("state <> 'gone'"),
            set_={"last_seen": func.greatest(Drift.last_seen, statement.excluded.last_seen)},
        ).returning(Drift.id, Drift.seen_since)
    ).one()
    if made.seen_since == now:
        after = {"field": found.field, "ours": found.ours, "theirs": found.theirs}
        _record("difference found", made.id, found.organization_id, after=after)


def _move(row: Drift, state: DriftState, reason: str | None) -> None:
    _record(
        f"difference {state.value}" if state != DriftState.OPEN else "difference found again",
        row.id,
        row.organization_id,
        before={"state": row.state},
        after={"state": state.value, "field": row.field, "stripe_id": row.stripe_id},
        reason=reason,
    )
    row.state = state
    if reason is not None and state != DriftState.GONE:
        row.reason = reason


def _record(action: str, drift_id: int, organization_id: int | None, **more: object) -> None:
    audit.record(action, subject="drift", subject_id=drift_id, organization_id=organization_id, **more)  # type: ignore[arg-type]
