"""Tables of reconciling: what differs between the portal and Stripe, and the runs that compare the two."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Text

from portal.infra.db import Model, Numbered, Public
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


class Field(StrEnum):
    """What differs. `unadopted`: Stripe has what we have forgotten; `unmanaged`: it carries no mark of ours."""

    EXISTENCE = "existence"
    UNADOPTED = "unadopted"
    DUPLICATE = "duplicate"
    CUSTOMER = "customer"
    DUPLICATE_CUSTOMER = "duplicate_customer"
    CURRENCY = "currency"
    TOTAL = "total"
    LINES = "lines"
    STATUS = "status"
    PAYMENT = "payment"
    UNMANAGED = "unmanaged"


class DriftState(StrEnum):
    """What became of a difference; all but `gone` are alive."""

    OPEN = "open"
    PUSHED = "pushed"
    ACCEPTED = "accepted"
    IGNORED = "ignored"
    GONE = "gone"


class Phase(StrEnum):
    """What a run reads next: Stripe's customers, Stripe's invoices, then those of ours that were not among them."""

    CUSTOMERS = "customers"
    INVOICES = "invoices"
    OURS = "ours"
    DONE = "done"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class Drift(Public, Model):
    """One difference between an invoice (or customer) here and at Stripe, alive or gone.

    `amount` says how much money it is about, in the currency's units at Stripe. `last_seen` is the start of the run
    that saw it last.
    """

    __tablename__ = "drift"
    __table_args__ = (
        # The same difference seen again keeps its row.
        Index(
            "uq_drift_live",
            "invoice_id",
            "stripe_id",
            "field",
            unique=True,
            postgresql_where=text("state <> 'gone'"),
            postgresql_nulls_not_distinct=True,
        ),
        Index("ix_drift_state_id", "state", "id"),
        Index("ix_drift_organization_id", "organization_id"),
        Index("ix_drift_stripe_id", "stripe_id", postgresql_where=text("state <> 'gone'")),
        CheckConstraint(_one_of("field", Field), name="field_known"),
        CheckConstraint(_one_of("state", DriftState), name="state_known"),
        CheckConstraint(
            "state NOT IN ('accepted', 'ignored') OR (reason IS NOT NULL AND decided_by IS NOT NULL)",
            name="decided_with_a_reason",
        ),
        CheckConstraint("num_nonnulls(invoice_id, stripe_id) > 0", name="about_something"),
        CheckConstraint("amount >= 0", name="amount_not_negative"),
    )

    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    stripe_id: Mapped[str | None]
    stripe_created_at: Mapped[datetime | None]
    field: Mapped[Field] = mapped_column(Text)
    ours: Mapped[str | None]
    theirs: Mapped[str | None]
    amount: Mapped[int] = mapped_column(server_default=text("0"))
    currency: Mapped[str | None]
    seen_since: Mapped[datetime]
    last_seen: Mapped[datetime]
    state: Mapped[DriftState] = mapped_column(Text, server_default="open")
    reason: Mapped[str | None]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]

    organization: Mapped[Organization | None] = relationship()
    invoice: Mapped[Invoice | None] = relationship()


class Reconciliation(Numbered, Model):
    """One run over all that was made at Stripe in [since, until), page by page; it goes on where it was stopped.

    With a month also the invoices of that month, whenever they were made. `night`: the clock's own run of a day.
    """

    __tablename__ = "reconciliations"
    __table_args__ = (
        CheckConstraint("until > since", name="window_not_empty"),
        CheckConstraint(_one_of("phase", Phase), name="phase_known"),
        CheckConstraint("(phase = 'done') = (finished_at IS NOT NULL)", name="done_when_finished"),
    )

    since: Mapped[datetime]
    until: Mapped[datetime]
    month: Mapped[date | None] = mapped_column(Date)
    night: Mapped[date | None] = mapped_column(Date, unique=True)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    phase: Mapped[Phase] = mapped_column(Text, server_default="customers")
    read_up_to: Mapped[str | None]
    customers: Mapped[int] = mapped_column(server_default=text("0"))
    invoices: Mapped[int] = mapped_column(server_default=text("0"))
    on_their_way: Mapped[int] = mapped_column(server_default=text("0"))
    adopted: Mapped[int] = mapped_column(server_default=text("0"))
    differences: Mapped[int] = mapped_column(server_default=text("0"))


class ReconciledInvoice(Model):
    """An invoice that a run under way has compared already; deleted when the run is done."""

    __tablename__ = "reconciled_invoices"

    reconciliation_id: Mapped[int] = mapped_column(
        ForeignKey("reconciliations.id"), primary_key=True, autoincrement=False
    )
    invoice_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
