"""Tables of what is sold at which price."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Text

from portal.infra.db import Model, Public
from portal.organizations.models import Organization


class Meter(Public, Model):
    """Something that is measured. Only its declared dimensions (at most 8) tell series apart and can be priced by."""

    __tablename__ = "meters"
    __table_args__ = (CheckConstraint("cardinality(dimensions) <= 8", name="at_most_8_dimensions"),)

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    product: Mapped[str]
    unit: Mapped[str]
    dimensions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Plan(Public, Model):
    """Something that is paid by the month, in advance: a support plan, a dedicated address."""

    __tablename__ = "plans"

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    unit: Mapped[str]
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Price(Public, Model):
    """A place in the price list: a meter (where its dimensions match) or a plan, in one currency.

    With an organization it is that organization's own price and goes before the list's.
    """

    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("(meter_id IS NULL) <> (plan_id IS NULL)", name="of_a_meter_or_a_plan"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso"),
        Index(
            "uq_prices_place",
            "meter_id",
            "plan_id",
            "currency",
            "organization_id",
            "match",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_prices_organization_id", "organization_id"),
    )

    meter_id: Mapped[int | None] = mapped_column(ForeignKey("meters.id"))
    plan_id: Mapped[int | None] = mapped_column(ForeignKey("plans.id"))
    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    currency: Mapped[str]
    match: Mapped[dict[str, str]] = mapped_column(JSONB)
    name: Mapped[str]
    archived_at: Mapped[datetime | None]

    versions: Mapped[list["PriceVersion"]] = relationship(back_populates="price", order_by="PriceVersion.valid_from")


class PriceVersion(Public, Model):
    """The terms of a price from a day on. Rows are added, never changed."""

    __tablename__ = "price_versions"
    __table_args__ = (UniqueConstraint("price_id", "valid_from"),)

    price_id: Mapped[int] = mapped_column(ForeignKey("prices.id"))
    valid_from: Mapped[date] = mapped_column(Date)
    terms: Mapped[dict[str, Any]] = mapped_column(JSONB)
    note: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    price: Mapped[Price] = relationship(back_populates="versions")


class Subscription(Public, Model):
    """An organization's plan, from a moment on; `ended_at` is when its last period ends."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index("ix_subscriptions_organization_id", "organization_id"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
        CheckConstraint("ended_at IS NULL OR ended_at > started_at", name="ends_after_start"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id"))
    quantity: Mapped[int] = mapped_column(server_default=text("1"))
    label: Mapped[str | None]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()
    plan: Mapped[Plan] = relationship()
