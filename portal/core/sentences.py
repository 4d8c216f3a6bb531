"""A price in words: "first 10 GB free, then $0.08 per GB-month".

Money and quantities are written by callables, because locales belong to the surfaces.
"""

from collections.abc import Callable
from decimal import Decimal

from portal.core.exact import ZERO, exactly, plain
from portal.core.quantities import Aggregation, Counting
from portal.core.terms import Model, Terms, Tier

_COUNTED = {
    Aggregation.SUM: "everything reported is added up",
    Aggregation.COUNT: "every event counts as one",
    Aggregation.MAX: "the largest value of a month counts",
    Aggregation.LATEST: "the latest value of a month counts",
}
Writer = Callable[[Decimal], str]
_RATED = {Model.PERCENTAGE, Model.GRADUATED_PERCENTAGE}


def counting_in_words(counting: Counting) -> str:
    """How a meter counts, as a part of a sentence."""
    if counting.aggregation is Aggregation.UNIQUE:
        return f"the different values of “{counting.subject}” in a month count"
    if counting.aggregation is Aggregation.LEVEL:
        return (
            "the mean level of a month counts"
            if counting.per == "month"
            else f"a level counts by the {counting.per}s that it holds"
        )
    return _COUNTED[counting.aggregation]


@exactly
def price_sentence(
    terms: Terms, *, unit: str, money: Writer, counted: str | None = None, number: Writer = plain, period: str = "month"
) -> str:
    """Say what a price is, in one sentence without its full stop.

    `unit` stands behind "per" ("GB-month"); `counted` stands behind a quantity ("GB"), by default the unit again.
    `money` writes an amount in the major unit; the quantity of a percentage is money too.
    """
    words = _Words(terms, unit, counted or unit, money, number)
    parts = [words.free(), words.price()]
    sentence = ", then ".join(part for part in parts if part)
    if terms.discount_percent:
        sentence += f", less {percent(terms.discount_percent)}"
    limits = []
    if terms.minimum:
        limits.append(f"at least {money(terms.minimum)}")
    if terms.maximum is not None:
        limits.append(f"at most {money(terms.maximum)}")
    if limits:
        sentence += f"; {' and '.join(limits)} a {period}"
    if terms.monthly_credit:
        sentence += f"; with {money(terms.monthly_credit)} of credit for usage each month"
    if terms.commitment:
        sentence += f"; fee and usage together at least {money(terms.commitment)} a month"
    return sentence


def percent(value: Decimal) -> str:
    """A percentage as people write it in English: 2.9%."""
    return f"{plain(value)}%"


class _Words:
    """The parts of one price's sentence."""

    def __init__(self, terms: Terms, unit: str, counted: str, money: Writer, number: Writer) -> None:
        self._terms, self._unit, self._counted, self._money, self._number = terms, unit, counted, money, number

    def free(self) -> str:
        """The allowance; "" if there is none."""
        events = self._terms.free_events
        by_number = "" if events == 0 else "first event" if events == 1 else f"first {events} events"
        by_quantity = f"first {self._quantity(self._terms.free_quantity)}" if self._terms.free_quantity else ""
        if by_number and by_quantity:
            return f"{by_number} free, up to {self._quantity(self._terms.free_quantity)} in all"
        return f"{by_number or by_quantity} free" if by_number or by_quantity else ""

    def price(self) -> str:
        """The model and its amounts."""
        terms = self._terms
        match terms.model:
            case Model.GRADUATED | Model.GRADUATED_PERCENTAGE | Model.VOLUME:
                return self._tiered(terms.tiers)
            case Model.PACKAGE:
                return f"{self._money(terms.unit_amount)} per {self._quantity(terms.package_size)} begun"
            case Model.PERCENTAGE:
                return self._percentage()
            case _:
                return self._each(terms.unit_amount)

    def _tiered(self, tiers: tuple[Tier, ...]) -> str:
        texts, floor = [], ZERO
        for tier in tiers:
            texts.append(f"{self._tier(tier)}{self._range(floor, tier.up_to)}")
            floor = tier.up_to or floor
        sentence = ", ".join(texts)
        if self._terms.model is Model.VOLUME and len(tiers) > 1:
            sentence += ", the whole quantity at the one price that it reaches"
        if self._terms.zero_usage_charges_first_flat and tiers[0].flat_amount:
            sentence += f"; {self._money(tiers[0].flat_amount)} even without usage"
        return sentence

    def _tier(self, tier: Tier) -> str:
        flat = self._money(tier.flat_amount) if tier.flat_amount else ""
        if tier.unit_amount == 0:
            return flat or "free"
        return f"{flat} plus {self._each(tier.unit_amount)}" if flat else self._each(tier.unit_amount)

    def _range(self, floor: Decimal, up_to: Decimal | None) -> str:
        if up_to is None:
            return f" above {self._quantity(floor)}" if floor else ""
        return f" up to {self._quantity(up_to)}"

    def _percentage(self) -> str:
        terms = self._terms
        sentence = self._each(terms.unit_amount)
        if terms.fee_per_event:
            sentence += f" plus {self._money(terms.fee_per_event)} per event"
        limits = []
        if terms.event_minimum:
            limits.append(f"at least {self._money(terms.event_minimum)}")
        if terms.event_maximum is not None:
            limits.append(f"at most {self._money(terms.event_maximum)}")
        return f"{sentence}, {' and '.join(limits)} each" if limits else sentence

    def _each(self, unit_amount: Decimal) -> str:
        if self._terms.model in _RATED:
            return f"{percent(unit_amount.scaleb(2))} of the {self._unit}"
        return f"{self._money(unit_amount)} per {self._unit}"

    def _quantity(self, quantity: Decimal) -> str:
        if self._terms.model in _RATED:
            return self._money(quantity)
        return f"{self._number(quantity)} {self._counted}"
