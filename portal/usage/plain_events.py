"""Reading batches of plain events column by column: reported once, summed up or counted, in the usual spelling.

That is nearly all there is, and a check of a whole column costs a tenth of the same check of each event. Whatever is
not plain, be it right or wrong, makes this say None; then the whole batch is read event by event (usage.events), which
knows all the rules and sentences. A plain batch means the same, read in either way.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from portal.core.errors import InvalidInput
from portal.core.keys import DEFAULT_SOURCE
from portal.core.quantities import Aggregation
from portal.usage.events import EARLIEST, FUTURE_ALLOWED, UsageRecord, added, key_of
from portal.usage.fields import DECIMALS, INTEGER_DIGITS, LONGEST_TEXT, storable
from portal.usage.labels import Kind, LabelBook, Labels

_ADDING_UP = {Aggregation.SUM, Aggregation.COUNT}
_QUANTITY = rf"[0-9]{{1,{INTEGER_DIGITS}}}(?:\.[0-9]{{1,{DECIMALS}}})?"
_QUANTITIES = re.compile(f"{_QUANTITY}(?:,{_QUANTITY})*")
# In UTC. More decimals than six are cut off by the one reader and rounded by the other.
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z"
_MOMENTS = re.compile(f"{_MOMENT}(?:,{_MOMENT})*")
_UUID_LENGTH, _DASHES = 36, (8, 13, 18, 23)


class Sent(NamedTuple):
    """A batch as it was sent, in columns of equal length; all of one source.

    Without organizations, nobody has named one. Quantities are in one text, with commas between them.
    """

    source: str
    ids: Sequence[str]
    organizations: Sequence[str] | None
    kinds: Sequence[Kind]
    quantities: str
    moments: Sequence[str]


@dataclass(frozen=True, slots=True)
class PlainBatch:
    """A batch that was read, in columns, in the order in which it was sent. No key is there twice.

    Keys are 32 hexadecimal digits, and `are_ids` if every id is its key as a UUID; moments are in UTC and written
    without their zone.
    """

    source: str
    organizations: Sequence[int]
    keys: Sequence[str]
    event_ids: Sequence[str]
    are_ids: bool
    labels: Sequence[Labels]
    quantities: Sequence[str]
    moments: Sequence[str]

    def record(self, place: int) -> UsageRecord:
        """The event at this place as the reader of single events gives it."""
        labels, quantity = self.labels[place], Decimal(self.quantities[place])
        return UsageRecord(
            organization_id=self.organizations[place],
            event_key=bytes.fromhex(self.keys[place]),
            event_id=self.event_ids[place],
            source=self.source,
            meter_id=labels.meter_id,
            series_id=labels.series_id,
            dimensions=labels.dimensions,
            occurred_at=datetime.fromisoformat(self.moments[place]).replace(tzinfo=UTC),
            quantity=quantity,
            correction=False,
            properties=labels.rest,
            aggregation=labels.aggregation,
            adds=added(labels.aggregation, quantity),
        )

    def records(self) -> list[UsageRecord]:
        """All events."""
        return [self.record(place) for place in range(len(self.keys))]


class _Event(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    id: str
    meter: str
    quantity: Raw
    time: str
    organization: str | UnsetType = UNSET
    source: str | UnsetType = UNSET
    properties: dict[str, str] | UnsetType = UNSET


_LIST, _ONE = msgspec.json.Decoder(list[_Event]), msgspec.json.Decoder(_Event)
_ENCODER = msgspec.json.Encoder()


def sent_as_json(body: bytes) -> Sent | None:
    """The events of a JSON body; None if they are not plain, or the body cannot be read.

    The decoder lets the last of two equal names win, so what it has read is counted: in a body without backslashes
    every quotation mark begins or ends a text, and a text that was lost is missing when written again.
    """
    if b"\\" in body:
        return None
    try:
        events = [_ONE.decode(body)] if body[:1] == b"{" else _LIST.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    sources = {each.source for each in events}
    if len(sources) != 1 or _ENCODER.encode(events).count(b'"') != body.count(b'"'):
        return None
    source = sources.pop()
    organizations = [each.organization for each in events]
    named = [each for each in organizations if each is not UNSET]
    if named and len(named) != len(events):
        return None
    return Sent(
        DEFAULT_SOURCE if source is UNSET else source,
        [each.id for each in events],
        named or None,
        [(each.meter, *each.properties.items()) if each.properties else (each.meter,) for each in events],
        _ENCODER.encode([each.quantity for each in events]).decode()[1:-1].replace('"', ""),
        [each.time for each in events],
    )


def read_plain(
    sent: Sent, labels: LabelBook, *, now: datetime, organization_id: int | None, organizations: Mapping[str, int]
) -> PlainBatch | None:
    """A batch with its keys, organizations and series; None if there is anything about it that is not plain."""
    moments, quantities = _moments_of(sent.moments, now), _quantities_of(sent)
    found = _organizations_of(sent, organization_id, organizations)
    if moments is None or quantities is None or found is None or not _are_ids(sent):
        return None
    try:
        of_kind = [labels.of_kind(kind) for kind in sent.kinds]
    except InvalidInput:
        return None
    known = [each for each in of_kind if each is not None and each.aggregation in _ADDING_UP]
    digits = _digits_of_uuids(sent.ids) if sent.source == DEFAULT_SOURCE else None
    keys = digits or [key_of(each, sent.source).hex() for each in sent.ids]
    if len(known) != len(keys) or len(set(keys)) != len(keys):
        return None
    return PlainBatch(sent.source, found, keys, sent.ids, digits is not None, known, quantities, moments)


def _are_ids(sent: Sent) -> bool:
    lengths = [*map(len, sent.ids), len(sent.source)]
    return min(lengths) >= 1 and max(lengths) <= LONGEST_TEXT and storable("".join((sent.source, *sent.ids)))


def _digits_of_uuids(ids: Sequence[str]) -> list[str] | None:
    """Of ids that are all UUIDs in their one spelling, the hexadecimal digits; else None.

    If dashes and commas stand where they have to, and all else are digits, then nothing stands where it has not to.
    """
    count, joined = len(ids), ",".join(ids)
    if len(joined) != count * (_UUID_LENGTH + 1) - 1:
        return None
    if any(joined[place :: _UUID_LENGTH + 1] != "-" * count for place in _DASHES):
        return None
    spelled = joined.replace("-", "")
    digits = spelled.replace(",", "")
    try:
        is_hexadecimal = len(digits) == 32 * count and bytes.fromhex(digits).hex() == digits
    except ValueError:
        return None
    return spelled.split(",") if is_hexadecimal else None


def _quantities_of(sent: Sent) -> list[str] | None:
    quantities = sent.quantities.split(",")
    return quantities if len(quantities) == len(sent.ids) and _QUANTITIES.fullmatch(sent.quantities) else None


def _moments_of(sent: Sequence[str], now: datetime) -> list[str] | None:
    """Moments without their zone. Written so they are in the order of time: the longer of two has a fraction more."""
    joined = ",".join(sent).replace("+00:00", "Z")
    if not _MOMENTS.fullmatch(joined):
        return None
    moments = joined.replace("Z", "").split(",")
    if len(moments) != len(sent) or min(moments) < without_zone(EARLIEST):
        return None
    if max(moments) > without_zone(now + FUTURE_ALLOWED):
        return None
    try:
        for day in {each[:10] for each in moments}:
            date.fromisoformat(day)
    except ValueError:
        return None
    return moments


def without_zone(moment: datetime) -> str:
    """A moment as the columns of a plain batch write it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def _organizations_of(
    sent: Sent, organization_id: int | None, organizations: Mapping[str, int]
) -> Sequence[int] | None:
    if organization_id is None:
        found = [] if sent.organizations is None else [organizations.get(name) for name in sent.organizations]
        known = [each for each in found if each is not None]
        return known if len(known) == len(sent.ids) else None
    if any(organizations.get(name) != organization_id for name in set(sent.organizations or ())):
        return None
    return [organization_id] * len(sent.ids)
