"""Explaining a line: the sentence, the steps with unrounded amounts, and the one rounding."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, localcontext
from fractions import Fraction

from portal.core.exact import ZERO
from portal.core.pricing import Model, StepKind, Terms, terms_from_json
from portal.core.sentences import price_sentence
from portal.infra.pages import day, quantity, unit_amount
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


def explain(line: ShownLine, currency: str) -> Explanation:
    """Explain a line from its derivation alone, so that a final invoice can be explained for ever."""
    if line.kind == "usage":
        return _usage(line, currency)
    if line.kind == "recurring":
        return _recurring(line, currency)
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
        ("Reported in", f"{derivation['events']:,} event" + ("s" if derivation["events"] != 1 else "")),
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
    if line.quantity < 0:
        sentence += " Corrections outweigh the usage, so it is credited."
    return Explanation(sentence, tuple(facts), steps, -size if line.quantity < 0 else size)


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
    share = Fraction(line.derivation["share"])
    fee = line.unit_amount or ZERO
    exact = Fraction(fee) * Fraction(line.quantity) * share
    with localcontext() as context:
        context.prec = _SHOWN_DIGITS
        unrounded = Decimal(exact.numerator) / Decimal(exact.denominator)
    facts = [
        ("Price", _price(line)),
        ("Fee", f"{quantity(line.quantity)} × {unit_amount(fee, currency)} a month"),
    ]
    sentence = "The fee of a whole month, billed in advance."
    if share != 1:
        facts.append(("Share of the month", _percent(share)))
        sentence = "The plan began within the month, so the fee is for the rest of it, counted by the second."
    return Explanation(sentence, tuple(facts), (), unrounded)


def _percent(share: Fraction) -> str:
    """A share of a month as a percentage with four decimals."""
    return f"{Decimal(share.numerator * 100) / Decimal(share.denominator):.4f} %"


def _by_hand(line: ShownLine, currency: str) -> Explanation:
    each = line.unit_amount or ZERO
    calculation = f"{quantity(line.quantity)} × {unit_amount(each, currency)}"
    sentence = "A credit that we gave you." if line.kind == "credit" else "A single charge that we added by hand."
    return Explanation(sentence, (("Calculation", calculation),), (), line.quantity * each)
