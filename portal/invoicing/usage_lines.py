"""What a month's usage comes to: one line per price version, with what it was computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from portal.catalog.pricebook import ListedPrice, Pricebook, Version
from portal.core.exact import ZERO, exactly, plain
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.pricing import Charge, Terms, charge, steps_to_json
from portal.core.statement import Line, LineKind
from portal.usage.queries import SeriesQuantity


@exactly
def usage_lines(
    used: Sequence[SeriesQuantity], pricebook: Pricebook, month: Month, currency: str
) -> tuple[list[Line], list[SeriesQuantity]]:
    """One line per price version; series of the same price are pooled, so tiers count once per organization.

    An agreed price without any usage has a line if it asks for something all the same (a minimum, a flat fee).
    Returns the lines, and the series that have no price.
    """
    unpriced = []
    pools: dict[tuple[int, date], _Pool] = {}
    for series in used:
        price = pricebook.price_of_series(series.meter_id, series.dimensions, series.segment_start)
        version = price.version_on(series.segment_start) if price else None
        if price is None or version is None:
            unpriced.append(series)
            continue
        pool = pools.setdefault((price.id, version.valid_from), _Pool(price, version))
        pool.add(series)
    by_price: dict[int, list[_Pool]] = {}
    for key in sorted(pools):
        by_price.setdefault(key[0], []).append(pools[key])
    lines = []
    for segments in by_price.values():
        _net(segments)
        reached = _Reached(whole=sum((segment.quantity for segment in segments), ZERO))
        for index, segment in enumerate(segments):
            following = segments[index + 1].version.valid_from if index + 1 < len(segments) else None
            line = segment.line(month, following, reached, currency)
            reached = reached.after(segment, line)
            lines.append(line)
    for price in pricebook.prices_without_usage(by_price, month.last_day):
        version = price.version_on(month.last_day)
        assert version is not None
        line = _Pool(price, version).line(month, None, _Reached(whole=ZERO), currency)
        if line.unrounded:
            lines.append(line)
    return lines, unpriced


@dataclass(frozen=True, slots=True)
class _Reached:
    """How far earlier segments of the same price have come within the month, and the month's whole quantity."""

    whole: Decimal
    quantity: Decimal = ZERO
    events: int = 0
    billed: Decimal = ZERO

    def after(self, segment: "_Pool", line: Line) -> "_Reached":
        quantity, events = self.quantity + segment.priced, self.events + segment.events
        return _Reached(self.whole, quantity, events, self.billed + line.unrounded)


class _Pool:
    """The usage of one price version within a month; `priced` is what corrections of the others leave of it."""

    def __init__(self, price: ListedPrice, version: Version) -> None:
        self.price, self.version = price, version
        self.quantity, self.priced, self.events = ZERO, ZERO, 0
        self.series: set[int] = set()

    def add(self, series: SeriesQuantity) -> None:
        self.quantity += series.quantity
        self.priced = self.quantity
        self.events += series.events
        self.series.add(series.series_id)

    def line(self, month: Month, following: date | None, reached: _Reached, currency: str) -> Line:
        """The line of this version; `following` is the day from which the next one holds."""
        terms = self.version.terms
        result = self._charge(reached, period_ends=following is None)
        first = max(month.first_day, self.version.valid_from)
        return Line(
            kind=LineKind.USAGE,
            description=self.price.name,
            quantity=self.quantity,
            unit=self.price.unit,
            unit_amount=terms.unit_amount if not terms.tiers else None,
            unrounded=result.amount,
            amount=round_to_minor(result.amount, currency),
            period_start=first,
            period_end=following - timedelta(days=1) if following else month.last_day,
            derivation={
                "price": self.price.name,
                "valid_from": self.version.valid_from.isoformat(),
                "terms": self.version.document,
                "already": plain(reached.quantity),
                "events": self.events,
                "steps": steps_to_json(result),
                **({"priced": plain(self.priced)} if self.priced != self.quantity else {}),
            },
            references={"price_version_id": self.version.id},
            series=tuple(sorted(self.series)),
            product=self.price.product,
            meter=self.price.code,
        )

    def _charge(self, reached: _Reached, *, period_ends: bool) -> Charge:
        """Price what corrections have left; what they have made negative is credited as it would have been charged."""
        if self.priced >= 0 and reached.quantity >= 0:
            return charge(
                self.version.terms,
                self.priced,
                already=reached.quantity,
                period_quantity=reached.whole,
                already_billed=reached.billed,
                period_ends=period_ends,
                events=self.events,
                already_events=reached.events,
            )
        size = charge(of_units_only(self.version.terms), abs(self.priced), events=self.events)
        return Charge(-size.amount, size.steps)


def _net(segments: Sequence["_Pool"]) -> None:
    """Let corrections of one segment lower the nearest others first, so that a price change never changes their worth.

    Afterwards no segment is negative, or none is positive: then the whole month is.
    """
    for place, segment in enumerate(segments):
        others = sorted(range(len(segments)), key=lambda other: (abs(other - place), other))
        for other in others:
            if segment.priced >= 0:
                break
            taken = min(max(segments[other].priced, ZERO), -segment.priced)
            segments[other].priced -= taken
            segment.priced += taken


def of_units_only(terms: Terms) -> Terms:
    """A price without what is asked once a month or an event: that is charged, and never given back."""
    tiers = tuple(replace(tier, flat_amount=ZERO) for tier in terms.tiers)
    return replace(
        terms, tiers=tiers, minimum=ZERO, maximum=None, fee_per_event=ZERO, zero_usage_charges_first_flat=False
    )
