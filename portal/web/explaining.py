"""Explaining a line: the sentence, the steps with unrounded amounts, and the one rounding."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction

from portal.core.exact import ZERO
from portal.core.money import exponent_of, to_major
from portal.core.pricing import Model, StepKind, Terms, terms_from_json
from portal.core.sentences import percent, price_sentence
from portal.core.statement import LineKind
from portal.core.taxes import TaxRounding
from portal.infra.formats import day, moment, quantity, unit_amount
from portal.web.lines import ShownLine

_SHOWN_DIGITS = 20


@dataclass(frozen=True, slots=True)
class ExplainedStep:
    """So many units at this price and a flat amount; amounts are unrounded, in the major unit."""

    label: str
    quantity: Decimal
    unit_amount: Decimal
    flat_amount: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a line has its amount."""

    sentence: str
    facts: tuple[tuple[str, str], ...]
    steps: tuple[ExplainedStep, ...]
    unrounded: Decimal


def explain(line: ShownLine, currency: str, lines: Sequence[ShownLine]) -> Explanation:
    """Explain one of an invoice's lines from its derivation alone, so that a final one can be explained for ever."""
    match line.kind:
        case LineKind.USAGE:
            return _usage(line, currency)
        case LineKind.RECURRING:
            return _recurring(line, currency)
        case LineKind.TRUE_UP:
            return _true_up(line, currency)
        case LineKind.RESERVATION | LineKind.COUPON | LineKind.PROMOTIONAL:
            return _taken_off(line, currency, [each.description for each in lines])
        case LineKind.TAX:
            return _tax(line, currency, [each.description for each in lines])
        case LineKind.ADJUSTMENT:
            return _adjustment(line, currency)
        case _:
            return _by_hand(line, currency)


_STEP_LABELS = {
    StepKind.EVENT_FEE: "Fee per event",
    StepKind.DISCOUNT: "Discount",
    StepKind.MINIMUM: "Up to the minimum",
    StepKind.MAXIMUM: "Down to the maximum",
}


def _usage(line: ShownLine, currency: str) -> Explanation:
    derivation = line.derivation
    terms = terms_from_json(derivation["terms"])
    steps = tuple(_step(step, terms) for step in derivation["steps"])
    size = sum((step.amount for step in steps), ZERO)
    already = Decimal(derivation["already"])
    facts = [
        ("Price", _price(line)),
        ("Reported in", f"{quantity(derivation['events'])} event" + ("s" if derivation["events"] != 1 else "")),
    ]
    if terms.free_quantity:
        used = max(min(terms.free_quantity - already, line.quantity), ZERO)
        facts.append(("Free of charge", f"{quantity(used)} of {quantity(terms.free_quantity)} {line.unit} a month"))
    if already:
        facts.append(("Reached before, at the price before", f"{quantity(already)} {line.unit}"))
    words = price_sentence(
        terms, unit=line.unit or "unit", money=lambda value: unit_amount(value, currency), number=quantity
    )
    sentence = f"{words[0].upper()}{words[1:]}."
    priced = Decimal(derivation.get("priced", line.quantity))
    if priced != line.quantity:
        facts.append(("Priced, after corrections within the month", f"{quantity(priced)} {line.unit}"))
    if priced < 0:
        sentence += " Corrections outweigh the usage, so it is credited."
    return Explanation(sentence, tuple(facts), steps, -size if priced < 0 else size)


def _step(step: dict[str, str], terms: Terms) -> ExplainedStep:
    kind = StepKind(step["kind"])
    label = _STEP_LABELS.get(kind, "Packages" if terms.model is Model.PACKAGE else "Charged")
    if terms.tiers and kind is StepKind.USAGE:
        tier = next(
            (
                tier
                for tier in terms.tiers
                if tier.unit_amount == Decimal(step["unit_amount"])
                and Decimal(step["flat_amount"]) in (tier.flat_amount, ZERO)
            ),
            None,
        )
        label = "Tier" if tier is None else _tier_name(tier.up_to)
    return ExplainedStep(
        label,
        Decimal(step["quantity"]),
        Decimal(step["unit_amount"]),
        Decimal(step["flat_amount"]),
        Decimal(step["amount"]),
    )


def _price(line: ShownLine) -> str:
    since = date.fromisoformat(line.derivation["valid_from"])
    return f"{line.derivation['price']}, valid from {day(since)}"


def _tier_name(up_to: Decimal | None) -> str:
    return "Tier without an upper end" if up_to is None else f"Tier up to {quantity(up_to)}"


def _recurring(line: ShownLine, currency: str) -> Explanation:
    derivation = line.derivation
    share = Fraction(derivation["share"])
    terms = terms_from_json(derivation["terms"])
    interval = derivation.get("interval", "month")
    facts = [("Price", _price(line))]
    if "steps" in derivation:
        steps = tuple(_step(step, terms) for step in derivation["steps"])
        whole = sum((step.amount for step in steps), ZERO)
    else:
        # A line from before plans had tiers: so many times the fee.
        steps, whole = (), terms.unit_amount * line.quantity
    facts.append(("Fee", f"{quantity(line.quantity)} {line.unit}: {unit_amount(whole, currency)} a {interval}"))
    if "period" in derivation:
        first, end = (datetime.fromisoformat(each) for each in derivation["period"])
        facts.append((f"Whole {interval}", f"{moment(first)} to {moment(end)}"))
    given_back = derivation.get("given_back", False)
    sentence = f"The fee of a whole {interval}, billed in advance."
    if given_back:
        sentence = "What was paid in advance for time after the change is given back, counted by the second."
    elif share != 1:
        sentence = f"The fee for the rest of the {interval}, counted by the second."
    if share != 1:
        facts.append(("Share that is left", _percent(share)))
    exact = Fraction(whole) * share
    if "billed" in derivation:
        billed = to_major(derivation["billed"], currency)
        facts.append(("Billed for it before, less discounts", unit_amount(billed, currency)))
        exact = Fraction(billed) * share / Fraction(derivation["share_billed"])
    return Explanation(sentence, tuple(facts), steps, _shown(-exact if given_back else exact))


