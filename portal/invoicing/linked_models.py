"""Who pays for whom, and on which invoice of the payer an amount is."""

from datetime import date

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date

from portal.infra.db import Model, Numbered
from portal.organizations.models import Organization


class PayerLink(Numbered, Model):
    """One organization's payer, from the first day of a month up to and without `end_day`; both of one currency."""

    __tablename__ = "payer_links"
    __table_args__ = (
        Index("ix_payer_links_payer_id", "payer_id"),
        Index("ix_payer_links_organization_id", "organization_id"),
        Index("uq_payer_links_open", "organization_id", unique=True, postgresql_where=text("end_day IS NULL")),
        CheckConstraint("organization_id <> payer_id", name="two_organizations"),
        CheckConstraint("end_day >= first_day", name="ends_after_its_start"),
        ForeignKeyConstraint(["organization_id", "currency"], ["organizations.id", "organizations.currency"]),
        ForeignKeyConstraint(["payer_id", "currency"], ["organizations.id", "organizations.currency"]),
    )

    organization_id: Mapped[int]
    payer_id: Mapped[int]
    currency: Mapped[str]
    first_day: Mapped[date] = mapped_column(Date)
    end_day: Mapped[date | None] = mapped_column(Date)

    organization: Mapped[Organization] = relationship(
        primaryjoin="PayerLink.organization_id == Organization.id",
        foreign_keys="PayerLink.organization_id",
        viewonly=True,
    )
    payer: Mapped[Organization] = relationship(
        primaryjoin="PayerLink.payer_id == Organization.id", foreign_keys="PayerLink.payer_id", viewonly=True
    )


class BilledPart(Model):
    """That the amount of an organization's final invoice is on one invoice of its payer, and on no other.

    `number` is that of the payer's invoice, None until it is final. The row is gone once that invoice is void.
    """

    __tablename__ = "billed_parts"
    __table_args__ = (
        Index("ix_billed_parts_organization_id", "organization_id"),
        Index("ix_billed_parts_payer_invoice_id", "payer_invoice_id"),
    )

    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"), primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    payer_invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    number: Mapped[str | None]
