"""Prices, coupons and moments in the words of pages: numbers and sentences as the reader has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from portal.catalog.models import Coupon
from portal.core.exact import ZERO, exactly
from portal.core.periods import midnight
from portal.core.pricing import Model, Terms, Tier
from portal.core.saying import Said
from portal.core.sentences import percent, price_sentence
from portal.infra.formats import day, moment, money, quantity, unit_amount
from portal.infra.languages import _


def price_in_words(terms: Terms, *, unit: str, currency: str, interval: str = "month") -> str:
    """A price in one sentence without its full stop, as a surface shows it."""
    words = price_sentence(
        terms,
        unit=_(unit),
        money=lambda amount: unit_amount(amount, currency),
        number=quantity,
        period=interval,
        say=_,
    )
    return f"{words[:1].upper()}{words[1:]}"


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier in words; `above` and `up_to` are "" at the open ends."""

    above: str
    up_to: str
    each: str
    flat: str


_MODELS = {
    Model.PER_UNIT: Said("Per unit"),
    Model.GRADUATED: Said("Graduated: each tier at its own price"),
    Model.VOLUME: Said("Volume: everything at the price of the tier that is reached"),
    Model.PACKAGE: Said("Packages, each one that is begun"),
    Model.PERCENTAGE: Said("Percentage of a turnover"),
    Model.GRADUATED_PERCENTAGE: Said("Percentage of a turnover, each tier at its own rate"),
    Model.FLAT_FEE: Said("Flat fee"),
}
_RATED = (Model.PERCENTAGE, Model.GRADUATED_PERCENTAGE)


def terms_facts(terms: Terms, *, unit: str, currency: str, interval: str = "month") -> list[tuple[str, str]]:
    """What a price says beside its tiers: names and values, only what is set."""

    def cost(amount: Decimal) -> str:
        return unit_amount(amount, currency)

    def counted(amount: Decimal) -> str:
        return cost(amount) if terms.model in _RATED else f"{quantity(amount)} {unit}"

    facts: list[tuple[str, str | None]] = [
        (_("Model"), _MODELS[terms.model]),
        (_("Price each"), None if terms.tiers else _each(terms, terms.unit_amount, currency)),
        (_("Units in a package"), counted(terms.package_size) if terms.model is Model.PACKAGE else None),
        (
            _("Free each %(interval)s", interval=_(interval)),
            counted(terms.free_quantity) if terms.free_quantity else None,
        ),
        (
            _("Free events each %(interval)s", interval=_(interval)),
            str(terms.free_events) if terms.free_events else None,
        ),
        (_("Fee of each event"), cost(terms.fee_per_event) if terms.fee_per_event else None),
        (_("At least for each event"), cost(terms.event_minimum) if terms.event_minimum else None),
        (_("At most for each event"), None if terms.event_maximum is None else cost(terms.event_maximum)),
        (_("Without usage"), _("The first tier’s flat amount") if terms.zero_usage_charges_first_flat else None),
        (_("Discount"), percent(terms.discount_percent) if terms.discount_percent else None),
        (_("At least each %(interval)s", interval=_(interval)), cost(terms.minimum) if terms.minimum else None),
        (_("At most each %(interval)s", interval=_(interval)), None if terms.maximum is None else cost(terms.maximum)),
        (_("Credit for usage each month"), cost(terms.monthly_credit) if terms.monthly_credit else None),
        (_("Fee and usage each month at least"), cost(terms.commitment) if terms.commitment else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def tier_rows(terms: Terms, *, unit: str, currency: str) -> list[TierRow]:
    """The tiers of a price in words; empty for a price without tiers."""

    def bound(value: Decimal) -> str:
        return unit_amount(value, currency) if terms.model in _RATED else f"{quantity(value)} {unit}"

    return [
        TierRow(
            above=bound(floor) if floor else "",
            up_to="" if tier.up_to is None else bound(tier.up_to),
            each=_each(terms, tier.unit_amount, currency),
            flat=unit_amount(tier.flat_amount, currency),
        )
        for floor, tier in with_floors(terms.tiers)
    ]


def with_floors(tiers: Sequence[Tier]) -> list[tuple[Decimal, Tier]]:
    """Each tier with the quantity above which it begins."""
    floors = [ZERO, *(tier.up_to or ZERO for tier in tiers[:-1])]
    return list(zip(floors, tiers, strict=True)) if tiers else []


@exactly
def _each(terms: Terms, amount: Decimal, currency: str) -> str:
    return percent(amount.scaleb(2)) if terms.model in _RATED else unit_amount(amount, currency)


def said(when: datetime) -> str:
    """A moment as a day if it is the day's beginning (UTC), else with its time."""
    on = when.astimezone(UTC).date()
    return day(on) if midnight(on) == when else moment(when)


def coupon_in_words(coupon: Coupon) -> str:
    """What a coupon takes off: "10% off Compute", "$5.00 off each invoice"."""
    if coupon.percent is not None:
        worth = percent(coupon.percent)
    else:
        assert coupon.amount is not None
        assert coupon.currency is not None
        worth = money(coupon.amount, coupon.currency)
    if not coupon.products:
        return _("%(worth)s off each invoice", worth=worth)
    return _("%(worth)s off %(products)s", worth=worth, products=_(" and ").join(coupon.products))