def _shown(exact: Fraction) -> Decimal:
    with localcontext() as context:
        context.prec = _SHOWN_DIGITS
        return Decimal(exact.numerator) / Decimal(exact.denominator)


def _true_up(line: ShownLine, currency: str) -> Explanation:
    derivation = line.derivation
    scale = 10 ** exponent_of(currency)
    facts, missing = [], Fraction(-derivation["used"])
    for each in derivation["commitments"]:
        amount, fee, share = (Fraction(each[name]) for name in ("amount", "fee", "share"))
        text = f"{_amount(amount / scale, currency)} a month, of which the fee pays {_amount(fee / scale, currency)}"
        facts.append((each["plan"], text if share == 1 else f"{text}, for {_percent(share)} of the month"))
        missing += (amount - fee) * share
    facts.append(("Usage of the month", unit_amount(to_major(derivation["used"], currency), currency)))
    sentence = "Fee and usage stayed below the minimum that was agreed; this is what was missing."
    return Explanation(sentence, tuple(facts), (), _shown(missing / scale))


def _amount(exact: Fraction, currency: str) -> str:
    return unit_amount(_shown(exact), currency)


_TAKEN_OFF = {
    LineKind.RESERVATION: "The reservation's credit of this month, for usage of its meters. What is not used is lost.",
    LineKind.COUPON: "A coupon, split over the lines that it is for so that the parts add up.",
    LineKind.PROMOTIONAL: "A credit that we gave you; it is used before tax.",
}


def _taken_off(line: ShownLine, currency: str, names: Sequence[str]) -> Explanation:
    derivation = line.derivation
    base = to_major(derivation["base"], currency)
    facts = [("Of", unit_amount(base, currency))]
    exact = -Fraction(to_major(line.amount, currency))
    if "percent" in derivation:
        facts.append(("Percentage", percent(Decimal(derivation["percent"]))))
        exact = Fraction(base) * Fraction(derivation["percent"]) / 100
    else:
        facts.append(("At most", unit_amount(to_major(derivation["at_most"], currency), currency)))
    only_for = derivation.get("products") or derivation.get("meters")
    if only_for:
        facts.append(("For", ", ".join(only_for)))
    facts += [
        (names[number - 1], f"\u2212{unit_amount(to_major(part, currency), currency)}")
        for number, part in derivation["parts"]
    ]
    return Explanation(_TAKEN_OFF[LineKind(line.kind)], tuple(facts), (), _shown(-exact))


def _adjustment(line: ShownLine, currency: str) -> Explanation:
    """A closed month as it is known now, beside what was billed for it."""
    facts = []
    for title, name in (("Known now", "rated"), ("Billed before", "billed")):
        facts += [
            (f"{title}: {each['description']}", f"{quantity(each['quantity'])}: {_minor(each['amount'], currency)}")
            for each in line.derivation[name]
        ]
    sentence = (
        "Usage of a month that was billed already was reported or corrected later. The whole month was priced again"
        " with its own prices; this is the difference to what was billed for it."
    )
    return Explanation(sentence, tuple(facts), (), to_major(line.amount, currency))


def _minor(amount: int, currency: str) -> str:
    return unit_amount(to_major(amount, currency), currency)


_ROUNDING = {
    TaxRounding.LINE: "rounded line by line",
    TaxRounding.SUM_BY_NET: "rounded once for the rate",
    TaxRounding.KEEP_GROSS: "rounded once for the rate",
}


def _tax(line: ShownLine, currency: str, names: Sequence[str]) -> Explanation:
    derivation = line.derivation
    if "percent" not in derivation:
        sentence = "Tax was rounded over all lines together; this makes the lines add up to the total."
        return Explanation(sentence, (), (), to_major(line.amount, currency))
    net, rate = to_major(derivation["net"], currency), Decimal(derivation["percent"])
    rounding = TaxRounding(derivation["rounding"])
    facts = [("Of", unit_amount(net, currency)), ("Rate", percent(rate))]
    facts += [(names[number - 1], _minor(part, currency)) for number, part in derivation["parts"]]
    exact = Fraction(net) * Fraction(rate) / 100
    if rounding is TaxRounding.LINE:
        # Each line was rounded by itself, so their sum is exact.
        exact = Fraction(to_major(line.amount, currency))
    return Explanation(f"Tax on all lines of this rate, {_ROUNDING[rounding]}.", tuple(facts), (), _shown(exact))


def _percent(share: Fraction) -> str:
    """A share of a month as a percentage with four decimals."""
    return f"{Decimal(share.numerator * 100) / Decimal(share.denominator):.4f} %"


def _by_hand(line: ShownLine, currency: str) -> Explanation:
    each = line.unit_amount or ZERO
    calculation = f"{quantity(line.quantity)} × {unit_amount(each, currency)}"
    sentence = "A credit that we gave you." if line.kind == "credit" else "A single charge that we added by hand."
    return Explanation(sentence, (("Calculation", calculation),), (), line.quantity * each)
