"""Storing the events of a file, a thousand rows at a time, each batch in a transaction of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug
from portal.usage.events import Reader, UsageRecord, storable
from portal.usage.ingesting import Outcome, ingest
from portal.usage.sources.naming import RowLog

BATCH = 1_000
CONFLICT = "An event with this id and other content is already stored; the first one stays."
T = TypeVar("T")


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Rows in groups of BATCH."""
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        yield batch


def store_events(
    documents: Iterable[tuple[int, Any]], *, rejects: RowLog, reached: Callable[[int], None], dry_run: bool = False
) -> Counter[Outcome]:
    """Store numbered event documents (or the InvalidInput that stands for one) and count what became of them.

    `reached` is told the number of the last row of each batch. A dry run checks all that can be checked without
    storing; what it would accept counts as accepted.
    """
    counts: Counter[Outcome] = Counter()
    for batch in batches(documents):
        reader = _reader([document for _, document in batch])
        readable = [each for each in (_read(reader, number, document, rejects) for number, document in batch) if each]
        if dry_run:
            counts[Outcome.ACCEPTED] += len(readable)
        else:
            with transaction():
                outcomes = ingest([record for _, record in readable], now=clock.now())
            for (number, record), outcome in zip(readable, outcomes, strict=True):
                counts[outcome] += 1
                if outcome is Outcome.CONFLICT:
                    rejects.add(number, record.event_id, "id", CONFLICT)
        reached(batch[-1][0])
    return counts


def _reader(documents: Sequence[Any]) -> Reader:
    named = {
        document["organization"]
        for document in documents
        if isinstance(document, dict) and isinstance(document.get("organization"), str)
    }
    with transaction():
        return Reader(
            meters_by_code(),
            now=clock.now(),
            organization_id=None,
            organizations=ids_by_slug({name for name in named if storable(name)}),
        )


def _read(reader: Reader, number: int, document: Any, rejects: RowLog) -> tuple[int, UsageRecord] | None:
    try:
        if isinstance(document, InvalidInput):
            raise document
        return number, reader.read(document)
    except InvalidInput as error:
        rejects.add(number, _id_of(document), error.field or "", error.sentence)
        return None


def _id_of(document: Any) -> str:
    found = document.get("id") if isinstance(document, dict) else None
    return found[:255] if isinstance(found, str) else ""
