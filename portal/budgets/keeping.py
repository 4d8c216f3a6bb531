"""Setting and removing budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from portal.budgets.models import Budget
from portal.core.errors import InvalidInput, NotFound
from portal.core.money import LARGEST_AMOUNT, major_text
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization

USUAL_THRESHOLDS = (50, 80, 100)
LARGEST_THRESHOLD, MOST_THRESHOLDS, MOST_BUDGETS = 500, 5, 50


@dataclass(frozen=True, slots=True)
class Watched:
    """What a budget is of: everything, or one value of what costs can be asked by ("meter", or a dimension)."""

    by: str | None = None
    value: str | None = None

    @property
    def label(self) -> str:
        """For people."""
        return Said("Everything") if self.by is None else f"{self.by}: {self.value}"


def set_budget(
    organization: Organization, watched: Watched, *, amount: int, thresholds: Sequence[int], now: datetime
) -> Budget:
    """Say what a month may cost, in minor units; from now on, in this month too. Audited.

    Raises InvalidInput for what is no budget, and if there is one of the same.
    """
    _check(organization, amount, thresholds)
    if len(budgets_of(organization.id)) >= MOST_BUDGETS:
        raise InvalidInput(Said("There are %(most)s budgets already; remove one first.", most=MOST_BUDGETS))
    budget = Budget(
        organization_id=organization.id,
        by=watched.by,
        value=watched.value,
        amount=amount,
        thresholds=sorted(set(thresholds)),
        created_at=now,
    )
    try:
        with db.session.begin_nested():
            db.session.add(budget)
    except IntegrityError:
        raise InvalidInput(
            Said("There is a budget of “%(label)s” already; remove it first.", label=watched.label), field="watched"
        ) from None
    audit.record(
        "set a budget",
        subject="budget",
        subject_id=budget.id,
        organization_id=organization.id,
        after={"of": watched.label, "amount": amount, "thresholds": budget.thresholds},
    )
    return budget


def _check(organization: Organization, amount: int, thresholds: Sequence[int]) -> None:
    if not 0 < amount <= LARGEST_AMOUNT:
        largest = major_text(LARGEST_AMOUNT, organization.currency)
        raise InvalidInput(
            Said("A budget is more than nothing and at most %(largest)s.", largest=largest), field="amount"
        )
    if not 1 <= len(set(thresholds)) <= MOST_THRESHOLDS:
        raise InvalidInput(
            Said("A budget warns at 1 to %(most)s different percentages.", most=MOST_THRESHOLDS), field="thresholds"
        )
    if not all(1 <= each <= LARGEST_THRESHOLD for each in thresholds):
        raise InvalidInput(
            Said("A budget warns at whole percentages from 1 to %(largest)s.", largest=LARGEST_THRESHOLD),
            field="thresholds",
        )


def remove_budget(public_id: UUID, *, now: datetime) -> Budget:
    """Warn no more. What it has warned of stays. Idempotent. Raises NotFound. Audited."""
    budget = db.session.scalars(select(Budget).where(Budget.public_id == public_id).with_for_update()).one_or_none()
    if budget is None:
        raise NotFound("There is no such budget.")
    if budget.removed_at is None:
        budget.removed_at = now
        audit.record("removed a budget", subject="budget", subject_id=budget.id, organization_id=budget.organization_id)
    return budget


def budgets_of(organization_id: int) -> list[Budget]:
    """The budgets of an organization, that of everything first."""
    return list(
        db.session.scalars(
            select(Budget)
            .where(Budget.organization_id == organization_id, Budget.removed_at.is_(None))
            .order_by(Budget.by.nulls_first(), Budget.value)
        )
    )


def watched_by(budget: Budget) -> Watched:
    """What a budget is of."""
    return Watched(budget.by, budget.value)
