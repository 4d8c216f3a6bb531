"""Deciding about items: approve, hold, or have them computed again; one or many, each checked again on its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select

from portal.bill_runs.models import AT_WORK, BillRun, BillRunItem, ItemState, RunState
from portal.bill_runs.steps import locked_run_of, record
from portal.bill_runs.work import move, ring
from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization

LONGEST_REASON = 500
MOST_AT_ONCE = 1_000
_UNDECIDED = (ItemState.GENERATED, ItemState.HELD, ItemState.APPROVED)


@dataclass(slots=True)
class Decided:
    """What became of a decision: how many it was taken for, and why not for others (organization and sentence)."""

    done: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def approve(public_id: UUID, seen: Mapping[UUID, str], *, by: str, now: datetime) -> Decided:
    """Approve these organizations' drafts, each as its fingerprint was seen; if that has changed, look again."""
    run, items = _items(public_id, seen)
    decided = Decided()
    for item in items:
        fingerprint = seen[item.organization.public_id]
        if item.state not in _UNDECIDED:
            decided.refused.append((item.organization.name, f"It is {item.state}."))
        elif item.is_blocked:
            decided.refused.append((item.organization.name, "It cannot be finalized as it stands."))
        elif fingerprint != item.fingerprint:
            decided.refused.append((item.organization.name, "Its draft has changed since you looked. Look again."))
        else:
            item.decided_by, item.decided_at = by, now
            move(item, ItemState.APPROVED)
            decided.done += 1
    _write_down(run, "approved drafts of bill run", items, decided, now)
    return decided


def hold(
    public_id: UUID, seen: Mapping[UUID, str], *, reason: str, by: str, now: datetime, until: date | None = None
) -> Decided:
    """Keep these organizations out of what is finalized, until somebody approves them.

    From the day `until` on, UTC, they are in review again. Raises InvalidInput, also for a day that is not to come.
    """
    reason = reason.strip()
    if until is not None and until <= now.date():
        raise InvalidInput("Hold until a day to come, or leave the day empty.", field="until")
    if not 0 < len(reason) <= LONGEST_REASON:
        raise InvalidInput(f"Say in up to {LONGEST_REASON} characters why they are held.", field="reason")
    run, items = _items(public_id, seen)
    decided = Decided()
    for item in items:
        if item.state not in _UNDECIDED:
            decided.refused.append((item.organization.name, f"It is {item.state}."))
            continue
        item.decided_by, item.decided_at = by, now
        move(item, ItemState.HELD, reason=reason)
        item.held_until = until
        decided.done += 1
    _write_down(run, "held drafts of bill run", items, decided, now)
    return decided


def compute_again(public_id: UUID, seen: Mapping[UUID, str], *, now: datetime) -> Decided:
    """Compute these organizations' drafts anew: what failed, or has changed since. Approvals of them end."""
    run, items = _items(public_id, seen)
    decided = Decided()
    for item in items:
        if item.state not in (*_UNDECIDED, ItemState.FAILED):
            decided.refused.append((item.organization.name, f"It is {item.state}."))
            continue
        item.decided_by = item.decided_at = None
        move(item, ItemState.WAITING)
        decided.done += 1
    _write_down(run, "computed drafts of bill run again", items, decided, now)
    return decided


def put_back(public_id: UUID, seen: Mapping[UUID, str], *, now: datetime) -> Decided:
    """Undo: what was approved or held is looked at again."""
    run, items = _items(public_id, seen)
    decided = Decided()
    for item in items:
        if item.state not in (ItemState.APPROVED, ItemState.HELD):
            decided.refused.append((item.organization.name, f"It is {item.state}."))
            continue
        item.decided_by = item.decided_at = None
        move(item, ItemState.GENERATED)
        decided.done += 1
    _write_down(run, "put drafts back into review of bill run", items, decided, now)
    return decided


def release_held(run: BillRun, *, now: datetime) -> None:
    """Put what was held until today or an earlier day, UTC, back into review, in a locked run. Idempotent."""
    items = db.session.scalars(
        select(BillRunItem)
        .where(
            BillRunItem.bill_run_id == run.id, BillRunItem.state == ItemState.HELD, BillRunItem.held_until <= now.date()
        )
        .order_by(BillRunItem.organization_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    for item in items:
        item.decided_by = item.decided_at = None
        move(item, ItemState.GENERATED, reason=f"It was held until {item.held_until:%-d %B %Y}: {item.reason}")
    if items:
        among = [item.organization_id for item in items]
        record(run, "put back what was held until today in bill run", after={"among": among})


def assign(public_id: UUID, seen: Mapping[UUID, str], *, to: str | None, now: datetime) -> Decided:
    """Say who looks at these organizations' drafts; None for nobody. It changes nothing else."""
    run, items = _items(public_id, seen)
    for item in items:
        item.assigned_to = to
    decided = Decided(done=len(items))
    _write_down(run, f"assigned drafts of bill run to {to or 'nobody'}", items, decided, now)
    return decided


def comment(public_id: UUID, seen: Mapping[UUID, str], *, text: str) -> Decided:
    """Keep a remark on these organizations' drafts in their invoices' history. Raises InvalidInput."""
    text = text.strip()
    if not 0 < len(text) <= LONGEST_REASON:
        raise InvalidInput(f"Write a comment of up to {LONGEST_REASON} characters.", field="reason")
    _, items = _items(public_id, seen)
    decided = Decided()
    for item in items:
        if item.invoice_id is None:
            decided.refused.append((item.organization.name, "It has no draft yet."))
            continue
        # Staff's own words: not in the organization's log.
        audit.record(
            "commented on the draft", subject="invoice", subject_id=item.invoice_id, organization_id=None, reason=text
        )
        decided.done += 1
    return decided


def _items(public_id: UUID, seen: Mapping[UUID, str]) -> tuple[BillRun, list[BillRunItem]]:
    """The run and these items of it, locked. Raises InvalidTransition while nothing can be decided."""
    if not seen:
        raise InvalidInput("Choose at least one organization.", field="item")
    if len(seen) > MOST_AT_ONCE:
        raise InvalidInput(f"Choose at most {MOST_AT_ONCE:,} organizations at once.", field="item")
    run = locked_run_of(public_id)
    if run.stage not in AT_WORK or run.state == RunState.CANCELLED or run.is_rehearsal:
        raise InvalidTransition(f"The run of {run.period} is {run.state}; nothing is decided in it.")
    query = (
        select(BillRunItem)
        .join(Organization, Organization.id == BillRunItem.organization_id)
        .where(BillRunItem.bill_run_id == run.id, Organization.public_id.in_(seen))
        .order_by(BillRunItem.organization_id)
        .with_for_update(of=BillRunItem)
        .execution_options(populate_existing=True)
    )
    return run, list(db.session.scalars(query))


def _write_down(run: BillRun, action: str, items: list[BillRunItem], decided: Decided, now: datetime) -> None:
    db.session.flush()
    if decided.done:
        record(run, action, after={"organizations": decided.done, "among": [item.organization_id for item in items]})
        ring(run, now=now)
