"""The table of payment methods: what Stripe charges when an organization's invoices are charged automatically."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import SmallInteger

from portal.core.saying import Said
from portal.infra.db import Model


class PaymentMethod(Model):
    """The default payment method of one organization, as Stripe said at `read_at`; no `stripe_id`: it had none then.

    Never a full number: Stripe keeps that. What has no brand or expiry (a bank debit) shows its kind instead.
    """

    __tablename__ = "payment_methods"
    __table_args__ = (
        CheckConstraint("(stripe_id IS NULL) = (kind IS NULL)", name="kind_with_its_id"),
        CheckConstraint("(exp_month IS NULL) = (exp_year IS NULL)", name="expiry_is_whole"),
        CheckConstraint("exp_month BETWEEN 1 AND 12", name="month_of_a_year"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"), primary_key=True, autoincrement=False)
    stripe_id: Mapped[str | None] = mapped_column(unique=True)
    kind: Mapped[str | None]
    brand: Mapped[str | None]
    last4: Mapped[str | None]
    exp_month: Mapped[int | None] = mapped_column(SmallInteger)
    exp_year: Mapped[int | None] = mapped_column(SmallInteger)
    read_at: Mapped[datetime]

    @property
    def words(self) -> str:
        """As people know it: "Visa •••• 4242, expires 12/2030"."""
        name = (self.brand or self.kind or "").replace("_", " ")
        number = f" •••• {self.last4}" if self.last4 else ""
        known = f"{name[:1].upper()}{name[1:]}{number}"
        if not self.exp_month:
            return known
        return Said(
            "%(method)s, expires %(month)s/%(year)s", method=known, month=f"{self.exp_month:02d}", year=self.exp_year
        )

    def is_expired(self, today: date) -> bool:
        """Whether its last month is over."""
        if self.exp_year is None or self.exp_month is None:
            return False
        return (self.exp_year, self.exp_month) < (today.year, today.month)
