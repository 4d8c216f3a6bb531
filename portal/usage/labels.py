"""What a meter makes of an event's properties: remembered, because many events have the same."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from portal.catalog.models import Meter
from portal.core.errors import InvalidInput
from portal.core.keys import canonical_json, series_key, subject_key
from portal.core.quantities import Aggregation
from portal.usage.fields import properties_of
from portal.usage.writing import quoted

MOST_REMEMBERED = 10_000
# A meter's code and the properties in the order in which they were sent.
Kind = tuple[str, *tuple[tuple[str, str], ...]]


class Labels(NamedTuple):
    """What a meter makes of properties: those that tell series apart, the others, and what a unique count counts.

    `rest_text` is the others as an element of an array of PostgreSQL.
    """

    meter_id: int
    aggregation: Aggregation
    series_id: int
    dimensions: Mapping[str, str]
    rest: Mapping[str, str] | None
    rest_text: str
    subject: bytes | None


class LabelBook:
    """The labels of properties, for meters that do not change as long as it is used."""

    def __init__(self, meters: Mapping[str, Meter]) -> None:
        self._meters = meters
        self._known: dict[Kind, Labels] = {}
        self._series: dict[tuple[int, tuple[str | None, ...]], int] = {}

    def of(self, meter: Meter, properties: Any) -> Labels:
        """The labels of properties as they were sent. Raises InvalidInput for those that do not fit."""
        try:
            known = self._known.get((meter.code, *properties.items()) if properties else (meter.code,))
        except (AttributeError, TypeError):  # not an object, or not one of texts: the checks below say which
            known = None
        return self._made(meter, properties) if known is None else known

    def of_kind(self, kind: Kind) -> Labels | None:
        """The labels of what has this meter and these properties; None if there is no such meter. Raises as `of`."""
        known = self._known.get(kind)
        if known is None:
            meter = self._meters.get(kind[0])
            known = None if meter is None else self._made(meter, dict(kind[1:]))
        return known

    def _made(self, meter: Meter, properties: Any) -> Labels:
        checked = properties_of(properties)
        dimensions = {name: checked[name] for name in meter.dimensions if name in checked}
        rest = {name: value for name, value in checked.items() if name not in dimensions}
        subject = None
        if meter.subject is not None:
            if meter.subject not in rest:
                raise InvalidInput(
                    f"The meter “{meter.code}” counts the different values of “{meter.subject}”; it is missing in"
                    " properties.",
                    field="properties",
                )
            subject = subject_key(rest[meter.subject])
        labels = Labels(
            meter.id,
            Aggregation(meter.aggregation),
            self._series_of(meter, dimensions),
            dimensions,
            rest or None,
            quoted(canonical_json(rest)) if rest else "NULL",
            subject,
        )
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[(meter.code, *checked.items())] = labels
        return labels

    def _series_of(self, meter: Meter, dimensions: Mapping[str, str]) -> int:
        """The series, which many events share whose other properties are all different."""
        place = meter.id, tuple(map(dimensions.get, meter.dimensions))
        if place not in self._series:
            if len(self._series) >= MOST_REMEMBERED:
                self._series.clear()
            self._series[place] = series_key(meter.id, dimensions)
        return self._series[place]
