"""Storing event documents, some thousand rows at a time, each batch in a transaction of its own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from portal.core.errors import InvalidInput
from portal.core.exact import ZERO
from portal.infra import clock
from portal.infra.db import transaction
from portal.usage.events import Reader, UsageRecord
from portal.usage.fields import storable
from portal.usage.known import known_meters, known_organizations
from portal.usage.outcomes import REASONS, Outcome
from portal.usage.sources.naming import RowLog
from portal.usage.unknown import UnknownMeter
from portal.usage.waiting import store_usage

BATCH = 5_000
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
    """What became of one document: its outcome (with its record, unless it waits), or why it cannot be stored."""

    record: UsageRecord | None
    outcome: Outcome | None
    refusal: InvalidInput | None

    @property
    def reason(self) -> InvalidInput | None:
        """Why the document is not stored; None if it is, counting or waiting for a meter."""
        reason = REASONS.get(self.outcome) if self.outcome else None
        return InvalidInput(reason, field="id") if reason else self.refusal


@dataclass(slots=True)
class Tally:
    """What the events of a file come to; it grows with meters, organizations and days, not with rows."""

    meters: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    organizations: Counter[str] = field(default_factory=Counter)
    days: Counter[date] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)

    def add(self, document: Any, answer: Answer) -> None:
        """Count one event that would be new; one that waits for its meter by that meter only."""
        if answer.outcome is Outcome.WAITING:
            self.waiting[document["meter"]] += 1
        if answer.outcome is not Outcome.ACCEPTED or answer.record is None:
            return
        record = answer.record
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
    keep_unknown: bool = False,
) -> list[Answer]:
    """Store the documents that can be stored, in one transaction, and say of each what became of it.

    `and_then` takes part in that transaction. A rehearsal does everything and takes it all back. An event of a meter
    that does not exist is refused, or kept waiting for it (`keep_unknown`). Idempotent.
    """
    answers: list[Answer] = []
    reader = _reader(documents, now)
    read = [_read(reader, document) for document in documents]
    try:
        with transaction():
            answers = _store(read, now, keep_unknown)
            if and_then is not None:
                and_then(answers)
            if rehearse:
                raise _Undone
    except _Undone:
        pass
    return answers


def _store(read: Sequence[UsageRecord | InvalidInput], now: datetime, keep_unknown: bool) -> list[Answer]:
    unknown = [each.event for each in read if isinstance(each, UnknownMeter)] if keep_unknown else []
    outcomes, kept = map(iter, store_usage([each for each in read if isinstance(each, UsageRecord)], unknown, now=now))
    answers = []
    for each in read:
        if isinstance(each, UsageRecord):
            answers.append(Answer(each, next(outcomes), None))
        elif keep_unknown and isinstance(each, UnknownMeter):
            answers.append(Answer(None, next(kept), None))
        else:
            answers.append(Answer(None, None, each))
    return answers


def _reader(documents: Sequence[Any], now: datetime) -> Reader:
    named = {
        document["organization"]
        for document in documents
        if isinstance(document, dict) and isinstance(document.get("organization"), str)
    }
    return Reader(
        known_meters(),
        now=now,
        organization_id=None,
        organizations=known_organizations({name for name in named if storable(name)}),
    )


def _read(reader: Reader, document: Any) -> UsageRecord | InvalidInput:
    try:
        return document if isinstance(document, InvalidInput) else reader.read(document)
    except InvalidInput as error:
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """How the rows of a file are stored, and who is told.

    `keep` takes part in a batch's transaction as long as no row at all has been rejected; it is told the number of
    the last row and how many events this run has found good. `reached` is told the number of each batch's last row.
    With a `tally` this is a rehearsal: all is checked and counted, and nothing is stored.
    """

    rejects: RowLog
    reached: Callable[[int], None]
    keep: Callable[[int, int], None] | None = None
    tally: Tally | None = None
    keep_unknown: bool = False

    def good(self, last: int, events: int) -> None:
        """All of a batch is good."""
        if self.keep is not None and not self.rejects.total:
            self.keep(last, events)


def store_events(rows: Iterable[ReadRow], how: Storing) -> Counter[Outcome]:
    """Store the events of numbered rows and count what became of them; name the rows that are not stored."""
    counts: Counter[Outcome] = Counter()
    for batch in batches(rows):
        store_batch(batch, how, counts)
    return counts


def store_batch(batch: Sequence[ReadRow], how: Storing, counts: Counter[Outcome]) -> None:
    """Store one batch of rows, and count what became of its events beside the others."""
    documents = [document for row in batch for document in row.documents]
    last = batch[-1].number

    def hold(answers: list[Answer]) -> None:
        if not any(answer.reason for answer in answers):
            how.good(last, counts.total() + len(answers))

    answers = store_documents(
        documents, now=clock.now(), and_then=hold, rehearse=how.tally is not None, keep_unknown=how.keep_unknown
    )
    places = (row for row in batch for _ in row.documents)
    for row, document, answer in zip(places, documents, answers, strict=True):
        if answer.outcome is not None:
            counts[answer.outcome] += 1
        if answer.reason is not None:
            how.rejects.add(row.number, _id_of(document), answer.reason.field or "", answer.reason.sentence, row.raw)
        elif how.tally is not None:
            how.tally.add(document, answer)
    how.reached(last)


def _id_of(document: Any) -> str:
    found = document.get("id") if isinstance(document, dict) else None
    return found[:255] if isinstance(found, str) else ""
