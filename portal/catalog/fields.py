"""Reading the fields of a plain document, and noting everything that is wrong in it under its path. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar

from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput
from portal.core.quantities import Aggregation
from portal.core.subscriptions import Interval
from portal.core.terms import WRITTEN, Terms, terms_from_json

T = TypeVar("T")
# What no column takes or no line shows: control characters but for tabs and line ends, and halves of characters.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_MOST_DIGITS = 18
LONGEST_TEXT = 255
_LARGEST_COUNT = 99_999


class Problems(list[InvalidInput]):
    """What was refused, with where it stands; `dropped` are the sections and keys of entries that were left out."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped: set[tuple[str, Any]] = set()

    def add(self, path: str, sentence: str) -> None:
        """Note one more."""
        self.append(InvalidInput(sentence, field=path))

    @contextmanager
    def at(self, path: str) -> Iterator[None]:
        """What is refused inside is noted, under this path, and the rest of the block left out."""
        try:
            yield
        except InvalidInput as refused:
            within = refused.field or ""
            self.add(f"{path}{'.' if path and within and within[0] != '[' else ''}{within}", refused.sentence)


class Fields:
    """The fields of one entry; what does not fit is noted under its path and read as what stands for nothing."""

    def __init__(self, content: Mapping[str, Any], path: str, problems: Problems) -> None:
        self.path = path
        self._content, self._problems = content, problems

    def only(self, what: str, *known: str) -> None:
        """Refuse all fields but these."""
        for name in sorted(set(self._content) - set(known)):
            self._problems.add(f"{self.path}.{name}", f"{what} has no “{name}”; it has {', '.join(known)}.")

    def has(self, name: str) -> bool:
        """Whether a field is given; null is the same as none."""
        return self._content.get(name) is not None

    def refuse(self, name: str, sentence: str) -> None:
        """Note that a field does not fit."""
        self._problems.add(f"{self.path}.{name}", sentence)

    def text(self, name: str) -> str:
        """A text that has to be there."""
        return self._read(name, "", _text, needed=True)

    def optional(self, name: str) -> str | None:
        """A text that may be left out."""
        return self._read(name, None, _text)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts, by default empty."""
        return self._read(name, (), _texts)

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        return self._read(name, default, _flag)

    def count(self, name: str) -> int | None:
        """A whole number of zero or more."""
        return self._read(name, None, _count)

    def number(self, name: str) -> Decimal | None:
        """A decimal number."""
        return self._read(name, None, _number)

    def day(self, name: str, *, needed: bool = False) -> date | None:
        """A day."""
        return self._read(name, None, _day, needed=needed)

    def interval(self, name: str) -> Interval:
        """month or year."""
        return self._read(name, Interval.MONTH, _interval)

    def aggregation(self, name: str) -> Aggregation:
        """How a meter counts, by default by summing up."""
        return self._read(name, Aggregation.SUM, _aggregation)

    def currency(self, name: str, *, needed: bool = True) -> str | None:
        """An ISO 4217 code."""
        return self._read(name, None, _currency, needed=needed)

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """A mapping of texts to texts, in the order of the names."""
        return self._read(name, (), _pairs)

    def terms(self, name: str) -> Terms | None:
        """The terms of a price; a refusal names the field within them."""
        return self._read(name, None, _terms, needed=True)

    def entries(self, name: str) -> Iterator["Fields"]:
        """The entries of a list that has to have some."""
        items: list[Any] = self._read(name, [], _list, needed=True)
        for index, item in enumerate(items):
            path = f"{self.path}.{name}[{index}]"
            if isinstance(item, Mapping):
                yield Fields(item, path, self._problems)
            else:
                self._problems.add(path, "Fields and their values belong here.")

    def _read(self, name: str, default: T, read: Callable[[Any], T], *, needed: bool = False) -> T:
        if self.has(name):
            with self._problems.at(f"{self.path}.{name}"):
                return read(self._content[name])
        elif needed:
            self.refuse(name, f"“{name}” is missing.")
        return default


def _text(value: Any, field: str | None = None) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput("A text belongs here; put quotes around true, false and null.", field=field)
    if len(value) > LONGEST_TEXT:
        raise InvalidInput(f"The text has more than {LONGEST_TEXT} characters.", field=field)
    if _UNFIT.search(value):
        raise InvalidInput("The text has a control character.", field=field)
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidInput("A list belongs here: [one, two].")
    return tuple(_text(each, f"[{index}]") for index, each in enumerate(value))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("true or false belongs here.")
    return value


def _number(value: Any) -> Decimal:
    # As terms read them: Decimal itself would also take 1_000, spaces around it, and other scripts' digits.
    if isinstance(value, str | int) and not isinstance(value, bool) and WRITTEN.fullmatch(str(value)):
        number = Decimal(value)
        if int(number.as_tuple().exponent) >= -_MOST_DIGITS and number.adjusted() < _MOST_DIGITS:
            return number
    raise InvalidInput(f"“{value}” is not a number.")


def _count(value: Any) -> int:
    number = _number(value)
    if not 0 <= number <= _LARGEST_COUNT or number != number.to_integral_value():
        raise InvalidInput(f"A whole number up to {_LARGEST_COUNT:,} belongs here, not “{value}”.")
    return int(number)


def _day(value: Any) -> date:
    try:
        day = date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise InvalidInput(f"“{value}” is not a day; write it like 2026-11-01.")
    return day


def _interval(value: Any) -> Interval:
    if value not in tuple(Interval):
        raise InvalidInput(f"A plan is paid by the {' or '.join(Interval)}, not by the “{value}”.")
    return Interval(value)


def _aggregation(value: Any) -> Aggregation:
    if value not in tuple(Aggregation):
        raise InvalidInput(f"A meter counts by {', '.join(Aggregation)}; “{value}” is none of them.")
    return Aggregation(value)


def _currency(value: Any) -> str:
    try:
        return require_currency(_text(value))
    except InvalidInput as refused:
        raise InvalidInput(refused.sentence) from None


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping):
        raise InvalidInput("Dimensions and their values belong here: {region: fra}.")
    return tuple(sorted((name, _text(each, name)) for name, each in value.items()))


def _terms(value: Any) -> Terms:
    if not isinstance(value, Mapping):
        raise InvalidInput("The terms of a price belong here: {model: per_unit, unit_amount: 0.02}.")
    if not isinstance(value.get("zero_usage_charges_first_flat", False), bool):
        raise InvalidInput("true or false belongs here.", field="zero_usage_charges_first_flat")
    return terms_from_json(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InvalidInput("A list with at least one entry belongs here.")
    return value
