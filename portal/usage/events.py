"""Reading usage events that somebody sent: strict types, and a sentence that names the item and the field."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from portal.catalog.models import Meter
from portal.core.errors import InvalidInput
from portal.core.keys import DEFAULT_SOURCE, event_key, series_key

FIELDS = {"id", "organization", "meter", "quantity", "time", "source", "properties", "correction"}
LONGEST_TEXT = 255
MOST_PROPERTIES = 32
# Sums have room for 26 digits: a hundred thousand million of the largest events on one day.
DECIMALS, INTEGER_DIGITS = 12, 15
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
FUTURE_ALLOWED = timedelta(days=1)
_WRITTEN = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]")


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One event, checked and with its keys, ready to be stored."""

    organization_id: int
    event_key: UUID
    event_id: str
    source: str
    meter_id: int
    series_id: int
    dimensions: Mapping[str, str]
    occurred_at: datetime
    quantity: Decimal
    correction: bool
    properties: Mapping[str, str] | None


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

    def read(self, document: Any) -> UsageRecord:
        """One event document as a record. Raises InvalidInput with the field that does not fit."""
        if not isinstance(document, dict):
            raise InvalidInput("An event is a JSON object.")
        unknown = set(document) - FIELDS
        if unknown:
            name = min(unknown)
            raise InvalidInput(
                f"An event has no field “{name[:60]}”. Put what you want to keep into properties.", field=name
            )
        event_id = text_of(document, "id")
        source = text_of(document, "source", default=DEFAULT_SOURCE)
        code = text_of(document, "meter")
        meter = self._meters.get(code)
        if meter is None:
            raise InvalidInput(
                f"There is no meter “{code}”. GET /api/v1/meters lists those that there are.", field="meter"
            )
        correction = document.get("correction", False)
        if not isinstance(correction, bool):
            raise InvalidInput("correction is true or false.", field="correction")
        properties = _properties(document.get("properties"))
        dimensions = {name: properties[name] for name in meter.dimensions if name in properties}
        rest = {name: value for name, value in properties.items() if name not in dimensions}
        return UsageRecord(
            organization_id=self._organization_of(document),
            event_key=event_key(event_id, source),
            event_id=event_id,
            source=source,
            meter_id=meter.id,
            series_id=series_key(meter.id, dimensions),
            dimensions=dimensions,
            occurred_at=self._moment(document.get("time")),
            quantity=quantity_of(document.get("quantity"), negative_allowed=correction),
            correction=correction,
            properties=rest or None,
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
        name = text_of(document, "organization")
        if name not in self._organizations:
            raise InvalidInput(f"There is no active organization “{name}”.", field="organization")
        return self._organizations[name]

    def _moment(self, value: Any) -> datetime:
        if not isinstance(value, str):
            raise InvalidInput("time is text like 2026-11-22T14:32:00Z.", field="time")
        try:
            moment = datetime.fromisoformat(value if _DATED.match(value) else "")
            if moment.tzinfo is None:
                raise InvalidInput("time needs its zone; end it with Z for UTC.", field="time")
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput(
                f"“{value[:60]}” is not a time; write it like 2026-11-22T14:32:00Z.", field="time"
            ) from None
        if not EARLIEST <= moment <= self._latest:
            raise InvalidInput("time lies before the year 2000 or more than a day ahead.", field="time")
        return moment


def text_of(document: Mapping[str, Any], field: str, *, default: str | None = None) -> str:
    """A text field of 1 to 255 characters that a database can hold. Raises InvalidInput."""
    value = document.get(field, default)
    if value is None:
        raise InvalidInput(f"{field} is missing.", field=field)
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_TEXT or not storable(value):
        raise InvalidInput(f"{field} is text of 1 to {LONGEST_TEXT} characters.", field=field)
    return value


def storable(value: str) -> bool:
    """Whether PostgreSQL can hold the text: no NUL, no lone surrogate."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def quantity_of(value: Any, *, negative_allowed: bool = False) -> Decimal:
    """A quantity: a JSON number or a string of digits, finite, up to 15 digits and 12 decimals. Raises InvalidInput."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity")
    if isinstance(value, str) and len(value) > INTEGER_DIGITS + DECIMALS + 2:
        raise InvalidInput(f"quantity has at most {INTEGER_DIGITS} digits and {DECIMALS} decimals.", field="quantity")
    if isinstance(value, str) and not _WRITTEN.fullmatch(value):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity")
    try:
        quantity = Decimal(value)
    except (InvalidOperation, ValueError):
        raise InvalidInput("quantity is a number, or a string of digits.", field="quantity") from None
    if not quantity.is_finite():
        raise InvalidInput("quantity is a finite number.", field="quantity")
    exponent = int(quantity.as_tuple().exponent)
    if exponent < -DECIMALS or quantity.adjusted() >= INTEGER_DIGITS:
        raise InvalidInput(f"quantity has at most {INTEGER_DIGITS} digits and {DECIMALS} decimals.", field="quantity")
    if quantity.is_signed() and not negative_allowed and quantity != 0:
        raise InvalidInput(
            "quantity is zero or more; a correction may be negative (correction: true).", field="quantity"
        )
    return abs(quantity) if quantity == 0 else quantity


def _properties(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_PROPERTIES:
        raise InvalidInput(f"properties is an object of at most {MOST_PROPERTIES} texts.", field="properties")
    for name in value:
        if not storable(name) or not 1 <= len(name) <= LONGEST_TEXT:
            raise InvalidInput("A property's name is text of 1 to 255 characters.", field="properties")
        text_of(value, name)
    return value


class MalformedBody(InvalidInput):
    """The body as a whole cannot be read, so nothing of it was looked at."""

    code, status = "malformed_body", 400


class DuplicateName(ValueError):
    """The same name twice in one JSON object: readers disagree about which one counts, so neither does."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise DuplicateName("An object of the body has the same name twice.")
    return document


def read_json(body: bytes) -> Any:
    """Parse a body strictly: UTF-8, exact numbers, no name twice, no NaN. Raises MalformedBody."""
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_int=Decimal,
            parse_constant=Decimal,
            object_pairs_hook=_no_duplicates,
        )
    except DuplicateName as error:
        raise MalformedBody(str(error)) from None
    except (ValueError, RecursionError, InvalidOperation):
        raise MalformedBody("The body is not valid JSON in UTF-8.") from None
