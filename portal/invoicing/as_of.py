"""A draft as it was known at an instant that is not the end of a day: asked for on a page, computed by a worker.

Only the usage is computed and kept, by series and day as the rollups have it; the draft is composed from it in the
same way as from rollups. What was known at an instant never changes, so it is computed once.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, delete, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Date

from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.periods import Month
from portal.core.saying import Said
from portal.infra import outbox
from portal.infra.db import Model, Numbered, db
from portal.infra.outbox import Lease
from portal.usage.archived import archive_sentence
from portal.usage.as_of import DayAsOf, usage_as_of

COMPUTE = "compute_draft_as_of"
# Usage that was taken in by then has been committed: no request and no batch lasts longer.
SETTLED_AFTER = timedelta(minutes=2)
# Of one organization; the oldest make place.
MOST_KEPT = 50


class DraftAsOf(Numbered, Model):
    """What an organization's usage of a month was known to be at an instant; `usage` is null until it is computed.

    `refusal` is a sentence for people that says why it cannot be.
    """

    __tablename__ = "drafts_as_of"
    __table_args__ = (
        UniqueConstraint("organization_id", "month", "instant"),
        CheckConstraint("usage IS NULL OR refusal IS NULL", name="computed_or_refused"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    month: Mapped[date] = mapped_column(Date)
    instant: Mapped[datetime]
    usage: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    refusal: Mapped[str | None]
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())

    @property
    def is_computed(self) -> bool:
        """Whether the draft can be shown."""
        return self.usage is not None


def ask(organization_id: int, month: Month, instant: datetime, *, now: datetime) -> None:
    """Have the usage of a month computed as it was known at an instant, by a worker. Idempotent.

    Raises InvalidInput if the instant is not over for SETTLED_AFTER, or the month's events are archived.
    """
    require_settled(instant, now=now)
    require_events(month)
    asked = {"organization_id": organization_id, "month": month.first_day, "instant": instant}
    draft_id = db.session.scalar(insert(DraftAsOf).values(asked).on_conflict_do_nothing().returning(DraftAsOf.id))
    if draft_id is None:
        draft_id = _found(organization_id, month, instant, DraftAsOf.id)
    outbox.enqueue(COMPUTE, dedupe_key=str(draft_id), organization_id=organization_id, draft_as_of_id=draft_id)


def require_settled(instant: datetime, *, now: datetime) -> None:
    """Raise InvalidInput for an instant of which not everything is known yet."""
    if instant > now - SETTLED_AFTER:
        minutes = SETTLED_AFTER // timedelta(minutes=1)
        raise InvalidInput(
            Said("Choose a time that is at least %(minutes)s minutes ago.", minutes=minutes), field="time"
        )


def require_events(month: Month) -> None:
    """Raise InvalidInput for a month whose events are not at hand."""
    sentence = archive_sentence(month)
    if sentence is not None:
        raise InvalidInput(
            Said("%(archived)s Without them only the ends of days can be told; leave out the time.", archived=sentence),
            field="time",
        )


def draft_as_of(organization_id: int, month: Month, instant: datetime) -> DraftAsOf | None:
    """What was asked for, computed or not; None if nobody has asked."""
    found: DraftAsOf | None = _found(organization_id, month, instant, DraftAsOf)
    return found


def _found(organization_id: int, month: Month, instant: datetime, what: Any) -> Any:
    return db.session.scalar(
        select(what)
        .where(
            DraftAsOf.organization_id == organization_id,
            DraftAsOf.month == month.first_day,
            DraftAsOf.instant == instant,
        )
        .execution_options(populate_existing=True)
    )


@outbox.handles(COMPUTE)
def compute(lease: Lease, *, draft_as_of_id: int) -> None:
    """Compute what was asked for, in one transaction that reads one snapshot. Idempotent."""
    with lease.transaction() as session:
        draft = session.get(DraftAsOf, draft_as_of_id, with_for_update=True, populate_existing=True)
        if draft is None or draft.is_computed:
            return
        month = Month.of(draft.month)
        try:
            require_events(month)
        except InvalidInput as refusal:
            draft.refusal = refusal.sentence
            return
        draft.usage, draft.refusal = _rows(usage_as_of(draft.organization_id, month, draft.instant)), None
        session.flush()
        kept = (
            select(DraftAsOf.id)
            .where(DraftAsOf.organization_id == draft.organization_id)
            .order_by(DraftAsOf.id.desc())
            .limit(MOST_KEPT)
        )
        session.execute(
            delete(DraftAsOf).where(
                DraftAsOf.organization_id == draft.organization_id,
                DraftAsOf.usage.is_not(None),
                DraftAsOf.id.not_in(kept),
            )
        )


def _rows(days: Sequence[DayAsOf]) -> list[dict[str, Any]]:
    return [
        {
            "day": each.day.isoformat(),
            "series_id": each.series_id,
            "meter_id": each.meter_id,
            "quantity": plain(each.quantity),
            "events": each.events,
        }
        for each in days
    ]
