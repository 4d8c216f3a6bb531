"""Which usage is looked at, and what is put together: the same for pages, files and programs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from portal.core.errors import InvalidInput
from portal.core.exact import exactly
from portal.usage.exploring import MeterFacts, SeriesTotal

# What usage is put together by, beside the name of a dimension.
BY_SERIES, BY_METER = "series", "none"
BETWEEN = ":"


@dataclass(frozen=True, slots=True)
class Choice:
    """One meter or all, one value of a dimension or all, and by what they are put together."""

    meter: str | None = None
    where: tuple[str, str] | None = None
    group_by: str = BY_METER

    @property
    def where_text(self) -> str:
        """The value of a dimension, as an address says it."""
        return BETWEEN.join(self.where) if self.where else ""

    def holds(self, series: SeriesTotal) -> bool:
        """Whether a series is looked at."""
        if self.meter is not None and series.meter.code != self.meter:
            return False
        return self.where is None or series.dimensions.get(self.where[0]) == self.where[1]


@dataclass(frozen=True, slots=True)
class Group:
    """Series of one meter: all, those with one value (None: without one) of a dimension, or one by itself."""

    meter: MeterFacts
    dimensions: Mapping[str, str | None]
    quantity: Decimal
    events: int
    series: tuple[int, ...]

    @property
    def label(self) -> str:
        """What tells it apart within its meter; the meter's name if nothing does."""
        return " · ".join(value or "none" for value in self.dimensions.values()) or self.meter.name


def read_where(text: str | None) -> tuple[str, str] | None:
    """ "region:fra" as a dimension and its value. Raises InvalidInput."""
    if not text:
        return None
    name, between, value = text.partition(BETWEEN)
    if not (name and between and value):
        raise InvalidInput("where is a dimension and its value, like region:fra.", field="where")
    return name, value


@exactly
def grouped(found: Iterable[SeriesTotal], choice: Choice) -> list[Group]:
    """The groups of what is looked at: meters in the order in which they come, the largest group of each first."""
    groups: dict[tuple[str, object], list[SeriesTotal]] = {}
    for each in found:
        if choice.holds(each):
            key = each.series_id if choice.group_by == BY_SERIES else each.dimensions.get(choice.group_by)
            groups.setdefault((each.meter.code, None if choice.group_by == BY_METER else key), []).append(each)
    meters = list(dict.fromkeys(code for code, _ in groups))
    made = [_group(together, choice.group_by) for together in groups.values()]
    return sorted(made, key=lambda each: (meters.index(each.meter.code), -each.quantity, each.label))


def _group(together: Sequence[SeriesTotal], group_by: str) -> Group:
    first = together[0]
    dimensions: Mapping[str, str | None]
    if group_by == BY_SERIES:
        dimensions = dict(first.dimensions)
    else:
        dimensions = {} if group_by == BY_METER else {group_by: first.dimensions.get(group_by)}
    return Group(
        first.meter,
        dimensions,
        sum((each.quantity for each in together), Decimal(0)),
        sum(each.events for each in together),
        tuple(each.series_id for each in together),
    )
