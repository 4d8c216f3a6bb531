"""A mapping file: which column of somebody's file is which field of an event. The reference is docs/usage_sources.md.

Nothing is guessed: a column that a field needs and that is empty rejects the row, and arithmetic is exact.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from zoneinfo import ZoneInfo

from portal.core.errors import InvalidInput
from portal.core.exact import EXACT, exactly, plain
from portal.usage.fields import DECIMALS
from portal.usage.sources.written import as_number, names_of, number_of, text_at, texts_of

NAMES = (
    *("id", "organization", "meter", "quantity", "meters", "time", "correction", "properties"),
    *("source", "delimiter"),
)
_NEEDED = ("id", "organization", "time")
_PARTS = re.compile(r"(\{\{|\}\}|\{[^{}]*\}|[{}])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
_CORRECTION = {"true": True, "false": False, "1": True, "0": False}
Row = Mapping[str, Any]


class EmptyColumn(InvalidInput):
    """A column that is needed has nothing in it."""

    def __init__(self, column: str) -> None:
        super().__init__(f"The column {column} is empty.", field=column)


@dataclass(frozen=True, slots=True)
class Template:
    """Text with {columns} in it, maybe looked up in a list of values afterwards."""

    parts: tuple[str, ...]
    values: Mapping[str, str] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names. Literal text and columns take turns, beginning with text."""
        return self.parts[1::2]

    def text(self, row: Row) -> str:
        """The text for a row. Raises EmptyColumn, and InvalidInput for a value that is not in the list."""
        text = "".join(_cell(row, part) if turn % 2 else part for turn, part in enumerate(self.parts))
        if self.values is None:
            return text
        if text not in self.values:
            raise InvalidInput(f"The mapping has no value for “{text[:60]}”.", field=", ".join(self.columns))
        return self.values[text]


def _template(value: Any, where: str) -> Template:
    """A template as it is written: a text, or `value` and `values`. Raises InvalidInput."""
    if isinstance(value, dict):
        written = names_of(value, where, ("value", "values"), ("value",))
        values = texts_of(written["values"], f"{where}: values") if "values" in written else None
        return _template_of_text(written["value"], where, values)
    return _template_of_text(value, where, None)


def _template_of_text(value: Any, where: str, values: Mapping[str, str] | None) -> Template:
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where} is a text; {{column}} in it stands for a column's value.")
    parts = [""]
    for part in _PARTS.split(value):
        if part in ("{", "}", "{}"):
            raise InvalidInput(f"{where}: a brace of “{value[:60]}” has no partner; a brace itself is {{{{ or }}}}.")
        if part.startswith("{") and part != "{{":
            parts += [part[1:-1], ""]
        else:
            parts[-1] += {"{{": "{", "}}": "}"}.get(part, part)
    return Template(tuple(parts), values)


