"""Adding up what batches have left behind (`unfolded`) into hours and sources, exactly once.

Rows are taken and their sums written in one transaction: whoever dies in between has taken nothing. Two that fold at
once take different rows, and write sums in the order of their keys, so they wait for each other and never deadlock.
Nothing is billed by what comes of it: hours are for charts, and sources show what is missing.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, func, select, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Integer

from portal.infra.db import Model, Quantity, db, transaction
from portal.usage.unfolded import ENTRIES, UsageUnfolded


class UsageHourly(Model):
    """What one series came to in one hour, UTC; only of meters that sum up or count events."""

    __tablename__ = "usage_hourly"
    __table_args__ = (
        CheckConstraint("quantity < 'Infinity' AND quantity > '-Infinity'", name="quantity_finite"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    series_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    meter_id: Mapped[int]
    quantity: Mapped[Decimal] = mapped_column(Quantity)
    events: Mapped[int] = mapped_column(Integer)


class UsageHeard(Model):
    """How often a source has reported usage of one hour, UTC; the latest moment of use, and when it was last heard of.

    Every event but a cancellation counts, whether it was corrected later or not: it shows that the source was there.
    """

    __tablename__ = "usage_heard"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)

    organization_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    source: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    events: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[datetime]
    heard_at: Mapped[datetime]


ROWS_AT_ONCE = 200
# So many transactions at most before the clock looks after its other work.
FOLDS_AT_ONCE = 20
_TAKE = text("""
    SELECT id FROM usage_unfolded ORDER BY recorded_at, id LIMIT :most FOR UPDATE SKIP LOCKED
""")
_ADD_HOURS = text(f"""
    INSERT INTO usage_hourly AS hourly (organization_id, hour, series_id, meter_id, quantity, events)
    SELECT organization_id, hour, series_id, min(meter_id), sum(quantity), sum(events)
    FROM ({ENTRIES}) AS entries
    WHERE id = ANY(:ids) AND quantity IS NOT NULL
    GROUP BY organization_id, hour, series_id
    ORDER BY organization_id, hour, series_id
    ON CONFLICT (organization_id, hour, series_id) DO UPDATE
    SET quantity = hourly.quantity + excluded.quantity, events = hourly.events + excluded.events
""")
_ADD_SOURCES = text(f"""
    INSERT INTO usage_heard AS heard (organization_id, source, hour, events, last_at, heard_at)
    SELECT organization_id, source, hour, sum(events), max(latest), max(recorded_at)
    FROM ({ENTRIES}) AS entries
    WHERE id = ANY(:ids) AND events > 0
    GROUP BY organization_id, source, hour
    ORDER BY organization_id, source, hour
    ON CONFLICT (organization_id, source, hour) DO UPDATE
    SET events = heard.events + excluded.events, last_at = greatest(heard.last_at, excluded.last_at),
        heard_at = greatest(heard.heard_at, excluded.heard_at)
""")
_TAKE_AWAY = text("DELETE FROM usage_unfolded WHERE id = ANY(:ids)")


def fold(most: int) -> int:
    """Add up the oldest rows that nobody else is at, in the current transaction. Returns how many there were."""
    ids = list(db.session.scalars(_TAKE, {"most": most}))
    if ids:
        for statement in (_ADD_HOURS, _ADD_SOURCES, _TAKE_AWAY):
            db.session.execute(statement, {"ids": ids})
    return len(ids)


def fold_by_clock() -> None:
    """Fold until nothing is left, or for FOLDS_AT_ONCE transactions. Idempotent."""
    for _ in range(FOLDS_AT_ONCE):
        with transaction():
            taken = fold(ROWS_AT_ONCE)
        if taken < ROWS_AT_ONCE:
            return


def folded_up_to(*, now: datetime) -> datetime:
    """Up to when figures by the hour are complete: all that was stored by then is in them. Read before the figures.

    As the system, because a tenant sees nothing of what is still to be folded.
    """
    oldest = db.session.scalar(select(func.min(UsageUnfolded.recorded_at)))
    return now if oldest is None else min(oldest, now)
