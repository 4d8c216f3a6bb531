"""A price in words: "first 10 GB free, then $0.08 per GB-month".

Money, quantities and the words themselves are written by callables, because locales and languages belong to the
surfaces. Without one the words are English.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

from portal.core.exact import ZERO, exactly, plain
from portal.core.quantities import Aggregation, Counting
from portal.core.saying import Said
from portal.core.terms import Model, Terms, Tier

_COUNTED = {
    Aggregation.SUM: Said("everything reported is added up"),
    Aggregation.COUNT: Said("every event counts as one"),
    Aggregation.MAX: Said("the largest value of a month counts"),
    Aggregation.LATEST: Said("the latest value of a month counts"),
}
Writer = Callable[[Decimal], str]
_RATED = {Model.PERCENTAGE, Model.GRADUATED_PERCENTAGE}


class Sayer(Protocol):
    """What says a message with the values in it, in some language."""

    def __call__(self, message: str, /, **values: Any) -> str: ...


def counting_in_words(counting: Counting, say: Sayer = Said) -> str:
    """How a meter counts, as a part of a sentence."""
    if counting.aggregation is Aggregation.UNIQUE:
        return say("the different values of “%(subject)s” in a month count", subject=counting.subject)
    if counting.aggregation is Aggregation.LEVEL:
        if counting.per == "month":
            return say("the mean level of a month counts")
        return say("a level counts by the %(units)s that it holds", units=say(f"{counting.per}s"))
    return say(_COUNTED[counting.aggregation])


@exactly
def price_sentence(
    terms: Terms,
    *,
    unit: str,
    money: Writer,
    counted: str | None = None,
    number: Writer = plain,
    period: str = "month",
    say: Sayer = Said,
) -> str:
    """Say what a price is, in one sentence without its full stop.

    `unit` stands behind "per" ("GB-month"); `counted` stands behind a quantity ("GB"), by default the unit again.
    `money` writes an amount in the major unit; the quantity of a percentage is money too.
    """
    words = _Words(terms, unit, counted or unit, money, number, say)
    parts = [words.free(), words.price()]
    sentence = say(", then ").join(part for part in parts if part)
    if terms.discount_percent:
        sentence += say(", less %(percent)s", percent=percent(terms.discount_percent))
    limits = words.limits(terms.minimum, terms.maximum)
    if limits:
        sentence += say("; %(limits)s a %(period)s", limits=limits, period=say(period))
    if terms.monthly_credit:
        sentence += say("; with %(amount)s of credit for usage each month", amount=money(terms.monthly_credit))
    if terms.commitment:
        sentence += say("; fee and usage together at least %(amount)s a month", amount=money(terms.commitment))
    return sentence


def percent(value: Decimal) -> str:
    """A percentage as people write it in English: 2.9%."""
    return f"{plain(value)}%"


class _Words:
    """The parts of one price's sentence."""

    def __init__(self, terms: Terms, unit: str, counted: str, money: Writer, number: Writer, say: Sayer) -> None:
        self._terms, self._unit, self._counted, self._money, self._number = terms, unit, counted, money, number
        self._say = say

    def free(self) -> str:
        """The allowance; "" if there is none."""
        say, events = self._say, self._terms.free_events
        quantity = self._quantity(self._terms.free_quantity) if self._terms.free_quantity else ""
        if not events:
            return say("first %(quantity)s free", quantity=quantity) if quantity else ""
        first = say("first event free") if events == 1 else say("first %(events)s events free", events=events)
        return say("%(first)s, up to %(quantity)s in all", first=first, quantity=quantity) if quantity else first

    def limits(self, least: Decimal | None, most: Decimal | None) -> str:
        """Between which amounts something stays; "" for no limit."""
        texts = []
        if least:
            texts.append(self._say("at least %(amount)s", amount=self._money(least)))
        if most is not None:
            texts.append(self._say("at most %(amount)s", amount=self._money(most)))
        return self._say(" and ").join(texts)

    def price(self) -> str:
        """The model and its amounts."""
        terms = self._terms
        match terms.model:
            case Model.GRADUATED | Model.GRADUATED_PERCENTAGE | Model.VOLUME:
                return self._tiered(terms.tiers)
            case Model.PACKAGE:
                return self._say(
                    "%(amount)s per %(quantity)s begun",
                    amount=self._money(terms.unit_amount),
                    quantity=self._quantity(terms.package_size),
                )
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
            sentence += self._say(", the whole quantity at the one price that it reaches")
        if self._terms.zero_usage_charges_first_flat and tiers[0].flat_amount:
            sentence += self._say("; %(amount)s even without usage", amount=self._money(tiers[0].flat_amount))
        return sentence

    def _tier(self, tier: Tier) -> str:
        flat = self._money(tier.flat_amount) if tier.flat_amount else ""
        if tier.unit_amount == 0:
            return flat or self._say("free")
        each = self._each(tier.unit_amount)
        return self._say("%(flat)s plus %(each)s", flat=flat, each=each) if flat else each

    def _range(self, floor: Decimal, up_to: Decimal | None) -> str:
        if up_to is None:
            return self._say(" above %(quantity)s", quantity=self._quantity(floor)) if floor else ""
        return self._say(" up to %(quantity)s", quantity=self._quantity(up_to))

    def _percentage(self) -> str:
        terms = self._terms
        sentence = self._each(terms.unit_amount)
        if terms.fee_per_event:
            sentence += self._say(" plus %(amount)s per event", amount=self._money(terms.fee_per_event))
        limits = self.limits(terms.event_minimum, terms.event_maximum)
        return self._say("%(price)s, %(limits)s each", price=sentence, limits=limits) if limits else sentence

    def _each(self, unit_amount: Decimal) -> str:
        if self._terms.model in _RATED:
            rate = percent(unit_amount.scaleb(2))
            return self._say("%(percent)s of the %(unit)s", percent=rate, unit=self._unit)
        return self._say("%(amount)s per %(unit)s", amount=self._money(unit_amount), unit=self._unit)

    def _quantity(self, quantity: Decimal) -> str:
        if self._terms.model in _RATED:
            return self._money(quantity)
        return f"{self._number(quantity)} {self._counted}"
