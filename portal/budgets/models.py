"""Tables of budgets and of the warnings that they have given."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import BigInteger, Date, Integer, Text

from portal.infra.db import Model, Public
from portal.organizations.models import Organization


class Reached(StrEnum):
    """What a warning is about: the amount that was spent, or the amount that the month is expected to come to."""

    SPENT = "spent"
    EXPECTED = "expected"


class Budget(Public, Model):
    """What a month may cost, in minor units: everything, or what costs by `by` put under `value`.

    `thresholds` are percentages of the amount, in order. `looked_at` is when the figures were last compared with it.
    """

    __tablename__ = "budgets"
    __table_args__ = (
        CheckConstraint("amount > 0", name="amount_above_zero"),
        CheckConstraint("(by IS NULL) = (value IS NULL)", name="by_with_its_value"),
        CheckConstraint("cardinality(thresholds) BETWEEN 1 AND 5", name="some_thresholds"),
        Index(
            "uq_budgets_organization_id_by_value",
            "organization_id",
            text("coalesce(by, '')"),
            text("coalesce(value, '')"),
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    by: Mapped[str | None]
    value: Mapped[str | None]
    amount: Mapped[int]
    thresholds: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    looked_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()


class BudgetWarning(Model):
    """A threshold of a budget that a month has passed: at most one for each, whatever the figures do afterwards."""

    __tablename__ = "budget_warnings"
    __table_args__ = (
        CheckConstraint("reached IN ('spent', 'expected')", name="reached_known"),
        CheckConstraint("extract(day FROM month) = 1", name="month_is_its_first_day"),
        Index("ix_budget_warnings_organization_id_given_at", "organization_id", "given_at"),
    )

    budget_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("budgets.id"), primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    reached: Mapped[Reached] = mapped_column(Text, primary_key=True)
    threshold: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    # As they were then, in minor units.
    amount: Mapped[int]
    figure: Mapped[int]
    given_at: Mapped[datetime]

    budget: Mapped[Budget] = relationship()
