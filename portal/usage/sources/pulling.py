"""Pulling usage from Prometheus: span by span of whole steps, each stored before the watermark moves past it.

The id of an event comes from the query's name, the series' labels and the step's start, so pulling a span twice, also
from two processes at once, stores nothing twice. A query stops at its first error and keeps its watermark.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal.core.errors import InvalidInput
from portal.core.exact import plain
from portal.core.keys import canonical_json
from portal.infra import clock
from portal.infra.db import db, transaction
from portal.usage.outcomes import Outcome
from portal.usage.sources.models import UsagePull
from portal.usage.sources.prometheus import Prometheus, PullFailed, Series
from portal.usage.sources.pull_files import (
    MOST_POINTS,
    Kind,
    PullFile,
    PullQuery,
    moment_of,
    read_pull_file,
    seconds_of,
    written,
)
from portal.usage.sources.stepping import Span, present, steps_of
from portal.usage.sources.storing import Answer, batches, store_documents

log = logging.getLogger(__name__)
SOURCE = "prometheus"
# The clock has other work: what is not reached in this time comes a minute later, the longest unseen query first.
CLOCK_SECONDS = 15
# How far back a counter's last value is looked for when its series has none at the start of a span.
_LOOK_BACK_SECONDS, _LOOK_BACK_POINTS = 86_400, 5_000


class Pulled(NamedTuple):
    """What became of one query in one run."""

    name: str
    stored: int
    there_already: int
    watermark: datetime | None
    note: str | None
    error: str | None


@dataclass(slots=True)
class _Seen:
    """What a run meets on its way and says afterwards."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    spans: int = 0
    series: int = 0
    wanted: int = 0
    present: int = 0
    not_numbers: int = 0
    without_base: int = 0
    warnings: dict[str, None] = field(default_factory=dict)

    @property
    def note(self) -> str | None:
        """In sentences; None if there is nothing to say."""
        missing = self.wanted - self.present - self.not_numbers
        said = {
            "no series": self.spans and not self.series,
            f"{missing:,} of {self.wanted:,} samples missing": missing,
            f"{self.not_numbers:,} samples not a number": self.not_numbers,
            f"{self.without_base:,} counters counted from their first sample on": self.without_base,
            f"{self.outcomes[Outcome.CONFLICT]:,} events there already with other quantities, which stay": (
                self.outcomes[Outcome.CONFLICT]
            ),
            **dict.fromkeys(self.warnings, 1),
        }
        return "; ".join(sentence for sentence, is_so in said.items() if is_so) or None


def pull_by_clock(path: str | None) -> None:
    """Pull what the file names, for as long as the clock has time; no file, no work. Errors are kept, not raised."""
    if path is None:
        return
    try:
        file = read_pull_file(path)
    except InvalidInput as error:
        log.error("the file of pulls cannot be used", extra={"error": error.sentence})
        return
    for pulled in pull(file, now=clock.now(), seconds=CLOCK_SECONDS):
        if pulled.error:
            log.warning("usage could not be pulled", extra={"query": pulled.name, "error": pulled.error})


def pull(file: PullFile, *, now: datetime, only: str | None = None, seconds: int | None = None) -> Iterator[Pulled]:
    """Bring every query (or `only` one) up to `now` less the file's lag; with `seconds`, begin nothing after them."""
    latest = None if seconds is None else time.monotonic_ns() + seconds * 1_000_000_000
    with transaction():
        states = {state.name: state for state in db.session.scalars(select(UsagePull))}
    queries = [query for query in file.queries if only in (None, query.name)]
    queries.sort(key=lambda query: seconds_of(states[query.name].last_run_at) if query.name in states else 0)
    for query in queries:
        if latest is not None and time.monotonic_ns() >= latest:
            return
        yield _pull_query(file, query, states.get(query.name), now=now, latest=latest)


def _pull_query(
    file: PullFile, query: PullQuery, state: UsagePull | None, *, now: datetime, latest: int | None
) -> Pulled:
    seen, error = _Seen(), None
    mark = None if state is None else state.watermark
    try:
        for span in _spans(query, mark, now=now, lag=file.lag):
            if latest is not None and time.monotonic_ns() >= latest:
                break
            _pull_span(file.server, query, span, seen, now=now)
            reached = moment_of(span.end)
            if not _move(query.name, mark, reached, now=now):
                break  # another process is at it
            mark = reached
    except PullFailed as failed:
        error = failed.sentence
    except DecimalException:
        error = "Its samples are too large and too small to be added up exactly."
    pulled = Pulled(
        query.name, seen.outcomes[Outcome.ACCEPTED], seen.outcomes[Outcome.DUPLICATE], mark, seen.note, error
    )
    _keep(pulled, now=now)
    return pulled


