"""Tables of what is sold at which price, and to whom on which terms."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Integer, Numeric, Text

from portal.core.quantities import Aggregation, Counting
from portal.core.subscriptions import Interval
from portal.infra.db import Model, Public
from portal.organizations.models import Organization


class Product(Public, Model):
    """What meters and plans belong to ("Compute"): taxes and coupons can be bound to it."""

    __tablename__ = "products"

    name: Mapped[str] = mapped_column(unique=True)
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Meter(Public, Model):
    """Something that is measured. Only its declared dimensions (at most 8) tell series apart and can be priced by.

    A unique count counts the values of the property `subject`; a level is counted by the time it held: `per` hour,
    day or month (a month's mean).
    """

    __tablename__ = "meters"
    __table_args__ = (
        CheckConstraint("cardinality(dimensions) <= 8", name="at_most_8_dimensions"),
        CheckConstraint(
            "aggregation IN ('sum', 'count', 'max', 'latest', 'unique', 'level')", name="aggregation_known"
        ),
        CheckConstraint("(aggregation = 'unique') = (subject IS NOT NULL)", name="subject_of_unique"),
        CheckConstraint(
            "(aggregation = 'level') = (per IS NOT NULL) AND per IN ('hour', 'day', 'month')", name="per_of_level"
        ),
    )

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    unit: Mapped[str]
    aggregation: Mapped[Aggregation] = mapped_column(Text, server_default="sum", default=Aggregation.SUM)
    subject: Mapped[str | None]
    per: Mapped[str | None]
    dimensions: Mapped[list[str]] = mapped_column(ARRAY(Text))
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    product: Mapped[Product] = relationship()

    @property
    def counting(self) -> Counting:
        """How its reports become a quantity."""
        return Counting(Aggregation(self.aggregation), self.subject, self.per)


class Plan(Public, Model):
    """Something that is paid by the month or year, in advance: a support plan, a dedicated address, a reservation.

    A reservation's price grants a credit each month, for usage of the plan's `credit_meters` only.
    """

    __tablename__ = "plans"
    __table_args__ = (
        CheckConstraint("interval IN ('month', 'year')", name="interval_known"),
        CheckConstraint("trial_days >= 0", name="trial_not_negative"),
    )

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    unit: Mapped[str]
    interval: Mapped[Interval] = mapped_column(Text, server_default="month")
    trial_days: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    credit_meters: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    product: Mapped[Product] = relationship()


class Price(Public, Model):
    """A place in the price list: a meter (where its dimensions match) or a plan, in one currency.

    With an organization it is that organization's own price and goes before the list's. With `for_plan` it is a
    meter's price for those who subscribe to that plan, and goes before the list's too. An archived price applies no
    more from the day of its archiving; `off_sale` are the spans [from, until) of days of earlier archivings.
    """

    __tablename__ = "prices"
    __table_args__ = (
        CheckConstraint("(meter_id IS NULL) <> (plan_id IS NULL)", name="of_a_meter_or_a_plan"),
        ForeignKeyConstraint(["organization_id", "currency"], ["organizations.id", "organizations.currency"]),
        CheckConstraint("for_plan_id IS NULL OR meter_id IS NOT NULL", name="for_plan_is_of_a_meter"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_is_iso"),
        Index(
            "uq_prices_place",
            "meter_id",
            "plan_id",
            "currency",
            "organization_id",
            "for_plan_id",
            "match",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_prices_organization_id", "organization_id"),
    )

    meter_id: Mapped[int | None] = mapped_column(ForeignKey("meters.id"))
    plan_id: Mapped[int | None] = mapped_column(ForeignKey("plans.id"))
    organization_id: Mapped[int | None]
    for_plan_id: Mapped[int | None] = mapped_column(ForeignKey("plans.id"))
    currency: Mapped[str]
    match: Mapped[dict[str, str]] = mapped_column(JSONB)
    name: Mapped[str]
    archived_at: Mapped[datetime | None]
    off_sale: Mapped[list[list[str]]] = mapped_column(JSONB, server_default=text("'[]'"))

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
    """An organization's plan, from a moment on; `ended_at` is when it stops (or has stopped).

    Plan and quantity are those of the start; what came later are its changes. Periods are counted from `anchor_at`;
    nothing is charged before `trial_ends_at`.
    """

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
    anchor_at: Mapped[datetime]
    trial_ends_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()
    plan: Mapped[Plan] = relationship()
    changes: Mapped[list["SubscriptionChange"]] = relationship(
        order_by="SubscriptionChange.effective_at",
        primaryjoin="and_(Subscription.id == SubscriptionChange.subscription_id,"
        " SubscriptionChange.removed_at.is_(None))",
        viewonly=True,
    )


class SubscriptionChange(Public, Model):
    """Another plan or quantity of a subscription, from a moment on. One that is still to come can be removed."""

    __tablename__ = "subscription_changes"
    __table_args__ = (
        Index(
            "uq_subscription_changes_subscription_id_effective_at",
            "subscription_id",
            "effective_at",
            unique=True,
            postgresql_where=text("removed_at IS NULL"),
        ),
        Index("ix_subscription_changes_organization_id", "organization_id"),
        CheckConstraint("quantity > 0", name="quantity_positive"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    subscription_id: Mapped[int] = mapped_column(ForeignKey("subscriptions.id"))
    effective_at: Mapped[datetime]
    plan_id: Mapped[int] = mapped_column(ForeignKey("plans.id"))
    quantity: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]

    plan: Mapped[Plan] = relationship()


class Coupon(Public, Model):
    """A discount that organizations can be given: a percentage or a fixed amount, for some months or for ever.

    Of the lines of some products, or of the whole invoice if it names none. One that does not stack is never given
    beside another one.
    """

    __tablename__ = "coupons"
    __table_args__ = (
        CheckConstraint("(percent IS NULL) <> (amount IS NULL)", name="percent_or_amount"),
        CheckConstraint("percent >= 0 AND percent <= 100", name="percent_in_range"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
        CheckConstraint("(amount IS NULL) = (currency IS NULL)", name="amount_has_a_currency"),
        CheckConstraint("months > 0", name="months_positive"),
    )

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    percent: Mapped[Decimal | None] = mapped_column(Numeric(9, 6))
    amount: Mapped[int | None]
    currency: Mapped[str | None]
    products: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    months: Mapped[int | None] = mapped_column(Integer)
    stacks: Mapped[bool] = mapped_column(server_default=text("true"))
    redeem_by: Mapped[date | None] = mapped_column(Date)
    archived_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CouponRedemption(Public, Model):
    """A coupon of one organization: it lowers the invoices from `first_month` to `last_month` (both first days)."""

    __tablename__ = "coupon_redemptions"
    __table_args__ = (
        Index("ix_coupon_redemptions_organization_id", "organization_id"),
        CheckConstraint("last_month IS NULL OR last_month >= first_month", name="months_in_order"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    first_month: Mapped[date] = mapped_column(Date)
    last_month: Mapped[date | None] = mapped_column(Date)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    coupon: Mapped[Coupon] = relationship()


class TaxRate(Public, Model):
    """A percentage from a day on: of everybody or one organization, of everything or one product. Only added."""

    __tablename__ = "tax_rates"
    __table_args__ = (
        Index(
            "uq_tax_rates_place",
            "organization_id",
            "product_id",
            "valid_from",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        CheckConstraint("percent >= 0 AND percent < 'Infinity'", name="percent_not_negative"),
    )

    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    product_id: Mapped[int | None] = mapped_column(ForeignKey("products.id"))
    percent: Mapped[Decimal] = mapped_column(Numeric(9, 6))
    valid_from: Mapped[date] = mapped_column(Date)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    product: Mapped[Product | None] = relationship()
