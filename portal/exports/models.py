"""Tables of exports and of their bytes."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger, Date, Integer, Text

from portal.infra.db import Model, Public


class ExportKind(StrEnum):
    """What is in a file."""

    USAGE_CSV = "usage_csv"
    EVENTS_CSV = "events_csv"
    EVENTS_JSONL = "events_jsonl"
    FOCUS_CSV = "focus_csv"
    INVOICES_JSONL = "invoices_jsonl"

    @property
    def is_of_usage(self) -> bool:
        """Whether it tells usage, not what invoices say."""
        return self in (ExportKind.USAGE_CSV, ExportKind.EVENTS_CSV, ExportKind.EVENTS_JSONL)

    @property
    def suffix(self) -> str:
        """How its file's name ends."""
        return "csv" if self.endswith("csv") else "jsonl"

    @property
    def mimetype(self) -> str:
        """What its file is."""
        return "text/csv" if self.suffix == "csv" else "application/x-ndjson"


class ExportState(StrEnum):
    """How far an export is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether a worker has still to do something for it."""
        return self in (ExportState.WAITING, ExportState.RUNNING)


class Export(Public, Model):
    """One file that was asked for. `reached` is where its next piece begins; `units` is what progress counts."""

    __tablename__ = "exports"
    __table_args__ = (
        Index("ix_exports_organization_id_id", "organization_id", "id"),
        Index("ix_exports_expires_at", "expires_at"),
        CheckConstraint("first_day <= last_day", name="days_in_order"),
        CheckConstraint(
            "kind IN ('usage_csv', 'events_csv', 'events_jsonl', 'focus_csv', 'invoices_jsonl')", name="kind_known"
        ),
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state_known"),
        CheckConstraint("(state IN ('waiting', 'running')) = (finished_at IS NULL)", name="finished_at_when_over"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    kind: Mapped[ExportKind] = mapped_column(Text)
    first_day: Mapped[date] = mapped_column(Date)
    last_day: Mapped[date] = mapped_column(Date)
    meter: Mapped[str | None]
    where: Mapped[str | None]
    asked_by: Mapped[str]

    state: Mapped[ExportState] = mapped_column(Text, server_default="waiting")
    reached: Mapped[str] = mapped_column(server_default="")
    units: Mapped[int] = mapped_column(server_default=text("0"))
    units_done: Mapped[int] = mapped_column(server_default=text("0"))
    rows: Mapped[int] = mapped_column(server_default=text("0"))
    # Of the file, in bytes, as it is downloaded.
    size: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]


class ExportPart(Model):
    """A piece of a file, compressed by itself (zlib): together, in their order, they are the file."""

    __tablename__ = "export_parts"

    export_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("exports.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    content: Mapped[bytes] = mapped_column(LargeBinary)
