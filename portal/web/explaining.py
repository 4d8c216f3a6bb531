"""Explaining a line: the sentence, the steps with unrounded amounts, and the one rounding."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, localcontext
from fractions import Fraction

from portal.core.exact import ZERO
from portal.core.money import exponent_of, to_major
from portal.core.pricing import Model, StepKind, Terms, terms_from_json
from portal.core.saying import Said
from portal.core.sentences import percent, price_sentence
from portal.core.statement import LineKind
from portal.core.taxes import TaxRounding
from portal.infra.formats import day, moment, quantity, unit_amount
from portal.infra.languages import _, ngettext
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
    StepKind.EVENT_FEE: Said("Fee per event"),
    StepKind.DISCOUNT: Said("Discount"),
    StepKind.MINIMUM: Said("Up to the minimum"),
    StepKind.MAXIMUM: Said("Down to the maximum"),
}


def _usage(line: ShownLine, currency: str) -> Explanation:
    derivation = line.derivation
    terms = terms_from_json(derivation["terms"])
    steps = tuple(_step(step, terms) for step in derivation["steps"])
    size = sum((step.amount for step in steps), ZERO)
    already = Decimal(derivation["already"])
    facts = [
        (_("Price"), _price(line)),
        (
            _("Reported in"),
            ngettext(
                "%(events)s event", "%(events)s events", derivation["events"], events=quantity(derivation["events"])
            ),
        ),
    ]
    if terms.free_quantity:
        used = max(min(terms.free_quantity - already, line.quantity), ZERO)
        facts.append(
            (
                _("Free of charge"),
                _(
                    "%(quantity)s of %(whole)s %(unit)s a month",
                    quantity=quantity(used),
                    whole=quantity(terms.free_quantity),
                    unit=line.unit,
                ),
            )
        )
    if already:
        facts.append((_("Reached before, at the price before"), f"{quantity(already)} {line.unit}"))
    words = price_sentence(
        terms, unit=line.unit or _("unit"), money=lambda value: unit_amount(value, currency), number=quantity, say=_
    )
    sentence = f"{words[0].upper()}{words[1:]}."
    priced = Decimal(derivation.get("priced", line.quantity))
    if priced != line.quantity:
        facts.append((_("Priced, after corrections within the month"), f"{quantity(priced)} {line.unit}"))
    if priced < 0:
        sentence += " " + _("Corrections outweigh the usage, so it is credited.")
    return Explanation(sentence, tuple(facts), steps, -size if priced < 0 else size)


def _step(step: dict[str, str], terms: Terms) -> ExplainedStep:
    kind = StepKind(step["kind"])
    label = _STEP_LABELS.get(kind, _("Packages") if terms.model is Model.PACKAGE else _("Charged"))
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
        label = _("Tier") if tier is None else _tier_name(tier.up_to)
    return ExplainedStep(
        label,
        Decimal(step["quantity"]),
        Decimal(step["unit_amount"]),
        Decimal(step["flat_amount"]),
        Decimal(step["amount"]),
    )


def _price(line: ShownLine) -> str:
    since = date.fromisoformat(line.derivation["valid_from"])
    return _("%(price)s, valid from %(day)s", price=line.derivation["price"], day=day(since))


def _tier_name(up_to: Decimal | None) -> str:
    return _("Tier without an upper end") if up_to is None else _("Tier up to %(quantity)s", quantity=quantity(up_to))


def _recurring(line: ShownLine, currency: str) -> Explanation:
    derivation = line.derivation
    share = Fraction(derivation["share"])
    terms = terms_from_json(derivation["terms"])
    interval = derivation.get("interval", "month")
    facts = [(_("Price"), _price(line))]
    if "steps" in derivation:
        steps = tuple(_step(step, terms) for step in derivation["steps"])
        whole = sum((step.amount for step in steps), ZERO)
    else:
        # A line from before plans had tiers: so many times the fee.
        steps, whole = (), terms.unit_amount * line.quantity
    facts.append(
        (
            _("Fee"),
            _(
                "%(quantity)s %(unit)s: %(amount)s a %(interval)s",
                quantity=quantity(line.quantity),
                unit=line.unit,
                amount=unit_amount(whole, currency),
                interval=_(interval),
            ),
        )
    )
    if "period" in derivation:
        first, end = (datetime.fromisoformat(each) for each in derivation["period"])
        facts.append(
            (
                _("Whole %(interval)s", interval=_(interval)),
                _("%(moment)s to %(end)s", moment=moment(first), end=moment(end)),
            )
        )
    given_back = derivation.get("given_back", False)
    sentence = _("The fee of a whole %(interval)s, billed in advance.", interval=_(interval))
    if given_back:
        sentence = _("What was paid in advance for time after the change is given back, counted by the second.")
    elif share != 1:
        sentence = _("The fee for the rest of the %(interval)s, counted by the second.", interval=_(interval))
    if share != 1:
        facts.append((_("Share that is left"), _percent(share)))
    exact = Fraction(whole) * share
    if "billed" in derivation:
        billed = to_major(derivation["billed"], currency)
        facts.append((_("Billed for it before, less discounts"), unit_amount(billed, currency)))
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
        text = _(
            "%(amount)s a month, of which the fee pays %(fee)s",
            amount=_amount(amount / scale, currency),
            fee=_amount(fee / scale, currency),
        )
        facts.append(
            (
                each["plan"],
                text if share == 1 else _("%(text)s, for %(percent)s of the month", text=text, percent=_percent(share)),
            )
        )
        missing += (amount - fee) * share
    facts.append((_("Usage of the month"), unit_amount(to_major(derivation["used"], currency), currency)))
    sentence = _("Fee and usage stayed below the minimum that was agreed; this is what was missing.")
    return Explanation(sentence, tuple(facts), (), _shown(missing / scale))


def _amount(exact: Fraction, currency: str) -> str:
    return unit_amount(_shown(exact), currency)


_TAKEN_OFF = {
    LineKind.RESERVATION: Said(
        "The reservation's credit of this month, for usage of its meters. What is not used is lost."
    ),
    LineKind.COUPON: Said("A coupon, split over the lines that it is for so that the parts add up."),
    LineKind.PROMOTIONAL: Said("A credit that we gave you; it is used before tax."),
}


def _taken_off(line: ShownLine, currency: str, names: Sequence[str]) -> Explanation:
    derivation = line.derivation
    base = to_major(derivation["base"], currency)
    facts = [(_("Of"), unit_amount(base, currency))]
    exact = -Fraction(to_major(line.amount, currency))
    if "percent" in derivation:
        facts.append((_("Percentage"), percent(Decimal(derivation["percent"]))))
        exact = Fraction(base) * Fraction(derivation["percent"]) / 100
    else:
        facts.append((_("At most"), unit_amount(to_major(derivation["at_most"], currency), currency)))
    only_for = derivation.get("products") or derivation.get("meters")
    if only_for:
        facts.append((_("For"), ", ".join(only_for)))
    facts += [
        (names[number - 1], f"\u2212{unit_amount(to_major(part, currency), currency)}")
        for number, part in derivation["parts"]
    ]
    return Explanation(_(_TAKEN_OFF[LineKind(line.kind)]), tuple(facts), (), _shown(-exact))


def _adjustment(line: ShownLine, currency: str) -> Explanation:
    """A closed month as it is known now, beside what was billed for it."""
    facts = []
    for title, name in ((_("Known now"), "rated"), (_("Billed before"), "billed")):
        facts += [
            (f"{title}: {each['description']}", f"{quantity(each['quantity'])}: {_minor(each['amount'], currency)}")
            for each in line.derivation[name]
        ]
    sentence = _(
        "Usage of a month that was billed already was reported or corrected later. The whole month was priced again"
        " with its own prices; this is the difference to what was billed for it."
    )
    return Explanation(sentence, tuple(facts), (), to_major(line.amount, currency))


def _minor(amount: int, currency: str) -> str:
    return unit_amount(to_major(amount, currency), currency)


_ROUNDING = {
    TaxRounding.LINE: Said("rounded line by line"),
    TaxRounding.SUM_BY_NET: Said("rounded once for the rate"),
    TaxRounding.KEEP_GROSS: Said("rounded once for the rate"),
}


def _tax(line: ShownLine, currency: str, names: Sequence[str]) -> Explanation:
    derivation = line.derivation
    if "percent" not in derivation:
        sentence = _("Tax was rounded over all lines together; this makes the lines add up to the total.")
        return Explanation(sentence, (), (), to_major(line.amount, currency))
    net, rate = to_major(derivation["net"], currency), Decimal(derivation["percent"])
    rounding = TaxRounding(derivation["rounding"])
    facts = [(_("Of"), unit_amount(net, currency)), (_("Rate"), percent(rate))]
    facts += [(names[number - 1], _minor(part, currency)) for number, part in derivation["parts"]]
    exact = Fraction(net) * Fraction(rate) / 100
    if rounding is TaxRounding.LINE:
        # Each line was rounded by itself, so their sum is exact.
        exact = Fraction(to_major(line.amount, currency))
    return Explanation(
        _("Tax on all lines of this rate, %(rounding)s.", rounding=_(_ROUNDING[rounding])),
        tuple(facts),
        (),
        _shown(exact),
    )


def _percent(share: Fraction) -> str:
    """A share of a month as a percentage with four decimals."""
    return f"{Decimal(share.numerator * 100) / Decimal(share.denominator):.4f} %"


def _by_hand(line: ShownLine, currency: str) -> Explanation:
    each = line.unit_amount or ZERO
    calculation = f"{quantity(line.quantity)} × {unit_amount(each, currency)}"
    sentence = _("A credit that we gave you.") if line.kind == "credit" else _("A single charge that we added by hand.")
    return Explanation(sentence, ((_("Calculation"), calculation),), (), line.quantity * each)
