"""Series: a meter with the values of its dimensions; and the row that batches wait for each other at."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sqlalchemy import text

from portal.core.keys import canonical_json
from portal.infra.db import db
from portal.usage.writing import array, quoted

# Organization and series.
SeriesKey = tuple[int, int]
_STORE = text("""
    INSERT INTO usage_series (organization_id, series_id, meter_id, dimensions)
    SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[]), CAST(:meters AS bigint[]),
                         CAST(:dimensions AS jsonb[]))
    ON CONFLICT DO NOTHING
""")
_LOCK = text("""
    SELECT FROM usage_series
    WHERE (organization_id, series_id) IN (
        SELECT * FROM unnest(CAST(:organizations AS bigint[]), CAST(:series AS bigint[])))
    ORDER BY organization_id, series_id
    FOR NO KEY UPDATE
""")


class InSeries(Protocol):
    """What belongs to a series and knows all about it: a record, or one rollup of a batch."""

    @property
    def organization_id(self) -> int: ...
    @property
    def series_id(self) -> int: ...
    @property
    def meter_id(self) -> int: ...
    @property
    def dimensions(self) -> Mapping[str, str]: ...


def store_series(records: Sequence[InSeries]) -> None:
    """Write the series of these records, sorted by their keys, where they are not known. Idempotent."""
    # Many organizations have series of the same labels.
    different = {id(each.dimensions): each.dimensions for each in records}
    written = {key: quoted(canonical_json(dict(dimensions))) for key, dimensions in different.items()}
    values = {
        "organizations": array(str(each.organization_id) for each in records),
        "series": array(str(each.series_id) for each in records),
        "meters": array(str(each.meter_id) for each in records),
        "dimensions": array(written[id(each.dimensions)] for each in records),
    }
    db.session.execute(_STORE, values)


def lock_series(keys: Collection[SeriesKey]) -> None:
    """Hold series that are known until the transaction ends, in the order of their keys."""
    values = {"organizations": [key[0] for key in keys], "series": [key[1] for key in keys]}
    db.session.execute(_LOCK, values)
