"""What a credit note gives back, line by line: pure figures, in minor units, that never exceed what was billed.

A line that is a credit itself is billed below zero, and is given back below zero. Neither a line nor the lines of a
tax rate nor the invoice can be credited beyond what is left of them, so whatever notes are made, the last one leaves
exactly nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, plain
from portal.core.money import round_half_away, round_together
from portal.core.statement import TAKEN_OFF_OR_ADDED
from portal.core.taxes import Taxed, TaxRounding, credit_line, tax_lines, total_of

NOTHING = Taxed(0, 0)


class Item(Protocol):
    """A stored line of an invoice, as far as crediting looks at it."""

    kind: Any
    description: Any
    quantity: Any
    unit: Any
    unit_amount: Any
    amount: Any
    discount: Any
    credited: Any
    tax: Any
    derivation: Any


@dataclass(frozen=True, slots=True)
class Billed:
    """A charged line of an invoice after coupons and credits before tax, and what notes have given back of it.

    `number` counts from 1 within the invoice, as people see it. `quantity` is None where nothing is counted.
    """

    number: int
    description: str
    unit: str
    percent: Decimal
    billed: Taxed
    quantity: Decimal | None
    credited: Taxed = NOTHING
    credited_quantity: Decimal = ZERO

    @property
    def left(self) -> Taxed:
        """What has not been given back."""
        return _minus(self.billed, self.credited)

    @property
    def quantity_left(self) -> Decimal:
        """How much of the quantity no note has named."""
        return (self.quantity or ZERO) - self.credited_quantity

    @property
    def can_be_chosen(self) -> bool:
        """Whether there is something to give back; a line that is a credit goes only with the others."""
        return self.left.net > 0


@dataclass(frozen=True, slots=True)
class Given:
    """What a note gives back of a line; the quantity if that is how it was chosen."""

    line: Billed
    part: Taxed
    quantity: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """How much of one line: a quantity, or an amount in minor units as the line's price counts it."""

    quantity: Decimal | None = None
    amount: int | None = None


def billed_lines(items: Sequence[Item], *, total: int, tax: Mapping[str, Any] | None) -> list[Billed]:
    """The charged lines of a final invoice with their net amounts, none of them credited yet.

    `total` and `tax` are the invoice's own. The mode of rounding is not stored, but it shows: it is the one that
    gives the very taxes and the total that were billed.
    """
    charged = [(number, item) for number, item in enumerate(items, 1) if item.kind not in TAKEN_OFF_OR_ADDED]
    amounts = [item.amount - item.discount - item.credited for _, item in charged]
    percents = [Decimal(item.derivation.get("tax_percent", 0)) for _, item in charged]
    rates = {Decimal(rate["percent"]): Taxed(rate["net"], rate["tax"]) for rate in tax["rates"]} if tax else {}
    for rounding in TaxRounding:
        taxed = tax_lines(amounts, percents, rounding=rounding, inclusive=bool(tax and tax["included"]))
        lines = [
            Billed(
                number,
                item.description,
                item.unit,
                percent,
                each,
                item.quantity if item.unit or item.unit_amount is not None else None,
            )
            for (number, item), percent, each in zip(charged, percents, taxed, strict=True)
        ]
        sums = {percent: part for percent, part in by_rate((line.percent, line.billed) for line in lines) if percent}
        same_taxes = [each.tax for each in taxed] == [item.tax for _, item in charged]
        if same_taxes and sums == rates and total_of(taxed).gross == total:
            return lines
    raise AssertionError("the lines do not give the taxes and the total of their invoice")


def with_credit(lines: Iterable[Billed], credited: Mapping[int, tuple[Taxed, Decimal]]) -> list[Billed]:
    """The lines less what earlier notes gave back: by line number the amounts and the quantity."""
    return [
        replace(line, credited=credited[line.number][0], credited_quantity=credited[line.number][1])
        if line.number in credited
        else line
        for line in lines
    ]


def by_rate(parts: Iterable[tuple[Decimal, Taxed]]) -> list[tuple[Decimal, Taxed]]:
    """The sum of each tax rate, the lowest rate first."""
    of_rate: dict[Decimal, list[Taxed]] = {}
    for percent, part in parts:
        of_rate.setdefault(percent, []).append(part)
    return [(percent, total_of(of_rate[percent])) for percent in sorted(of_rate)]


def left_of(lines: Iterable[Billed]) -> Taxed:
    """What is left to credit in all."""
    return total_of([line.left for line in lines])


def all_of(lines: Sequence[Billed]) -> list[Given]:
    """Give back whatever is left of every line. Raises InvalidInput if nothing is."""
    _require_left(lines, 1)
    return [Given(line, line.left) for line in lines if line.left != NOTHING]


