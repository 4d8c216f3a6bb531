"""The table of events whose meter does not exist, or does not take them. No foreign keys, as of all usage."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.infra.db import Model


class WaitingUsage(Model):
    """One event that waits for a meter, or that somebody has discarded. It counts nowhere.

    `reason` says why the meter that there is by now does not take it, as `looked_at` last. A cancellation discards
    what it names and leaves its own key. Where an event of the same key is stored as usage, that one counts.
    """

    __tablename__ = "waiting_events"
    __table_args__ = (
        CheckConstraint("(discarded_at IS NULL) = (discarded_reason IS NULL)", name="discarded_for_a_reason"),
        CheckConstraint("cancelled_by IS NULL OR discarded_at IS NOT NULL", name="cancelled_is_discarded"),
        Index(
            "ix_waiting_events_organization_id_meter_code_occurred_at",
            "organization_id",
            "meter_code",
            "occurred_at",
            postgresql_where=text("discarded_at IS NULL"),
        ),
    )

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_key: Mapped[UUID] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    looked_at: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]
    cancelled_by: Mapped[UUID | None]
    meter_code: Mapped[str]
    event_id: Mapped[str]
    source: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    reason: Mapped[str | None]
    discarded_by: Mapped[str | None]
    discarded_reason: Mapped[str | None]
