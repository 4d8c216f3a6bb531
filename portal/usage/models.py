"""Tables of what was used. Wide columns first; one index a table; no foreign keys (see the charter)."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Date, Integer

from portal.infra.db import Model, Quantity

# NaN compares as larger than everything in PostgreSQL, so one check refuses it and infinity.
_FINITE = "quantity < 'Infinity' AND quantity > '-Infinity'"


class UsageEvent(Model):
    """One report of usage, as it was sent."""

    __tablename__ = "usage_events"
    __table_args__ = (
        CheckConstraint(_FINITE, name="quantity_finite"),
        CheckConstraint("quantity >= 0 OR correction", name="negative_only_as_correction"),
        Index("ix_usage_events_occurred_at", "occurred_at", postgresql_using="brin"),
    )

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_key: Mapped[UUID] = mapped_column(primary_key=True)
    meter_id: Mapped[int]
    series_id: Mapped[int]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    correction: Mapped[bool]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    event_id: Mapped[str]
    source: Mapped[str]
    properties: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class UsageSeries(Model):
    """A meter and the values of its declared dimensions, under a 64-bit content hash."""

    __tablename__ = "usage_series"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    meter_id: Mapped[int]
    dimensions: Mapped[dict[str, str]] = mapped_column(JSONB)


class LateMonth(Model):
    """A month of an organization for which usage came after the month was over: where somebody has to look again."""

    __tablename__ = "late_months"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)


class UsageDaily(Model):
    """The sum of one series on one UTC day: what is billed."""

    __tablename__ = "usage_daily"
    __table_args__ = (CheckConstraint(_FINITE, name="quantity_finite"),)

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    meter_id: Mapped[int]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    events: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime]
