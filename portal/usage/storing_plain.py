"""Storing plain batches: the same rows, rollups and outcomes as usage.ingesting, made from columns.

In the same order as there. Most of what a record would carry is not needed when every event is new; where one is not,
only that one is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

from portal.core.exact import exactly
from portal.core.periods import Month
from portal.core.quantities import Aggregation
from portal.infra.db import transaction
from portal.usage.archived import discover_archives, knows_of_archives
from portal.usage.ingesting import ingest
from portal.usage.inserting import SomeAreThere, insert_events
from portal.usage.labels import Labels
from portal.usage.lateness import mark
from portal.usage.outcomes import Outcome, outcomes_of
from portal.usage.plain_events import PlainBatch, without_zone
from portal.usage.rolling_up import add_to_days
from portal.usage.series import store_series
from portal.usage.writing import array, array_of_texts

# "2026-11-22T14:32:05" up to its day and its hour.
_DAY, _HOUR = len("2026-11-22"), len("2026-11-22T14")
_COUNTED_ONCE = Decimal(1)
T = TypeVar("T")
Picked = Callable[[Sequence[Any]], Sequence[Any]]


def store_plain(batch: PlainBatch, *, now: datetime, and_then: Callable[[list[Outcome]], T]) -> T:
    """Store a batch in a transaction of its own, in which `and_then` takes part; returns what that returns.

    With the outcomes and guarantees of `ingest` for the batch's records.
    """
    try:
        with transaction():
            return and_then(_ingest(batch, now, may_fail=True))
    except SomeAreThere:
        with transaction():
            return and_then(_ingest(batch, now, may_fail=False))


def _ingest(batch: PlainBatch, now: datetime, *, may_fail: bool) -> list[Outcome]:
    if knows_of_archives():
        return ingest(batch.records(), now=now)
    count = len(batch.keys)
    places = sorted(range(count), key=batch.keys.__getitem__)
    places.sort(key=batch.organizations.__getitem__)
    _mark_late(batch, now)
    fresh = insert_events(_columns(batch, places, now), count, may_fail=may_fail)
    if fresh is None or len(fresh) == count:
        _fold(batch, range(count), now)
        return [Outcome.ACCEPTED] * count
    if not fresh and discover_archives():
        return ingest(batch.records(), now=now)
    new_keys = {key.hex() for _, key in fresh}
    if fresh:
        _fold(batch, [place for place in range(count) if batch.keys[place] in new_keys], now)
    old = [place for place in range(count) if batch.keys[place] not in new_keys]
    outcomes = [Outcome.ACCEPTED] * count
    for place, outcome in zip(old, outcomes_of([batch.record(place) for place in old], {}, (), {}), strict=True):
        outcomes[place] = outcome
    return outcomes


def _mark_late(batch: PlainBatch, now: datetime) -> None:
    begin = without_zone(Month.of(now).start)
    if min(batch.moments) < begin:
        late = {
            (organization_id, moment[: len("2026-11")])
            for organization_id, moment in zip(batch.organizations, batch.moments, strict=True)
            if moment < begin
        }
        mark({(organization_id, Month.parse(month)) for organization_id, month in late})


def _columns(batch: PlainBatch, places: Sequence[int], now: datetime) -> dict[str, object]:
    """The events at these places as arrays, in their order."""
    pick = _picked(places)
    labels = pick(batch.labels)
    columns: dict[str, object] = {
        "now": now,
        "source": batch.source,
        "organizations": array(map(str, pick(batch.organizations))),
        "event_keys": array(pick(batch.keys)),
        "meters": array([str(each.meter_id) for each in labels]),
        "series": array([str(each.series_id) for each in labels]),
        "moments": f"{{{'Z,'.join(pick(batch.moments))}Z}}",
        "quantities": array(pick(batch.quantities)),
    }
    if not batch.are_ids:
        columns["event_ids"] = array_of_texts(pick(batch.event_ids))
    if any(each.rest for each in labels):
        columns["properties"] = array([each.rest_text for each in labels])
    return columns


def _picked(places: Sequence[int]) -> Picked:
    """A function that picks these places of a column."""
    return itemgetter(*places) if len(places) > 1 else lambda column: [column[place] for place in places]


class _InSeries(NamedTuple):
    organization_id: int
    series_id: int
    meter_id: int
    dimensions: Mapping[str, str]


@exactly
def _fold(batch: PlainBatch, places: Sequence[int], now: datetime) -> None:
    """Add the events at these places to their rollups, and leave behind what their hours are made of."""
    hours = _hours(batch, places)
    days: dict[tuple[int, str, int], tuple[Labels, Decimal, int]] = {}
    for (organization_id, hour, series_id), (labels, quantity, events, _) in hours.items():
        key = (organization_id, hour[:_DAY], series_id)
        if key in days:
            _, known_quantity, known_events = days[key]
            days[key] = (labels, known_quantity + quantity, known_events + events)
        else:
            days[key] = (labels, quantity, events)
    source = batch.source
    new = add_to_days(
        [(*key, days[key][0].meter_id, *days[key][1:]) for key in sorted(days)],
        [
            (organization_id, source, series_id, labels.meter_id, f"{latest}Z", quantity, events)
            for (organization_id, _, series_id), (labels, quantity, events, latest) in hours.items()
        ],
        now=now,
    )
    if new:
        labels_of = {(organization_id, series_id): hour[0] for (organization_id, _, series_id), hour in hours.items()}
        store_series([_InSeries(*key, labels_of[key].meter_id, labels_of[key].dimensions) for key in new])


def _hours(batch: PlainBatch, places: Sequence[int]) -> dict[tuple[int, str, int], tuple[Labels, Decimal, int, str]]:
    """By organization, hour and series: its labels, the quantity, the number of events and the latest moment."""
    pick = _picked(places)
    hours: dict[tuple[int, str, int], tuple[Labels, Decimal, int, str]] = {}
    for organization_id, labels, moment, quantity in zip(
        pick(batch.organizations),
        pick(batch.labels),
        pick(batch.moments),
        map(Decimal, pick(batch.quantities)),
        strict=True,
    ):
        adds = quantity if labels.aggregation is Aggregation.SUM else _COUNTED_ONCE
        key = (organization_id, moment[:_HOUR], labels.series_id)
        found = hours.get(key)
        if found is None:
            hours[key] = (labels, adds, 1, moment)
        else:
            _, sum_so_far, events, latest = found
            hours[key] = (labels, sum_so_far + adds, events + 1, moment if moment > latest else latest)
    return hours