def _cell(row: Row, column: str) -> str:
    """A column's text. In a JSON object, dots lead into inner objects; numbers and true and false become text."""
    value: Any = row
    if column in row:
        value = row[column]
    else:
        for name in column.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    if value is None or value == "":
        raise EmptyColumn(column)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal) and value.is_finite():
        return plain(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{column} is no text and no number.", field=column)
    return value


@dataclass(frozen=True, slots=True)
class Amount:
    """How the quantity is found: a number, times a factor, rounded only if the mapping says so."""

    number: Template
    factor: Decimal
    decimals: int | None

    @exactly
    def text(self, row: Row) -> str:
        """The quantity. Raises EmptyColumn or InvalidInput."""
        written = self.number.text(row)
        number = as_number(written)
        if number is None:
            field = ", ".join(self.number.columns) or "quantity"
            raise InvalidInput(f"“{written[:60]}” is not a number.", field=field)
        quantity = number * self.factor
        return plain(quantity if self.decimals is None else rounded(quantity, self.decimals))


def rounded(quantity: Decimal, decimals: int = DECIMALS) -> Decimal:
    """A quantity with at most so many decimals, half away from zero."""
    if int(quantity.as_tuple().exponent) >= -decimals:
        return quantity
    with localcontext(EXACT) as context:
        context.clear_traps()
        return quantity.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def _amount(value: Any, where: str) -> Amount:
    """An amount as it is written: a text, or `value`, `multiply` and `round`. Raises InvalidInput."""
    if not isinstance(value, dict):
        return Amount(_template(value, where), Decimal(1), None)
    written = names_of(value, where, ("value", "multiply", "round"), ("value",))
    decimals = written.get("round")
    if decimals is not None and decimals not in map(str, range(DECIMALS + 1)):
        raise InvalidInput(f"{where}: round is a number of decimals from 0 to {DECIMALS}.")
    return Amount(
        _template(written["value"], where),
        number_of(written.get("multiply", "1"), f"{where}: multiply"),
        None if decimals is None else int(decimals),
    )


@dataclass(frozen=True, slots=True)
class When:
    """How the time is written; `zone` holds for times that do not say theirs."""

    written: Template
    format: str
    zone: ZoneInfo | None

    @exactly
    def text(self, row: Row) -> str:
        """The time as an event needs it. Raises EmptyColumn or InvalidInput."""
        text = self.written.text(row)
        try:
            return self._moment(text)
        except (ValueError, OverflowError):
            raise InvalidInput(f"“{text[:60]}” is not a time in the format {self.format}.", field="time") from None

    def _moment(self, text: str) -> str:
        if self.format in _UNITS:
            number = as_number(text)
            if number is None:
                raise ValueError(text)
            return (_EPOCH + timedelta(microseconds=int(number * _UNITS[self.format]))).isoformat()
        if self.format == "iso" and self.zone is None:
            return text  # read, and refused if need be, where all times are
        is_iso = self.format == "iso"
        moment = datetime.fromisoformat(text) if is_iso else datetime.strptime(text, self.format)  # noqa: DTZ007 - below
        if moment.tzinfo is None and self.zone is not None:
            moment = moment.replace(tzinfo=self.zone)
            if moment.utcoffset() != moment.replace(fold=1).utcoffset():
                raise InvalidInput(
                    f"“{text[:60]}” comes twice or never in {self.zone}: the clocks change there.", field="time"
                )
        return moment.isoformat()


def _when(value: Any) -> When:
    """A time as it is written: a text, or `value`, `format` and `zone`. Raises InvalidInput."""
    if not isinstance(value, dict):
        return When(_template(value, "time"), "iso", None)
    written = names_of(value, "time", ("value", "format", "zone"), ("value",))
    form, zone = written.get("format", "iso"), written.get("zone")
    if form not in ("iso", *_UNITS) and (not isinstance(form, str) or "%" not in form):
        raise InvalidInput("time: format is iso, epoch_s, epoch_ms or a pattern such as %d.%m.%Y %H:%M:%S.")
    try:
        return When(_template(written["value"], "time"), form, None if zone is None else ZoneInfo(zone))
    except (OSError, ValueError, TypeError, LookupError):
        raise InvalidInput(
            f"time: there is no zone “{str(zone)[:60]}”; write UTC or a name like Europe/Berlin."
        ) from None


@dataclass(frozen=True, slots=True)
class FileMapping:
    """One mapping file, checked."""

    source: str | None
    delimiter: str
    event_id: Template
    organization: Template
    measured: tuple[tuple[Template, Amount], ...]
    is_wide: bool
    time: When
    correction: Template | None
    properties: Mapping[str, Template]

    @property
    def columns(self) -> list[str]:
        """Every column that it names, once."""
        templates = [self.event_id, self.organization, self.time.written, *self.properties.values()]
        templates += [each for meter, amount in self.measured for each in (meter, amount.number)]
        templates += [self.correction] if self.correction else []
        return list(dict.fromkeys(column for each in templates for column in each.columns))

    def documents(self, row: Row, source: str) -> list[dict[str, Any]]:
        """The event documents of a row: one, or one for each value of a wide row. Raises InvalidInput."""
        shared = {
            "source": source,
            "organization": self.organization.text(row),
            "time": self.time.text(row),
            "correction": self._correction(row),
            "properties": dict(self._properties(row)),
        }
        event_id = self.event_id.text(row)
        if not self.is_wide:
            [(meter, amount)] = self.measured
            return [shared | {"id": event_id, "meter": meter.text(row), "quantity": amount.text(row)}]
        found = []
        for meter, amount in self.measured:
            code = meter.text(row)
            try:
                found.append(shared | {"id": f"{event_id}:{code}", "meter": code, "quantity": amount.text(row)})
            except EmptyColumn:
                continue  # this row did not measure that
        if not found:
            raise InvalidInput("The row has no value for any meter of the mapping.", field="meters")
        return found

    def _correction(self, row: Row) -> bool:
        if self.correction is None:
            return False
        try:
            written = self.correction.text(row)
        except EmptyColumn:
            return False
        if written.lower() not in _CORRECTION:
            raise InvalidInput("correction is true or false.", field="correction")
        return _CORRECTION[written.lower()]

    def _properties(self, row: Row) -> list[tuple[str, str]]:
        found = []
        for name, template in self.properties.items():
            try:
                found.append((name, template.text(row)))
            except EmptyColumn:
                continue  # what is empty is no property
        return found


def read_mapping(document: Any) -> FileMapping:
    """A mapping from its YAML. Raises InvalidInput with the place that does not fit."""
    written = names_of(document, "A mapping", NAMES, _NEEDED)
    delimiter = written.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidInput('delimiter is one character, such as ";" or "\\t".')
    correction = written.get("correction")
    return FileMapping(
        source=text_at(written, "source", "A mapping") if "source" in written else None,
        delimiter=delimiter,
        event_id=_template(written["id"], "id"),
        organization=_template(written["organization"], "organization"),
        measured=_measured(written),
        is_wide="meters" in written,
        time=_when(written["time"]),
        correction=None if correction is None else _template(correction, "correction"),
        properties=_kept(written.get("properties") or []),
    )


def _measured(written: Mapping[str, Any]) -> tuple[tuple[Template, Amount], ...]:
    if "meters" not in written:
        names_of(written, "A mapping", NAMES, ("meter", "quantity"))
        return ((_template(written["meter"], "meter"), _amount(written["quantity"], "quantity")),)
    if "meter" in written or "quantity" in written:
        raise InvalidInput("A mapping has either meter and quantity, or meters.")
    meters = written["meters"]
    if not isinstance(meters, dict) or not meters:
        raise InvalidInput("meters is a mapping of meters' codes to quantities.")
    return tuple((Template((code,)), _amount(amount, f"meters, {code}")) for code, amount in meters.items())


def _kept(properties: Any) -> dict[str, Template]:
    """Properties as they are written: a list of columns that keep their names, or a mapping. Raises InvalidInput."""
    if isinstance(properties, list) and all(isinstance(column, str) and column for column in properties):
        return {column: Template(("", column, "")) for column in properties}
    if not isinstance(properties, dict):
        raise InvalidInput("properties is a list of columns, or a mapping of names to texts.")
    return {name: _template(value, f"properties, {name}") for name, value in properties.items()}
