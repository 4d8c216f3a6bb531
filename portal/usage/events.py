"""Reading usage events that somebody sent: strict types, and a sentence that names the item and the field."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from portal.catalog.models import Meter
from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, plain
from portal.core.keys import DEFAULT_SOURCE, event_key
from portal.core.quantities import Aggregation
from portal.usage.fields import properties_of, quantity_of, text_of
from portal.usage.labels import LabelBook
from portal.usage.unknown import UnknownMeter, WaitingEvent

FIELDS = {
    *("id", "organization", "meter", "quantity", "time", "source", "properties", "correction", "amends", "cancels")
}
_OF_A_CANCELLATION = {"id", "organization", "source", "cancels"}
# A level is multiplied by seconds, which have six decimals of their own.
DECIMALS_OF_LEVELS = 6
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
FUTURE_ALLOWED = timedelta(days=1)
_ONE = Decimal(1)
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")


class UsageRecord(msgspec.Struct, frozen=True, gc=False):
    """One event, checked and with its keys, ready to be stored. The key is 16 bytes; the moment is in UTC.

    `adds` is what it adds to its day, None if that depends on the series' other events. An amendment or cancellation
    has the key of the event that it corrects; a cancellation counts nothing itself, and gets the rest from that event.
    """

    organization_id: int
    event_key: bytes
    event_id: str
    source: str
    meter_id: int
    series_id: int
    dimensions: Mapping[str, str]
    occurred_at: datetime
    quantity: Decimal
    correction: bool
    properties: Mapping[str, str] | None
    aggregation: Aggregation = Aggregation.SUM
    adds: Decimal | None = ZERO
    subject: bytes | None = None
    corrects: bytes | None = None
    counts: bool = True


class Reader:
    """Reads events of one batch, given the meters and organizations that they may name."""

    def __init__(
        self,
        meters: Mapping[str, Meter],
        *,
        now: datetime,
        organization_id: int | None,
        organizations: Mapping[str, int],
    ) -> None:
        self._meters = meters
        self._latest = now + FUTURE_ALLOWED
        self._organization_id = organization_id
        self._organizations = organizations
        self._labels = LabelBook(meters)

    def read(self, document: Any) -> UsageRecord:
        """One event document as a record. Raises InvalidInput with the field that does not fit.

        Raises UnknownMeter, with the event to keep, if it is only the meter that there is not.
        """
        if not isinstance(document, dict):
            raise InvalidInput("An event is a JSON object.")
        if not FIELDS.issuperset(document):
            name = min(set(document) - FIELDS)
            raise InvalidInput(
                f"An event has no field “{name[:60]}”. Put what you want to keep into properties.", field=name
            )
        event_id = text_of(document, "id")
        source = text_of(document, "source") if "source" in document else DEFAULT_SOURCE
        if "cancels" in document:
            return self._cancellation(document, event_id, source)
        correction = document.get("correction", False)
        if not isinstance(correction, bool):
            raise InvalidInput("correction is true or false.", field="correction")
        code = document.get("meter")
        meter = self._meters.get(code) if isinstance(code, str) else None
        if meter is None:
            raise UnknownMeter(self._waiting(document, event_id, source, correction))
        labels = self._labels.of(meter, document.get("properties"))
        aggregation = labels.aggregation
        quantity = quantity_of(
            document.get("quantity", _QUANTITY_LEFT_OUT.get(aggregation)), negative_allowed=correction
        )
        if aggregation is not Aggregation.SUM:
            _check_quantity(aggregation, quantity, correction)
        return UsageRecord(
            organization_id=self._organization_of(document),
            event_key=key_of(event_id, source),
            event_id=event_id,
            source=source,
            meter_id=labels.meter_id,
            series_id=labels.series_id,
            dimensions=labels.dimensions,
            occurred_at=self._moment(document.get("time")),
            quantity=quantity,
            correction=correction,
            properties=labels.rest,
            aggregation=aggregation,
            adds=quantity if aggregation is Aggregation.SUM else added(aggregation, quantity),
            subject=labels.subject,
            corrects=key_of(text_of(document, "amends"), source) if "amends" in document else None,
        )

    def _waiting(self, document: Mapping[str, Any], event_id: str, source: str, correction: bool) -> WaitingEvent:
        """An event whose meter is not known, with all checks but those that need the meter."""
        sent: dict[str, Any] = {"id": event_id, "source": source, "meter": text_of(document, "meter")}
        if "quantity" in document:
            sent["quantity"] = plain(quantity_of(document["quantity"], negative_allowed=correction))
        moment = self._moment(document.get("time"))
        sent["time"] = moment.isoformat()
        if properties := properties_of(document.get("properties")):
            sent["properties"] = properties
        if correction:
            sent["correction"] = True
        if "amends" in document:
            sent["amends"] = text_of(document, "amends")
        return WaitingEvent(self._organization_of(document), key_of(event_id, source), moment, sent)

    def _cancellation(self, document: Mapping[str, Any], event_id: str, source: str) -> UsageRecord:
        """Only the original is named; what it was is filled in when the cancellation is stored."""
        others = document.keys() - _OF_A_CANCELLATION
        if others:
            name = min(others)
            raise InvalidInput(f"A cancellation only names the event that it cancels; leave out {name}.", field=name)
        return UsageRecord(
            organization_id=self._organization_of(document),
            event_key=key_of(event_id, source),
            event_id=event_id,
            source=source,
            meter_id=0,
            series_id=0,
            dimensions={},
            occurred_at=EARLIEST,
            quantity=ZERO,
            correction=False,
            properties=None,
            corrects=key_of(text_of(document, "cancels"), source),
            counts=False,
        )

    def _organization_of(self, document: Mapping[str, Any]) -> int:
        named = document.get("organization")
        if self._organization_id is not None:
            if named is not None and self._organizations.get(str(named)) != self._organization_id:
                raise InvalidInput(
                    "This key reports for its own organization only; leave the field out.",
                    field="organization",
                )
            return self._organization_id
        known = self._organizations.get(named) if isinstance(named, str) else None
        if known is None:
            name = text_of(document, "organization")
            raise InvalidInput(f"There is no active organization “{name}”.", field="organization")
        return known

    def _moment(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise InvalidInput("time is text like 2026-11-22T14:32:00Z.", field="time")
        try:
            moment = datetime.fromisoformat(value if _DATED.match(value) else "")
            if moment.tzinfo is None:
                raise InvalidInput("time needs its zone; end it with Z for UTC.", field="time")
            if moment.tzinfo is not UTC:
                moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput(
                f"“{value[:60]}” is not a time; write it like 2026-11-22T14:32:00Z.", field="time"
            ) from None
        if not EARLIEST <= moment <= self._latest:
            raise InvalidInput("time lies before the year 2000 or more than a day ahead.", field="time")
        return moment


_QUANTITY_LEFT_OUT = {Aggregation.COUNT: "1", Aggregation.UNIQUE: "1"}


def added(aggregation: Aggregation, quantity: Decimal) -> Decimal | None:
    """What an event adds to its day; None if that depends on the series' other events."""
    if aggregation is Aggregation.SUM:
        return quantity
    return _ONE if aggregation is Aggregation.COUNT else None


def _check_quantity(aggregation: Aggregation, quantity: Decimal, correction: bool) -> None:
    if correction:
        raise InvalidInput(
            "Only what is summed up is corrected by a difference; name the event that you amend or cancel.",
            field="correction",
        )
    if aggregation is Aggregation.LEVEL and int(quantity.as_tuple().exponent) < -DECIMALS_OF_LEVELS:
        raise InvalidInput(f"A level has at most {DECIMALS_OF_LEVELS} decimals.", field="quantity")


def key_of(event_id: str, source: str) -> bytes:
    """The bytes of `event_key`, at a tenth of its price for a UUID from the default source: those are its digits."""
    if source == DEFAULT_SOURCE and len(event_id) == 36 and event_id[8:24:5] == "----":
        digits = event_id.replace("-", "")
        try:
            key = bytes.fromhex(digits)
        except ValueError:
            return event_key(event_id, source).bytes
        if key.hex() == digits and len(key) == 16:
            return key
    return event_key(event_id, source).bytes
