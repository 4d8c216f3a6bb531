"""Making forecasts: the same drafts as ever, of usage that has been carried on to the month's end."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import and_, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from portal.core.errors import PortalError
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.forecasting.models import Forecast
from portal.infra.db import db, transaction
from portal.invoicing.drafting import Draft, draft_again, draft_of
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.usage.projecting import projected
from portal.usage.silence import silent_sources

MADE_AGAIN_AFTER = timedelta(hours=1)
MOST_AT_ONCE = 100
# As many closed months tell how wrong forecasts are.
COMPARED_MONTHS = 6
log = logging.getLogger(__name__)


def forecast_of(
    organization: Organization,
    month: Month,
    *,
    today: date,
    factors: Mapping[str, Decimal] | None = None,
    invoice_id: int | None = None,
) -> Draft:
    """The draft that the month is expected to end with, seen from one of its days, at the month's own prices.

    `factors`: see `projected`. `invoice_id` is the invoice of a closed month, whose credits are then still its own.
    """
    return draft_of(organization, month, frozen_invoice_id=invoice_id, usage=projected(today, factors=factors))


def forecast_beside(
    organization: Organization, draft: Draft, *, today: date, factors: Mapping[str, Decimal] | None = None
) -> Draft:
    """The same for who has the month's draft already."""
    return draft_again(organization, draft, usage=projected(today, factors=factors))


def keep_forecast(organization_id: int, *, now: datetime) -> None:
    """Make today's forecast, and those of this day of closed months that lack one, and write them down. Idempotent.

    Beside today's stand the sources that are silent now.
    """
    organization, today = organization_by_id(organization_id), now.astimezone(UTC).date()
    for invoice_id, closed in _closed_months_without(organization_id, today):
        expected = forecast_of(organization, closed, today=same_day(closed, today), invoice_id=invoice_id)
        # What it had come to by then tells nothing any more.
        total = expected.statement.total
        _write(organization_id, same_day(closed, today), so_far=total, expected=total, now=now)
    month = Month.of(today)
    so_far = draft_of(organization, month)
    expected = forecast_beside(organization, so_far, today=today)
    silent = [
        {"source": each.source, "since": each.since.isoformat()} for each in silent_sources(organization_id, now=now)
    ]
    totals = {"so_far": so_far.statement.total, "expected": expected.statement.total}
    _write(organization_id, today, **totals, now=now, silent=silent)


def _write(
    organization_id: int,
    day: date,
    *,
    so_far: int,
    expected: int,
    now: datetime,
    silent: Sequence[Mapping[str, str]] = (),
) -> None:
    values = {"so_far": so_far, "expected": expected, "made_at": now, "silent": list(silent)}
    db.session.execute(
        insert(Forecast)
        .values(organization_id=organization_id, month=Month.of(day).first_day, day=day, **values)
        .on_conflict_do_update(index_elements=["organization_id", "month", "day"], set_=values)
    )


def _closed_months_without(organization_id: int, today: date) -> list[tuple[int, Month]]:
    """The latest closed months of which no forecast from this day of the month was kept, with their invoices."""
    closed = db.session.execute(
        select(Invoice.id, Invoice.period_start)
        .where(
            Invoice.organization_id == organization_id,
            Invoice.kind == "monthly",
            Invoice.state == InvoiceState.FINALIZED,
            Invoice.period_start < Month.of(today).first_day,
        )
        .order_by(Invoice.period_start.desc())
        .limit(COMPARED_MONTHS)
    ).all()
    kept = set(
        db.session.scalars(
            select(Forecast.day).where(
                Forecast.organization_id == organization_id, Forecast.month.in_([first for _, first in closed])
            )
        )
    )
    months = [(invoice_id, Month.of(first_day)) for invoice_id, first_day in closed]
    return [(invoice_id, month) for invoice_id, month in months if same_day(month, today) not in kept]


def same_day(month: Month, day: date) -> date:
    """The day with this number of another month, or that month's last one."""
    return month.first_day.replace(day=min(day.day, month.last_day.day))


def forecast_by_clock(*, now: datetime) -> int:
    """Make the forecasts that are an hour old, the oldest first, up to a hundred; returns how many. Idempotent.

    One that cannot be made is a line of the log, and does not stop the others.
    """
    today = now.astimezone(UTC).date()
    with transaction():
        due = db.session.scalars(
            select(Organization.id)
            .outerjoin(
                Forecast,
                and_(
                    Forecast.organization_id == Organization.id,
                    Forecast.month == Month.of(today).first_day,
                    Forecast.day == today,
                ),
            )
            .where(
                Organization.status == "active",
                or_(Forecast.made_at.is_(None), Forecast.made_at <= now - MADE_AGAIN_AFTER),
            )
            .order_by(func.coalesce(Forecast.made_at, datetime.min.replace(tzinfo=UTC)), Organization.id)
            .limit(MOST_AT_ONCE)
        ).all()
    made = 0
    for organization_id in due:
        try:
            with transaction():
                keep_forecast(organization_id, now=now)
            made += 1
        except (PortalError, SQLAlchemyError) as error:
            log.warning(
                "a forecast was not made", extra={"organization_id": organization_id, "error": type(error).__name__}
            )
    return made
