"""Storing the items of one request: each is stored or refused for itself, and the sender is told which."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from portal.core.errors import InvalidInput
from portal.infra.db import transaction
from portal.usage.events import Reader, UsageRecord
from portal.usage.fields import storable
from portal.usage.known import known_labels, known_meters, known_organizations
from portal.usage.outcomes import REASONS, Outcome
from portal.usage.plain_events import PlainBatch, Sent, read_plain
from portal.usage.storing_plain import store_plain
from portal.usage.unknown import UnknownMeter, WaitingEvent
from portal.usage.waiting import store_usage

REJECTED = "rejected"
# An outcome that an answer has no word of its own for.
_STATUS = {
    Outcome.NO_ORIGINAL: REJECTED,
    Outcome.ARCHIVED: REJECTED,
    Outcome.CORRECTED_BEFORE: str(Outcome.CONFLICT),
}
STATUSES = ("accepted", "duplicate", "conflict", str(Outcome.WAITING), REJECTED)
_SHOWN_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item of a batch that is no event, with its id as far as it has one."""

    event_id: str | None
    error: InvalidInput


@dataclass(frozen=True, slots=True)
class PlainItems:
    """The items of a batch that were read as columns, and how to read them as documents, should that be needed."""

    sent: Sent
    documents: Callable[[], list[Any]]

    def __len__(self) -> int:
        return len(self.sent.ids)


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The result of an item that was stored, in an answer where all were."""

    index: int
    id: str
    status: str = str(Outcome.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Stored:
    """How many items came to what, and of each item its index, id, status and, for a refusal, the reason."""

    counts: dict[str, int]
    results: Sequence[dict[str, Any]] | Sequence[Accepted]

    @property
    def rejections(self) -> list[dict[str, Any]]:
        """The results that have a reason."""
        return [each for each in self.results if isinstance(each, dict) and "message" in each]


def store_items(
    items: Sequence[Any] | PlainItems,
    *,
    organization_id: int | None,
    now: datetime,
    and_then: Callable[[Stored], None],
) -> Stored:
    """Store the items of a request as `store_documents` does, all at once if they are plain."""
    if not isinstance(items, PlainItems):
        return store_documents(items, organization_id=organization_id, now=now, and_then=and_then)
    named = {each for each in items.sent.organizations or () if storable(each)}
    batch = read_plain(
        items.sent,
        known_labels(),
        now=now,
        organization_id=organization_id,
        organizations=known_organizations(named),
    )
    if batch is None:
        return store_documents(items.documents(), organization_id=organization_id, now=now, and_then=and_then)

    def answer(outcomes: Sequence[Outcome]) -> Stored:
        stored = _stored_plain(batch, outcomes)
        and_then(stored)
        return stored

    return store_plain(batch, now=now, and_then=answer)


def _stored_plain(batch: PlainBatch, outcomes: Sequence[Outcome]) -> Stored:
    if outcomes.count(Outcome.ACCEPTED) == len(outcomes):
        counts = dict.fromkeys(STATUSES, 0) | {str(Outcome.ACCEPTED): len(outcomes)}
        return Stored(counts, list(map(Accepted, range(len(outcomes)), batch.event_ids)))
    results = [{"index": index, "id": event_id} for index, event_id in enumerate(batch.event_ids)]
    return _stored(batch.event_ids, results, outcomes)


def store_documents(
    items: Sequence[Any], *, organization_id: int | None, now: datetime, and_then: Callable[[Stored], None]
) -> Stored:
    """Store event documents (or Unreadable items) in a transaction of its own; good ones whatever stands beside them.

    `organization_id` is the sender's; without one, it is the platform and its documents name theirs. `and_then` takes
    part in the transaction. Idempotent.
    """
    reader = Reader(
        known_meters(), now=now, organization_id=organization_id, organizations=known_organizations(_named(items))
    )
    results: list[dict[str, Any]] = []
    records: list[UsageRecord] = []
    unknown: list[WaitingEvent] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, Unreadable):
                raise item.error
            record = reader.read(item)
        except UnknownMeter as error:
            unknown.append(error.event)
            results.append({"index": index, "id": error.event.document["id"], "status": str(Outcome.WAITING)})
        except InvalidInput as error:
            results.append(_rejection(index, item, error))
        else:
            records.append(record)
            results.append({"index": index, "id": record.event_id})
    with transaction():
        outcomes, kept = store_usage(records, unknown, now=now)
        stored = _stored(items, results, outcomes)
        if unknown:
            _answer_for_unknown(stored.counts, results, unknown, kept)
        and_then(stored)
    return stored


def _stored(items: Sequence[Any], results: list[dict[str, Any]], outcomes: Sequence[Outcome]) -> Stored:
    """The results with the outcomes of those items that could be read, in their order, and the counts."""
    counts = dict.fromkeys(STATUSES, 0)
    counts[REJECTED] = len(items) - len(outcomes)
    taken = (result for result in results if "status" not in result) if counts[REJECTED] else results
    for result, outcome in zip(taken, outcomes, strict=True):
        status = status_of(outcome)
        result["status"] = status
        counts[status] += 1
        if outcome in REASONS:
            result["message"] = REASONS[outcome]
    return Stored(counts, results)


def _answer_for_unknown(
    counts: dict[str, int],
    results: list[dict[str, Any]],
    unknown: Sequence[WaitingEvent],
    outcomes: Sequence[Outcome],
) -> None:
    """Give items whose meter does not exist their outcomes, in their order; they are counted as rejected so far."""
    waiting = [result for result in results if result["status"] == Outcome.WAITING]
    for result, event, outcome in zip(waiting, unknown, outcomes, strict=True):
        counts[REJECTED] -= 1
        counts[outcome] += 1
        result["status"] = str(outcome)
        if outcome is Outcome.WAITING:
            result["field"] = "meter"
            result["message"] = (
                f"There is no meter “{event.meter}” yet. The event is kept, and counts as soon as there is one."
            )
        elif outcome in REASONS:
            result["message"] = REASONS[outcome]


def status_of(outcome: Outcome) -> str:
    """The word of an answer for an outcome: one of STATUSES."""
    return _STATUS.get(outcome) or str(outcome)


def id_of(document: Any) -> str | None:
    """The id that an event document gives itself, if it can be shown."""
    found = document.get("id") if isinstance(document, dict) else None
    return found[:_SHOWN_CHARACTERS] if isinstance(found, str) and found.isprintable() else None


def _named(items: Sequence[Any]) -> set[str]:
    """The organizations that documents name."""
    named = (item.get("organization") for item in items if isinstance(item, dict))
    return {name for name in {each for each in named if isinstance(each, str)} if storable(name)}


def _rejection(index: int, item: Any, error: InvalidInput) -> dict[str, Any]:
    return {
        "index": index,
        "id": item.event_id if isinstance(item, Unreadable) else id_of(item),
        "status": REJECTED,
        "field": error.field and _sendable(error.field),
        "message": _sendable(error.sentence),
    }


def _sendable(text: str) -> str:
    """A text that may quote what was sent, lone surrogates in escapes: UTF-8 has none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
