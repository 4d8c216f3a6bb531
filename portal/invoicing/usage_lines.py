"""What a month's usage comes to: one line per price version, with what it was computed from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from portal.catalog.pricebook import ListedPrice, Pricebook, Version
from portal.core.exact import ZERO, exactly, plain
from portal.core.money import round_to_minor
from portal.core.periods import Month
from portal.core.pricing import Charge, Step, charge, steps_to_json
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
        quantity, events = self.quantity + segment.quantity, self.events + segment.events
        return _Reached(self.whole, quantity, events, self.billed + line.unrounded)


class _Pool:
    """The usage of one price version within a month."""

    def __init__(self, price: ListedPrice, version: Version) -> None:
        self.price, self.version = price, version
        self.quantity, self.events = ZERO, 0
        self.series: set[int] = set()

    def add(self, series: SeriesQuantity) -> None:
        self.quantity += series.quantity
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
            },
            references={"price_version_id": self.version.id},
            series=tuple(sorted(self.series)),
            product=self.price.product,
            meter=self.price.code,
        )

    def _charge(self, reached: _Reached, *, period_ends: bool) -> Charge:
        """Price the quantity; one that corrections have made negative is credited as it would have been charged."""
        if self.quantity >= 0 and reached.quantity >= 0:
            return charge(
                self.version.terms,
                self.quantity,
                already=reached.quantity,
                period_quantity=reached.whole,
                already_billed=reached.billed,
                period_ends=period_ends,
                events=self.events,
                already_events=reached.events,
            )
        # A minimum or maximum is a rule for what is charged, not for what is given back.
        terms = replace(self.version.terms, minimum=ZERO, maximum=None)
        if min(reached.quantity, reached.quantity + self.quantity) >= 0:
            # Back down the same tiers: what the quantity before cost, less what the smaller one costs.
            before = charge(terms, reached.quantity, events=reached.events)
            after = charge(terms, reached.quantity + self.quantity, events=reached.events)
            amount = after.amount - before.amount
            return Charge(amount, (Step(self.quantity, ZERO, amount, amount),))
        size = charge(terms, abs(self.quantity), events=self.events)
        return size if self.quantity >= 0 else Charge(-size.amount, size.steps)
