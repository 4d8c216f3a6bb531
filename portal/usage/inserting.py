"""Inserting events that may be there already.

A batch is first taken for new: its events are inserted as they are, which costs PostgreSQL a third less than asking for
every row whether it is there. Where one is, the batch is inserted again, without those that are there, and so are the
next batches: whoever sends something twice is likely to do so again. A savepoint takes the first attempt back; who can
begin the whole transaction again spares the batches that are new its two round trips.
"""

from collections.abc import Mapping
from contextlib import nullcontext

from psycopg.errors import UniqueViolation
from sqlalchemy.exc import DBAPIError

from portal.infra.db import db
from portal.usage.writing import Key

# In a smaller batch the savepoint costs more than it saves.
FEWEST_TAKEN_FOR_NEW = 50
CAREFUL_BATCHES = 20
# What all events of a batch have in common need not stand beside each of them; most are no corrections.
_INSERT = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source, properties, corrects, counts)
    SELECT organization_id, event_key, meter_id, series_id, occurred_at, %(now)s, coalesce(correction, false),
           quantity, coalesce(event_id, CAST(event_key AS text)), coalesce(source, %(source)s), properties, corrects,
           coalesce(counts, true)
    FROM unnest(CAST(%(organizations)s AS bigint[]), CAST(%(event_keys)s AS uuid[]), CAST(%(meters)s AS bigint[]),
                CAST(%(series)s AS bigint[]), CAST(%(moments)s AS timestamptz[]), CAST(%(corrections)s AS boolean[]),
                CAST(%(quantities)s AS numeric[]), CAST(%(event_ids)s AS text[]), CAST(%(sources)s AS text[]),
                CAST(%(properties)s AS jsonb[]), CAST(%(corrects)s AS uuid[]), CAST(%(counts)s AS boolean[]))
         AS sent(organization_id, event_key, meter_id, series_id, occurred_at, correction, quantity, event_id, source,
                 properties, corrects, counts)
    WHERE CAST(%(heeds_archives)s AS boolean) OR NOT EXISTS (SELECT FROM usage_archives)
"""
_INSERT_NEW = f"{_INSERT} ON CONFLICT DO NOTHING RETURNING organization_id, event_key"
_LEFT_OUT = dict.fromkeys(("event_ids", "source", "sources", "properties", "corrections", "corrects", "counts"))


class SomeAreThere(Exception):
    """A batch that was taken for new is not; its transaction has failed and is to be begun again, with caution."""


class Caution:
    """For how many more batches this process expects events that are there already."""

    batches = 0


def insert_events(
    columns: Mapping[str, object], count: int, *, heeds_archives: bool = False, may_fail: bool = False
) -> set[Key] | None:
    """Insert `count` events, sorted by key. Returns the keys of those that were new; None if all were.

    `columns` are arrays in PostgreSQL's spelling, and `now`; `source` is that of all. Left out: the ids that are the
    keys as text, and what no event has. Inserts nothing if there are archives, unless they are heeded. Raises
    SomeAreThere if it `may_fail`.
    """
    connection = db.session.connection()
    values = {**_LEFT_OUT, **columns, "heeds_archives": heeds_archives}
    if count >= FEWEST_TAKEN_FOR_NEW and not Caution.batches:
        try:
            with nullcontext() if may_fail else connection.begin_nested():
                inserted = connection.exec_driver_sql(_INSERT, values).rowcount
                return None if inserted else set()
        except DBAPIError as error:
            if not is_duplicate(error):
                raise
            Caution.batches = CAREFUL_BATCHES
            if may_fail:
                raise SomeAreThere from error
    fresh = {(row[0], row[1].bytes) for row in connection.exec_driver_sql(_INSERT_NEW, values)}
    Caution.batches = CAREFUL_BATCHES if len(fresh) < count else max(0, Caution.batches - 1)
    return fresh


def is_duplicate(error: DBAPIError) -> bool:
    """Whether a key was there already; Citus tells so without its proper code."""
    return isinstance(error.orig, UniqueViolation) or "duplicate key value" in str(error.orig)