def _spans(query: PullQuery, mark: datetime | None, *, now: datetime, lag: int) -> Iterator[Span]:
    """Whole steps, as many at a time as one answer may hold. A query without a past begins at its last whole step."""
    end = (seconds_of(now) - lag) // query.step * query.step
    begin = mark or query.start
    start = end if begin is None else seconds_of(begin)
    if start % query.step:
        raise PullFailed(
            f"{moment_of(start).isoformat()} is no beginning of a step of {query.step} s. Start there, or use a step"
            " that divides the day so that it is one; a query with a new name begins anew."
        )
    if begin is None:
        yield Span(end, end)
    most = max(1, MOST_POINTS // (query.step // query.resolution)) * query.step
    while start < end:
        yield Span(start, min(start + most, end))
        start += most


def _pull_span(server: Prometheus, query: PullQuery, span: Span, seen: _Seen, *, now: datetime) -> None:
    """Ask for a span and store it. Raises PullFailed."""
    if span.start == span.end:
        return
    series, warnings = server.query_range(query.promql, start=span.start, end=span.end, step=query.resolution)
    bases = _bases(server, query, series, span)
    seen.spans += 1
    seen.warnings |= dict.fromkeys(warnings)
    seen.series += len(series)
    for batch in batches(_documents(query, series, span, bases, seen)):
        answers = store_documents([document for _, document in batch], now=now, and_then=_refuse(batch))
        seen.outcomes.update(answer.outcome for answer in answers if answer.outcome is not None)


def _refuse(batch: Sequence[tuple[Series, Any]]) -> Any:
    """Raises PullFailed, which takes the batch back, for the first event that cannot be stored."""

    def look(answers: list[Answer]) -> None:
        for (series, _), answer in zip(batch, answers, strict=True):
            if answer.refusal is not None:
                raise PullFailed(f"The series {written(series.labels)} cannot be stored: {answer.refusal.sentence}")

    return look


def _documents(
    query: PullQuery, series: Sequence[Series], span: Span, bases: dict[str, Decimal], seen: _Seen
) -> Iterator[tuple[Series, Any]]:
    for each in series:
        has, wants = present(query, each.samples, span)
        seen.present += has
        seen.wanted += wants
        seen.not_numbers += sum(value is None for value in each.samples.values())
        base = bases.get(_name_of(each))
        seen.without_base += query.kind is Kind.COUNTER and base is None
        shared = {
            "meter": query.meter,
            "organization": query.payer.of(each.labels),
            "source": SOURCE,
            "properties": {
                name: each.labels[label] for name, label in query.properties.items() if each.labels.get(label)
            },
        }
        for start, quantity in steps_of(query, each.samples, span, base):
            yield (
                each,
                shared
                | {
                    "id": event_id(query.name, each, start),
                    "quantity": plain(quantity),
                    "time": moment_of(start).isoformat(),
                },
            )


def event_id(name: str, series: Series, start: int) -> str:
    """The id of a step's event: the same whenever and by whomever it is pulled, and ordered by time (RFC 9562, v8)."""
    digest = hashlib.sha256(canonical_json([name, dict(series.labels), start]).encode()).digest()
    value = int.from_bytes((start * 1_000).to_bytes(6, "big") + digest[:10], "big")
    value = value & ~(0xF << 76) | (8 << 76)
    value = value & ~(0b11 << 62) | (0b10 << 62)
    return str(UUID(int=value))


def _name_of(series: Series) -> str:
    """A series without the metric's own name, which functions take away."""
    return canonical_json({name: value for name, value in series.labels.items() if name != "__name__"})


def _bases(server: Prometheus, query: PullQuery, series: Sequence[Series], span: Span) -> dict[str, Decimal]:
    """The last value of each counter at or before the start of a span; one that was never seen has none."""
    if query.kind is not Kind.COUNTER:
        return {}
    found = {_name_of(each): value for each in series if (value := each.samples.get(span.start)) is not None}
    if len(found) < len(series):
        back = min(_LOOK_BACK_SECONDS, _LOOK_BACK_POINTS * query.resolution)
        promql = f"last_over_time(({query.promql})[{back}s:{query.resolution}s])"
        for each in server.query(promql, at=span.start):
            [value] = each.samples.values()
            if value is not None:
                found.setdefault(_name_of(each), value)
    return found


def _move(name: str, seen: datetime | None, reached: datetime, *, now: datetime) -> bool:
    """Move a watermark from where it was seen; False if it is not there any more."""
    statement = insert(UsagePull).values(name=name, watermark=reached, last_run_at=now, last_count=0)
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={"watermark": reached},
        where=UsagePull.watermark.is_not_distinct_from(seen),
    )
    with transaction() as session:
        return session.execute(statement.returning(UsagePull.name)).first() is not None


def _keep(pulled: Pulled, *, now: datetime) -> None:
    """Keep what a run came to, beside the watermark."""
    values = {
        "last_run_at": now,
        "last_error": pulled.error,
        "last_count": pulled.stored,
        "last_note": pulled.note,
    }
    statement = insert(UsagePull).values(name=pulled.name, watermark=None, **values)
    with transaction() as session:
        session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def pull_states() -> list[UsagePull]:
    """How far every query has come, by name."""
    with transaction():
        return list(db.session.scalars(select(UsagePull).order_by(UsagePull.name)))
