"""What is still known of events that were archived: enough never to count one again, and to recount what they added.

A month's events are in one file, and its row here says how far the archive is. From `dropping` on, some of its events
are in the file only (usage.archiving, usage.restoring).
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from flask import current_app
from sqlalchemy import BigInteger, CheckConstraint, select, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Date, Integer, Text

from portal.core.keys import canonical_json
from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.core.saying import Said
from portal.infra.db import Model, Quantity, db
from portal.usage.events import UsageRecord
from portal.usage.writing import Key, array


class ArchiveState(StrEnum):
    """How far the archive of a month is: the file is written, then compared, then its events leave the table."""

    WRITING = "writing"
    VERIFIED = "verified"
    DROPPING = "dropping"
    DROPPED = "dropped"
    RESTORING = "restoring"
    RESTORED = "restored"


class ArchivedEvent(Model):
    """The key of an event that is in a file, and 16 bytes of the hash of its content (`fingerprint`)."""

    __tablename__ = "archived_events"

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_key: Mapped[UUID] = mapped_column(primary_key=True)
    content: Mapped[UUID]
    # False of a cancellation, which nobody can correct.
    counts: Mapped[bool]


class ArchivedDaily(Model):
    """What events that are in a file only have added to their days, as usage_daily has it; of any aggregation the sum.

    What a correction took out is here too, as soon as either of the two events is in a file only.
    """

    __tablename__ = "archived_daily"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    recorded_day: Mapped[date] = mapped_column(Date, primary_key=True)
    meter_id: Mapped[int]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    events: Mapped[int] = mapped_column(Integer)


class UsageArchive(Model):
    """The archive of a month, named by its first day; rows and hash are those of the file once it is complete.

    A row stays when its events are back: whoever has seen that there are archives need never look again.
    """

    __tablename__ = "usage_archives"
    __table_args__ = (
        CheckConstraint(f"state IN {tuple(state.value for state in ArchiveState)}", name="state_known"),
        CheckConstraint(
            "(state = 'writing') = (sha256 IS NULL) AND (sha256 IS NULL) = (rows IS NULL)", name="hashed_when_written"
        ),
    )

    month: Mapped[date] = mapped_column(Date, primary_key=True)
    archived_at: Mapped[datetime]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[ArchiveState] = mapped_column(Text)
    file_name: Mapped[str]
    sha256: Mapped[str | None]
    archived_by: Mapped[str]


# The months (first days) of which events are in a file only.
ARCHIVED_MONTHS = "SELECT month FROM usage_archives WHERE state IN ('dropping', 'dropped', 'restoring')"
_FROM_EVENTS = (Aggregation.MAX, Aggregation.LATEST, Aggregation.UNIQUE)
_KNOWN = "usage_archives_known"
_LOOK_UP = """
    SELECT organization_id, event_key, content, counts FROM archived_events
    WHERE (organization_id, event_key) IN (
        SELECT * FROM unnest(CAST(%(organizations)s AS bigint[]), CAST(%(event_keys)s AS uuid[])))
"""


def fingerprint(
    series_id: int, occurred_at: datetime, quantity: str, properties: str, corrects: bytes | None, counts: bool
) -> UUID:
    """16 bytes that stand for an event's content; of a cancellation, whose sender says no more, for what it cancels."""
    named = corrects and corrects.hex()
    said = [series_id, occurred_at.isoformat(), quantity, properties, named] if counts else [named]
    return UUID(bytes=hashlib.sha256(canonical_json(said).encode()).digest()[:16])


def knows_of_archives() -> bool:
    """Whether this process has seen that there are archives; tests remember nothing, each begins with other tables."""
    return _KNOWN in current_app.extensions


def discover_archives() -> bool:
    """Look whether there are archives, and remember for the life of the process if there are."""
    found = bool(db.session.scalar(text("SELECT EXISTS (SELECT FROM usage_archives)")))
    if found and not current_app.testing:
        current_app.extensions[_KNOWN] = True
    return found


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an archived event."""

    content: UUID
    counts: bool


def archived_among(keys: Iterable[Key]) -> dict[Key, Kept]:
    """Those of the events that are archived.

    Planned anew each time: a plan that was made for a small table would read all of what has become a large one.
    """
    wanted = list(keys)
    values = {
        "organizations": array(str(organization_id) for organization_id, _ in wanted),
        "event_keys": array(key.hex() for _, key in wanted),
    }
    # The session's own connection, so this is part of its transaction.
    connection: Any = db.session.connection().connection
    with connection.cursor() as cursor:
        cursor.execute(_LOOK_UP, values, prepare=False)
        return {(row[0], row[1].bytes): Kept(row[2], row[3]) for row in cursor.fetchall()}


def correctable(originals: Mapping[Key, UsageRecord]) -> Mapping[Key, UsageRecord]:
    """Those of the stored events that can be corrected: none that is in a file too, none whose day needs one that is.

    A day's largest or latest value and a month's subjects are found again among the events, which have to be there.
    To be called while the corrections of these organizations are held.
    """
    if not originals or not discover_archives():
        return originals
    archived, months = archived_among(originals), set(archived_months())
    return {
        key: each
        for key, each in originals.items()
        if key not in archived and not (each.aggregation in _FROM_EVENTS and Month.of(each.occurred_at) in months)
    }


def archived_months() -> list[Month]:
    """The months of which events are in a file only, oldest first."""
    return [Month.of(day) for day in db.session.scalars(text(f"{ARCHIVED_MONTHS} ORDER BY month"))]


def archive_sentence(month: Month) -> str | None:
    """Where the events of a month are that no list shows; None if all are here. For every scope, also a tenant's."""
    row = db.session.execute(
        select(UsageArchive.state, UsageArchive.file_name, UsageArchive.sha256).where(
            UsageArchive.month == month.first_day
        )
    ).one_or_none()
    if row is None or row.state not in (ArchiveState.DROPPING, ArchiveState.DROPPED, ArchiveState.RESTORING):
        return None
    return Said(
        "The events of this month are archived in %(file)s (SHA-256 %(sha256)s).", file=row.file_name, sha256=row.sha256
    )
