"""What every batch leaves behind for figures that follow a moment later: one row, which only has to be added.

Hours of what adds up, and how often each source was heard of; `folding` takes the rows away and adds them up. No batch
waits for another one here, and none is counted twice: the row is written with its events, and deleted with its sums.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Integer, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from portal.core.exact import exactly
from portal.infra.db import Model, Numbered
from portal.usage.events import UsageRecord
from portal.usage.writing import array, array_of_texts

# Organization, source, series, and the hour as its number.
EntryKey = tuple[int, str, int, int]
# What one hour of a series got from one source: organization, source, series, meter, the latest moment as text with its
# zone, the quantity and the number of events.
Entry = tuple[int, str, int, int, str, Decimal | None, int]


class UsageUnfolded(Numbered, Model):
    """What one batch came to by organization, source, series and hour, in arrays of equal length.

    The organization and the source are those of the whole batch, or stand beside every entry. The hour is that of
    `latest`, the latest moment of use in it. The quantity is null where a meter does not simply add up. What was
    corrected is an entry with a negative number of events.
    """

    __tablename__ = "usage_unfolded"
    __table_args__ = (
        CheckConstraint("(organization_id IS NULL) = (organizations IS NOT NULL)", name="organizations_where_mixed"),
        CheckConstraint("(source IS NULL) = (sources IS NOT NULL)", name="sources_where_mixed"),
        CheckConstraint(
            "cardinality(series) = ALL (ARRAY[cardinality(meters), cardinality(latest), cardinality(quantities),"
            " cardinality(events), coalesce(cardinality(organizations), cardinality(series)),"
            " coalesce(cardinality(sources), cardinality(series))])",
            name="entries_complete",
        ),
        Index("ix_usage_unfolded_recorded_at", "recorded_at"),
    )

    recorded_at: Mapped[datetime]
    organization_id: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str | None]
    organizations: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    sources: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    series: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    meters: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    latest: Mapped[list[datetime]] = mapped_column(ARRAY(DateTime(timezone=True)))
    quantities: Mapped[list[Decimal | None]] = mapped_column(ARRAY(Numeric))
    events: Mapped[list[int]] = mapped_column(ARRAY(Integer))


# As rows, for whoever reads them: the hour of an entry is that of its latest moment.
ENTRIES = """
    SELECT coalesce(batch.organization_id, entry.organization_id) AS organization_id,
           coalesce(batch.source, entry.source) AS source, date_trunc('hour', entry.latest, 'UTC') AS hour,
           entry.series_id, entry.meter_id, entry.latest, entry.quantity, entry.events, batch.recorded_at, batch.id
    FROM usage_unfolded AS batch
    CROSS JOIN LATERAL unnest(batch.organizations, batch.sources, batch.series, batch.meters, batch.latest,
                              batch.quantities, batch.events)
        AS entry(organization_id, source, series_id, meter_id, latest, quantity, events)
"""
# A part of the statement that adds to the days: `note_values` are its values.
NOTE = """
    INSERT INTO usage_unfolded (recorded_at, organization_id, source, organizations, sources, series, meters, latest,
                                quantities, events)
    VALUES (%(now)s, %(of_organization)s, %(of_source)s, CAST(%(of_organizations)s AS bigint[]),
            CAST(%(of_sources)s AS text[]), CAST(%(of_series)s AS bigint[]), CAST(%(of_meters)s AS bigint[]),
            CAST(%(of_latest)s AS timestamptz[]), CAST(%(of_quantities)s AS numeric[]),
            CAST(%(of_events)s AS integer[]))
"""


def entries_of(came: Sequence[UsageRecord], gone: Sequence[UsageRecord]) -> list[Entry]:
    """What events come to that were stored, and others that count no more because of them."""
    taken_out = [_entry(each, None if each.adds is None else each.adds.copy_negate(), -1) for each in gone]
    return [*_entries(came), *taken_out]


def note_values(entries: Sequence[Entry]) -> dict[str, object]:
    """The values of NOTE for a row with these entries; `now` is to be added."""
    organizations, sources, series, meters, latest, quantities, events = zip(*entries, strict=True)
    one_organization, one_source = len(set(organizations)) == 1, len(set(sources)) == 1
    return {
        "of_organization": organizations[0] if one_organization else None,
        "of_source": sources[0] if one_source else None,
        "of_organizations": None if one_organization else array(map(str, organizations)),
        "of_sources": None if one_source else array_of_texts(sources),
        "of_series": array(map(str, series)),
        "of_meters": array(map(str, meters)),
        "of_latest": array(latest),
        "of_quantities": array(["NULL" if each is None else str(each) for each in quantities]),
        "of_events": array(map(str, events)),
    }


@exactly
def _entries(came: Iterable[UsageRecord]) -> list[Entry]:
    """Of each organization, source, series and hour the latest event, the quantity and the number of events."""
    entries: dict[EntryKey, tuple[UsageRecord, Decimal | None, int]] = {}
    for each in came:
        if not each.counts:
            continue
        moment, adds = each.occurred_at, each.adds
        key = (each.organization_id, each.source, each.series_id, moment.toordinal() * 24 + moment.hour)
        found = entries.get(key)
        if found is None:
            entries[key] = (each, adds, 1)
        else:
            latest, quantity, events = found
            total = None if adds is None or quantity is None else quantity + adds
            entries[key] = (each if moment > latest.occurred_at else latest, total, events + 1)
    return [_entry(*each) for each in entries.values()]


def _entry(latest: UsageRecord, quantity: Decimal | None, events: int) -> Entry:
    return (
        latest.organization_id,
        latest.source,
        latest.series_id,
        latest.meter_id,
        latest.occurred_at.isoformat(),
        quantity,
        events,
    )