def amount_of(lines: Sequence[Billed], amount: int) -> list[Given]:
    """Give back an amount with its tax, spread over what is left: over the rates first, then over the lines of each.

    Raises InvalidInput if that is nothing, or more than is left.
    """
    _require_left(lines, amount)
    if amount == left_of(lines).gross:
        return all_of(lines)
    rates = by_rate((line.percent, line.left) for line in lines)
    shares = _spread(amount, [left.gross for _, left in rates])
    parts: dict[int, Taxed] = {}
    for (percent, left), share in zip(rates, shares, strict=True):
        part = part_of(left, share)
        of_rate = [line for line in lines if line.percent == percent]
        nets = _spread(part.net, [line.left.net for line in of_rate])
        taxes = _spread(part.tax, [line.left.tax for line in of_rate])
        parts |= {line.number: Taxed(*each) for line, *each in zip(of_rate, nets, taxes, strict=True)}
    return [Given(line, parts[line.number]) for line in lines if parts[line.number] != NOTHING]


def lines_of(lines: Sequence[Billed], chosen: Mapping[int, Chosen], *, included: bool) -> list[Given]:
    """Give back parts of chosen lines, by line number. An amount holds the tax if prices do (`included`).

    Raises InvalidInput, its field the number of the line, if a line has less left; without a field if lines that are
    credits stand against the chosen ones, so that their rate or the invoice has less left than they have.
    """
    of_number = {line.number: line for line in lines}
    given = [_chosen_part(of_number, number, each, included=included) for number, each in sorted(chosen.items())]
    left = dict(by_rate((line.percent, line.left) for line in lines))
    for percent, part in by_rate((each.line.percent, each.part) for each in given):
        if not is_within(part, left[percent]):
            raise InvalidInput(
                f"Credits stand against the lines with {plain(percent)}% of tax: less is left of them together than"
                " you chose. Credit an amount of the whole invoice instead."
            )
    _require_left(lines, total_of([each.part for each in given]).gross)
    return [each for each in given if each.part != NOTHING]


def is_within(part: Taxed, whole: Taxed) -> bool:
    """Whether neither side of a part, which has the sign of the whole, exceeds it."""
    return all(
        min(0, limit) <= amount <= max(0, limit) for amount, limit in ((part.net, whole.net), (part.tax, whole.tax))
    )


def part_of(left: Taxed, gross: int) -> Taxed:
    """A part of what is left, by its amount with tax: the tax in its proportion, and neither side beyond its own."""
    if not gross:
        return NOTHING
    if gross == left.gross:
        return left
    tax = round_half_away(Fraction(left.tax * gross, left.gross))
    lowest = max(min(0, left.tax), gross - max(0, left.net))
    highest = min(max(0, left.tax), gross - min(0, left.net))
    tax = min(max(tax, lowest), highest)
    return Taxed(gross - tax, tax)


def _chosen_part(of_number: Mapping[int, Billed], number: int, chosen: Chosen, *, included: bool) -> Given:
    line = of_number.get(number)
    field = str(number)
    if line is None or not line.can_be_chosen:
        raise InvalidInput(f"Line {number} has nothing left to credit.", field=field)
    if chosen.quantity is not None:
        if line.quantity is None or not 0 < chosen.quantity <= line.quantity_left:
            left = plain(max(line.quantity_left, ZERO))
            raise InvalidInput(f"The quantity is more than zero and at most {left}, which is left.", field=field)
        return Given(line, _by_net(line, _net_of_quantity(line, chosen.quantity)), chosen.quantity)
    amount = chosen.amount or 0
    of = line.left.gross if included else line.left.net
    if not 0 < amount <= of:
        raise InvalidInput("The amount is more than nothing and at most what is left of the line.", field=field)
    return Given(line, part_of(line.left, amount) if included else _by_net(line, amount))


def _net_of_quantity(line: Billed, quantity: Decimal) -> int:
    """The net amount of a quantity at the line's average price, so that the quantities' amounts add up to the line."""
    whole = Fraction(line.quantity or ZERO)

    def up_to(counted: Decimal) -> int:
        return round_half_away(line.billed.net * Fraction(counted) / whole)

    net = up_to(line.credited_quantity + quantity) - up_to(line.credited_quantity)
    # Amounts that were credited besides have taken some of what this quantity was billed with.
    return min(net, line.left.net)


def _by_net(line: Billed, net: int) -> Taxed:
    """A net amount and the tax that goes back with it; all of the line gives back all of its tax."""
    part = credit_line(line.billed, net, credited=line.credited)
    # Amounts with tax were credited in other proportions: they may have given back a minor unit of tax ahead.
    return Taxed(part.net, max(part.tax, 0))


def _spread(total: int, over: Sequence[int]) -> list[int]:
    """Split an amount in the proportion of what it is a part of; no part is beyond its own."""
    whole = sum(over)
    if not whole:
        return [0] * len(over)
    return round_together([Fraction(total * each, whole) for each in over])


def _require_left(lines: Sequence[Billed], amount: int) -> None:
    left = left_of(lines).gross
    if left <= 0:
        raise InvalidInput("There is nothing left to credit on this invoice.", field="amount")
    if not 0 < amount <= left:
        raise InvalidInput("The amount is more than nothing and at most what is left of the invoice.", field="amount")


def _minus(one: Taxed, other: Taxed) -> Taxed:
    return Taxed(one.net - other.net, one.tax - other.tax)
