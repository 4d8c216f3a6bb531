"""Comparing budgets with what months come to, and warning: once for each threshold and month, however figures move.

Driven by the state of the database: a budget is looked at again when usage, a one-off item or a forecast of its
organization is younger than the last look. So a warning comes within a minute of the usage, and after a pause of the
clock what was missed is warned of once.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import joinedload

from portal.budgets.keeping import budgets_of, watched_by
from portal.budgets.models import Budget, BudgetWarning, Reached
from portal.budgets.spending import spent_in
from portal.core.errors import PortalError
from portal.core.periods import Month
from portal.forecasting.models import Forecast
from portal.infra.db import db, transaction
from portal.infra.formats import money, month_name
from portal.infra.languages import _, speaking, told
from portal.mailing.models import MailKind
from portal.mailing.writing import settings_now, write_about
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.webhooks.models import EventType
from portal.webhooks.telling import Event, tell

MOST_AT_ONCE = 500
WHOLE = 100
log = logging.getLogger(__name__)
# What was stored in a transaction that was open during the last look has an earlier moment than that look.
_MOVED = text("""
    SELECT DISTINCT b.organization_id
    FROM budgets AS b
    WHERE b.removed_at IS NULL AND (
        b.looked_at IS NULL OR b.looked_at < :month_start
        OR EXISTS (SELECT FROM usage_daily AS u WHERE u.organization_id = b.organization_id AND u.day >= :month
                   AND u.updated_at > b.looked_at - interval '1 minute')
        OR EXISTS (SELECT FROM forecasts AS f WHERE f.organization_id = b.organization_id AND f.month = :month
                   AND f.made_at > b.looked_at - interval '1 minute')
        OR EXISTS (SELECT FROM one_off_items AS i WHERE i.organization_id = b.organization_id
                   AND i.created_at > b.looked_at - interval '1 minute'))
    LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the month has come to of one budget, and what all of it is expected to come to; in minor units."""

    spent: int
    expected: int | None


def watch_by_clock(*, now: datetime) -> int:
    """Look at all budgets whose figures may have moved; returns of how many organizations. Idempotent.

    One that cannot be looked at is a line of the log, and does not stop the others.
    """
    month = Month.of(now.astimezone(UTC))
    values = {"month": month.first_day, "month_start": month.start, "most": MOST_AT_ONCE}
    with transaction():
        moved = db.session.scalars(_MOVED, values).all()
    for organization_id in moved:
        try:
            with transaction():
                look(organization_by_id(organization_id), now=now)
        except (PortalError, SQLAlchemyError) as error:
            log.warning(
                "a budget was not looked at", extra={"organization_id": organization_id, "error": type(error).__name__}
            )
    return len(moved)


def look(organization: Organization, *, now: datetime) -> int:
    """Warn of what this month has newly passed, in the current transaction; returns of how many budgets. Idempotent."""
    month = Month.of(now.astimezone(UTC))
    budgets = budgets_of(organization.id)
    figures = figures_of(organization, month, budgets)
    warned = 0
    for budget in budgets:
        budget.looked_at = now
        of_budget = figures[budget.id]
        spent = _newly_passed(budget, month, Reached.SPENT, of_budget.spent, now=now)
        ahead = _newly_passed(budget, month, Reached.EXPECTED, of_budget.expected, now=now)
        _tell(budget, month, Reached.SPENT, spent)
        _tell(budget, month, Reached.EXPECTED, ahead)
        with speaking(organization.language):
            if spent:
                _write(organization, budget, month, Reached.SPENT, max(spent), of_budget, now=now)
            elif ahead:
                _write(organization, budget, month, Reached.EXPECTED, max(ahead), of_budget, now=now)
        warned += bool(spent or ahead)
    return warned


def figures_of(organization: Organization, month: Month, budgets: Sequence[Budget]) -> Mapping[int, Figures]:
    """What a month has come to of each budget, by its id; what is expected is known of everything together only."""
    spent = spent_in(organization, month, {watched_by(each) for each in budgets})
    expected = db.session.scalar(
        select(Forecast.expected)
        .where(Forecast.organization_id == organization.id, Forecast.month == month.first_day)
        .order_by(Forecast.day.desc())
        .limit(1)
    )
    return {each.id: Figures(spent[watched_by(each)], None if each.by else expected) for each in budgets}


def _newly_passed(budget: Budget, month: Month, reached: Reached, figure: int | None, *, now: datetime) -> list[int]:
    """The thresholds that are passed and were not warned of this month; they are from now on.

    Of what is expected only those of the whole amount and above: to come to half of a budget is no news.
    """
    lowest = WHOLE if reached is Reached.EXPECTED else 0
    passed = [
        each
        for each in budget.thresholds
        if figure is not None and figure * 100 >= budget.amount * each and each >= lowest
    ]
    if not passed:
        return []
    rows = [
        {
            "budget_id": budget.id,
            "organization_id": budget.organization_id,
            "month": month.first_day,
            "reached": reached,
            "threshold": each,
            "amount": budget.amount,
            "figure": figure,
            "given_at": now,
        }
        for each in passed
    ]
    written = insert(BudgetWarning).values(rows).on_conflict_do_nothing().returning(BudgetWarning.threshold)
    return list(db.session.scalars(written))


def _tell(budget: Budget, month: Month, reached: Reached, thresholds: Sequence[int]) -> None:
    """Tell the programs of the organization of each threshold."""
    about = {"budget": str(budget.public_id), "month": str(month), "reached": reached.value}
    tell(
        [
            Event(
                budget.organization_id,
                EventType.BUDGET,
                f"{budget.id}:{month}:{reached}:{each}",
                {**about, "threshold": each},
            )
            for each in thresholds
        ]
    )


def _write(
    organization: Organization,
    budget: Budget,
    month: Month,
    reached: Reached,
    threshold: int,
    figures: Figures,
    *,
    now: datetime,
) -> None:
    currency, label = organization.currency, watched_by(budget).label
    amount, spent = money(budget.amount, currency), money(figures.spent, currency)
    values = {"month": month_name(month.first_day), "amount": amount}
    if reached is Reached.EXPECTED:
        assert figures.expected is not None
        expected = money(figures.expected, currency)
        subject = _(
            "%(month)s is expected to come to %(expected)s, above the budget of %(amount)s", **values, expected=expected
        )
    elif budget.by is None:
        subject = _(
            "%(percent)s%% of the %(month)s budget used (%(spent)s of %(amount)s)",
            **values,
            percent=threshold,
            spent=spent,
        )
    else:
        subject = _(
            "%(percent)s%% of the %(month)s budget of %(label)s used (%(spent)s of %(amount)s)",
            **values,
            percent=threshold,
            label=label,
            spent=spent,
        )
    write_about(
        MailKind.BUDGET,
        organization,
        subject,
        key=f"budget:{budget.id}:{month}:{reached}:{threshold}",
        now=now,
        sentence=f"{subject[0].upper()}{subject[1:]}.",
        organization=organization.name,
        budget=told(label),
        amount=amount,
        spent=spent,
        expected=money(figures.expected, currency) if figures.expected is not None else "",
        page_url=f"{settings_now().portal_url}/budgets",
        draft_url=f"{settings_now().portal_url}/invoices/draft",
    )


def warnings_of(organization_id: int, *, limit: int) -> list[BudgetWarning]:
    """The latest warnings, newest first."""
    return list(
        db.session.scalars(
            select(BudgetWarning)
            .options(joinedload(BudgetWarning.budget))
            .where(BudgetWarning.organization_id == organization_id)
            .order_by(BudgetWarning.given_at.desc(), BudgetWarning.budget_id, BudgetWarning.threshold.desc())
            .limit(limit)
        )
    )
