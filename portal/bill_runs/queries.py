"""Reads of runs and their items."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import or_, select, tuple_
from sqlalchemy.orm import contains_eager, joinedload, selectinload

from portal.bill_runs.models import AT_WORK, BillRun, BillRunItem, ItemState, RunKind
from portal.core.errors import NotFound
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which items of a run are asked for: in these states, with this reason, of this person; empty is all."""

    states: Collection[ItemState] = ()
    reason: str = ""
    assigned_to: str = ""


EVERYTHING = Wanted()


def list_runs(*, limit: int = 100) -> list[BillRun]:
    """Runs, the latest month first; rehearsals after the real one of their month."""
    return list(db.session.scalars(select(BillRun).order_by(BillRun.month.desc(), BillRun.kind).limit(limit)))


def run_of(public_id: UUID) -> BillRun:
    """The run with this public id, fresh from the database. Raises NotFound."""
    query = select(BillRun).where(BillRun.public_id == public_id).execution_options(populate_existing=True)
    run: BillRun | None = db.session.scalar(query)
    if run is None:
        raise NotFound("There is no such run.")
    return run


def run_of_month(month: Month, kind: RunKind = RunKind.MONTHLY) -> BillRun:
    """The run of a month. Raises NotFound."""
    query = select(BillRun).where(BillRun.month == month.first_day, BillRun.kind == kind)
    run: BillRun | None = db.session.scalar(query.execution_options(populate_existing=True))
    if run is None:
        raise NotFound(f"There is no run of {month}.")
    return run


def items_of(
    run: BillRun, wanted: Wanted = EVERYTHING, *, after: tuple[int, int] | None = None, limit: int | None = 50
) -> list[BillRunItem]:
    """One page of a run's items with their organizations, the highest score first; all of them without a limit.

    `after` is the score and the organization of the last item of the page before.
    """
    query = (
        select(BillRunItem)
        .join(BillRunItem.organization)
        .where(BillRunItem.bill_run_id == run.id)
        .options(
            contains_eager(BillRunItem.organization),
            joinedload(BillRunItem.invoice).load_only(Invoice.public_id, Invoice.number),
        )
        .order_by(BillRunItem.score.desc(), BillRunItem.organization_id)
        .limit(limit)
    )
    if wanted.states:
        query = query.where(BillRunItem.state.in_(wanted.states))
    if wanted.reason:
        query = query.where(BillRunItem.flags.contains([{"code": wanted.reason}]))
    if wanted.assigned_to:
        query = query.where(BillRunItem.assigned_to == wanted.assigned_to)
    if after is not None:
        query = query.where(tuple_(-BillRunItem.score, BillRunItem.organization_id) > (-after[0], after[1]))
    return list(db.session.scalars(query))


def item_of(run: BillRun, organization: UUID) -> BillRunItem:
    """One organization of a run, fresh from the database. Raises NotFound."""
    query = (
        select(BillRunItem)
        .join(BillRunItem.organization)
        .where(BillRunItem.bill_run_id == run.id, Organization.public_id == organization)
        .options(contains_eager(BillRunItem.organization), joinedload(BillRunItem.invoice))
        .execution_options(populate_existing=True)
    )
    item: BillRunItem | None = db.session.scalar(query)
    if item is None:
        raise NotFound("There is no such organization in the run.")
    return item


def run_in_review() -> BillRun | None:
    """The earliest month whose run is at work; None if there is none."""
    at_work = or_(BillRun.state.in_(AT_WORK), BillRun.paused_from.in_(AT_WORK))
    query = select(BillRun).where(BillRun.kind == RunKind.MONTHLY, at_work).order_by(BillRun.month).limit(1)
    run: BillRun | None = db.session.scalar(query)
    return run


def largest_of(run: BillRun, state: ItemState, *, limit: int = 5) -> list[BillRunItem]:
    """The items of a state with the largest totals in minor units, whatever their currency."""
    return list(
        db.session.scalars(
            select(BillRunItem)
            .where(BillRunItem.bill_run_id == run.id, BillRunItem.state == state)
            # Read for these few only: a join would come before the order.
            .options(selectinload(BillRunItem.organization))
            .order_by(BillRunItem.total.desc(), BillRunItem.organization_id)
            .limit(limit)
        )
    )
