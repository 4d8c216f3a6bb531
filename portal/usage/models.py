"""Tables of what was used. Wide columns first; one index a table; no foreign keys (see the charter)."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, text, true
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
        Index("ix_usage_events_recorded_at", "recorded_at", postgresql_using="brin"),
        Index(
            "uq_usage_events_organization_id_corrects",
            "organization_id",
            "corrects",
            unique=True,
            postgresql_where=text("corrects IS NOT NULL"),
        ),
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
    # False of a cancellation, which only takes another event out.
    counts: Mapped[bool] = mapped_column(server_default=true())
    # The key of the event that this one amends or cancels; that one counts no more.
    corrects: Mapped[UUID | None]


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
    """What one series came to on one UTC day, by the day on which it was heard of: what is billed.

    Quantities of whatever aggregation add up, over days, series and days of hearing: of a month's largest value, the
    day has the rise. A level is in level × seconds.
    """

    __tablename__ = "usage_daily"
    __table_args__ = (CheckConstraint(_FINITE, name="quantity_finite"),)

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    recorded_day: Mapped[date] = mapped_column(Date, primary_key=True)
    meter_id: Mapped[int]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    events: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime]


class UsageReading(Model):
    """The largest, or the latest, value that a series has reported on a day."""

    __tablename__ = "usage_readings"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    occurred_at: Mapped[datetime]
    quantity: Mapped[Decimal] = mapped_column(Quantity)


class UsageSubject(Model):
    """Somebody or something that a series has counted in a month, and the first day with it."""

    __tablename__ = "usage_subjects"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    subject: Mapped[UUID] = mapped_column(primary_key=True)
    first_day: Mapped[date]


class UsageChange(Model):
    """A level that a series has had from a moment on. Of two at one moment the one with the larger key holds."""

    __tablename__ = "usage_changes"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    occurred_at: Mapped[datetime] = mapped_column(primary_key=True)
    event_key: Mapped[UUID] = mapped_column(primary_key=True)
    level: Mapped[Decimal] = mapped_column(Quantity)


class UsageLevel(Model):
    """The level that a series has had last, and the day up to which it is counted in its daily rollups."""

    __tablename__ = "usage_levels"
    __table_args__ = (Index("ix_usage_levels_counted_until", "counted_until", postgresql_where=text("level <> 0")),)

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    meter_id: Mapped[int]
    level: Mapped[Decimal] = mapped_column(Quantity)
    counted_until: Mapped[date]
