"""Storing event documents, a thousand rows at a time, each batch in a transaction of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from portal.catalog.queries import meters_by_code
from portal.core.errors import InvalidInput
from portal.core.exact import ZERO
from portal.infra import clock
from portal.infra.db import transaction
from portal.organizations.queries import ids_by_slug
from portal.usage.events import Reader, UsageRecord, storable
from portal.usage.ingesting import REASONS, Outcome, ingest
from portal.usage.sources.naming import RowLog

BATCH = 1_000
T = TypeVar("T")


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """Rows in groups of BATCH."""
    waiting = iter(rows)
    while batch := list(islice(waiting, BATCH)):
        yield batch


class ReadRow(NamedTuple):
    """A row of a file and the event documents that it stands for (an InvalidInput for one that cannot be made)."""

    number: int
    raw: str
    documents: Sequence[Any]


class Answer(NamedTuple):
    """What became of one document: its record and outcome, or the reason why it cannot be stored."""

    record: UsageRecord | None
    outcome: Outcome | None
    refusal: InvalidInput | None

    @property
    def reason(self) -> InvalidInput | None:
        """Why the document does not count; None if it does."""
        reason = REASONS.get(self.outcome) if self.outcome else None
        return InvalidInput(reason, field="id") if reason else self.refusal


@dataclass(slots=True)
class Tally:
    """What the events of a file come to; it grows with meters, organizations and days, not with rows."""

    meters: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    organizations: Counter[str] = field(default_factory=Counter)
    days: Counter[date] = field(default_factory=Counter)

    def add(self, document: Any, record: UsageRecord) -> None:
        """Count one event."""
        events, quantity = self.meters.get(document["meter"], (0, ZERO))
        self.meters[document["meter"]] = events + 1, quantity + record.quantity
        self.organizations[document["organization"]] += 1
        self.days[record.occurred_at.date()] += 1


class _Undone(Exception):
    """A rehearsal is over."""


def store_documents(
    documents: Sequence[Any],
    *,
    now: datetime,
    and_then: Callable[[list[Answer]], None] | None = None,
    rehearse: bool = False,
) -> list[Answer]:
    """Store the documents that can be stored, in one transaction, and say of each what became of it.

    `and_then` takes part in that transaction. A rehearsal does everything and takes it all back. Idempotent.
    """
    answers: list[Answer] = []
    try:
        with transaction():
            answers = _store(documents, now)
            if and_then is not None:
                and_then(answers)
            if rehearse:
                raise _Undone
    except _Undone:
        pass
    return answers


def _store(documents: Sequence[Any], now: datetime) -> list[Answer]:
    reader = _reader(documents, now)
    read = [_read(reader, document) for document in documents]
    outcomes = iter(ingest([each for each in read if isinstance(each, UsageRecord)], now=now))
    return [
        Answer(None, None, each) if isinstance(each, InvalidInput) else Answer(each, next(outcomes), None)
        for each in read
    ]


def _reader(documents: Sequence[Any], now: datetime) -> Reader:
    named = {
        document["organization"]
        for document in documents
        if isinstance(document, dict) and isinstance(document.get("organization"), str)
    }
    return Reader(
        meters_by_code(),
        now=now,
        organization_id=None,
        organizations=ids_by_slug({name for name in named if storable(name)}),
    )


def _read(reader: Reader, document: Any) -> UsageRecord | InvalidInput:
    try:
        return document if isinstance(document, InvalidInput) else reader.read(document)
    except InvalidInput as error:
        return error


def store_events(
    rows: Iterable[ReadRow],
    *,
    rejects: RowLog,
    reached: Callable[[int], None],
    keep: Callable[[int, int], None] | None = None,
    tally: Tally | None = None,
) -> Counter[Outcome]:
    """Store the events of numbered rows and count what became of them; name the rows that do not count.

    `keep` takes part in a batch's transaction as long as no row at all has been rejected; it is told the number of
    the last row and how many events this run has found good. `reached` is told the number of each batch's last row.
    With a `tally` this is a rehearsal: all is checked and counted, and nothing is stored.
    """
    counts: Counter[Outcome] = Counter()
    for batch in batches(rows):
        documents = [document for row in batch for document in row.documents]
        last = batch[-1].number

        def hold(answers: list[Answer], last: int = last) -> None:
            if keep is not None and not rejects.total and not any(answer.reason for answer in answers):
                keep(last, counts.total() + len(answers))

        answers = store_documents(documents, now=clock.now(), and_then=hold, rehearse=tally is not None)
        places = (row for row in batch for _ in row.documents)
        for row, document, answer in zip(places, documents, answers, strict=True):
            if answer.outcome is not None:
                counts[answer.outcome] += 1
            if answer.reason is not None:
                rejects.add(row.number, _id_of(document), answer.reason.field or "", answer.reason.sentence, row.raw)
            elif tally is not None and answer.record is not None and answer.outcome is Outcome.ACCEPTED:
                tally.add(document, answer.record)
        reached(last)
    return counts


def _id_of(document: Any) -> str:
    found = document.get("id") if isinstance(document, dict) else None
    return found[:255] if isinstance(found, str) else ""
