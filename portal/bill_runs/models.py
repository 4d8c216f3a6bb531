"""Tables of bill runs: a run, and what it does about each organization. Amounts are in minor units."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Date, Integer, Text

from portal.core.periods import Month
from portal.infra.db import Model, Public
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


class RunKind(StrEnum):
    """A monthly run makes invoices final; a rehearsal computes the same figures and writes nothing but its own rows."""

    MONTHLY = "monthly"
    REHEARSAL = "rehearsal"


class RunState(StrEnum):
    """The stages in their order, and where a run may stand beside them."""

    PLANNED = "planned"
    GENERATING = "generating"
    REVIEW = "review"
    FINALIZING = "finalizing"
    SYNCING = "syncing"
    RECONCILING = "reconciling"
    CLOSED = "closed"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class ItemState(StrEnum):
    """How far one organization is. `scheduled`: its figures are frozen, and Cancel can still take it back."""

    WAITING = "waiting"
    GENERATED = "generated"
    HELD = "held"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    FINALIZED = "finalized"
    FAILED = "failed"
    SKIPPED = "skipped"


STAGES = (
    *(RunState.PLANNED, RunState.GENERATING, RunState.REVIEW, RunState.FINALIZING),
    *(RunState.SYNCING, RunState.RECONCILING, RunState.CLOSED),
)
# From generating to reconciling somebody may decide about items, and drafts may be computed (again).
AT_WORK = STAGES[1:-1]
# A later month's run waits for these: its figures depend on what this one makes final.
BEFORE_FINAL = (RunState.PLANNED, RunState.GENERATING, RunState.REVIEW, RunState.FINALIZING, RunState.PAUSED)
ENDED = (RunState.CLOSED, RunState.CANCELLED)
# A person has to do something about these before the run can close by itself.
NEEDS_SOMEBODY = (ItemState.GENERATED, ItemState.HELD, ItemState.FAILED)


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class BillRun(Public, Model):
    """The run of one month.

    `review_hours`: after so many hours of review what is approved is finalized without anybody's click; None waits for
    one. `entered` says when which state was last entered. `report` is what the run came to, frozen when it closed.
    """

    __tablename__ = "bill_runs"
    __table_args__ = (
        UniqueConstraint("month", "kind"),
        CheckConstraint("extract(day FROM month) = 1", name="month_is_its_first_day"),
        CheckConstraint(_one_of("kind", RunKind), name="kind_known"),
        CheckConstraint(_one_of("state", RunState), name="state_known"),
        CheckConstraint("(state = 'paused') = (paused_from IS NOT NULL)", name="paused_from_somewhere"),
        CheckConstraint("(state = 'closed') = (report IS NOT NULL)", name="closed_with_a_report"),
        CheckConstraint("hold_seconds >= 0", name="hold_not_negative"),
    )

    month: Mapped[date] = mapped_column(Date)
    kind: Mapped[RunKind] = mapped_column(Text)
    state: Mapped[RunState] = mapped_column(Text, server_default="planned")
    paused_from: Mapped[RunState | None] = mapped_column(Text)
    as_of: Mapped[datetime | None]
    started_by: Mapped[str]
    finalized_by: Mapped[str | None]
    hold_seconds: Mapped[int] = mapped_column(Integer)
    review_hours: Mapped[int | None] = mapped_column(Integer)
    entered: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    reconciliation_id: Mapped[int | None] = mapped_column(ForeignKey("reconciliations.id"))
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))

    @property
    def period(self) -> Month:
        """The month that it bills."""
        return Month.of(self.month)

    @property
    def stage(self) -> RunState:
        """Its stage, also while it is paused."""
        return RunState(self.paused_from or self.state)

    @property
    def is_rehearsal(self) -> bool:
        """Whether nothing is made final by it."""
        return self.kind == RunKind.REHEARSAL

    def entered_at(self, state: RunState) -> datetime | None:
        """When it came into a state last; None if it has not been there."""
        moment = self.entered.get(state)
        return datetime.fromisoformat(moment) if moment else None


class BillRunItem(Model):
    """One organization in a run.

    `flags` are why somebody should look: code, sentence, whether it blocks, and points, which come to the `score`.
    `fingerprint` is of the draft that the flags and the approval are about. `attempts` counts the tries in the current
    state, before each begins. `assigned_to` is who has taken it on. `held_until` is the day from which what is held is
    in review again by itself; None waits for somebody.
    """

    __tablename__ = "bill_run_items"
    __table_args__ = (
        CheckConstraint(_one_of("state", ItemState), name="state_known"),
        CheckConstraint("state NOT IN ('held', 'failed', 'skipped') OR reason IS NOT NULL", name="has_a_reason"),
        CheckConstraint(
            "state NOT IN ('generated', 'approved', 'scheduled') OR (total IS NOT NULL AND fingerprint IS NOT NULL)",
            name="computed",
        ),
        Index("ix_bill_run_items_bill_run_id_state_organization_id", "bill_run_id", "state", "organization_id"),
        Index("ix_bill_run_items_bill_run_id_chunk", "bill_run_id", "chunk"),
        Index(
            "ix_bill_run_items_bill_run_id_score_organization_id",
            "bill_run_id",
            text("score DESC"),
            "organization_id",
        ),
        Index("ix_bill_run_items_organization_id", "organization_id"),
        Index("ix_bill_run_items_invoice_id", "invoice_id"),
    )

    bill_run_id: Mapped[int] = mapped_column(ForeignKey("bill_runs.id"), primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"), primary_key=True, autoincrement=False)
    chunk: Mapped[int] = mapped_column(Integer)
    currency: Mapped[str]
    state: Mapped[ItemState] = mapped_column(Text, server_default="waiting")
    reason: Mapped[str | None]
    flags: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    score: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    assigned_to: Mapped[str | None]
    held_until: Mapped[date | None] = mapped_column(Date)
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    total_before: Mapped[int | None]
    total: Mapped[int | None]
    amount_due: Mapped[int | None]
    fingerprint: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())

    organization: Mapped[Organization] = relationship(viewonly=True)
    invoice: Mapped[Invoice | None] = relationship(viewonly=True)

    @property
    def is_blocked(self) -> bool:
        """Whether a flag says that it cannot be finalized as it stands."""
        return any(flag["blocks"] for flag in self.flags)
