"""Tax on lines that were rounded and discounted, in minor units; the lines' taxes always add up to the invoice's.

Several taxes of one line are added, not compounded. Three modes of rounding differ by what they keep:
`line` rounds every line by itself; `sum_by_net` keeps the net amounts and rounds once per rate, on their sum
(EN 16931, BR-CO-17), so inclusive prices may move by a minor unit; `keep_gross` keeps the gross amounts and rounds
the net once per rate. Source: pretix' modes of the same names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from portal.core.errors import InvalidInput
from portal.core.money import allocate, round_half_away, round_together

# Tax codes that an item can have of its own; a third kind names a product whose rate it takes.
STANDARD_RATE, NO_TAX_ON_ITEM, LIKE_PRODUCT = "standard", "exempt", "product:"


class TaxRounding(StrEnum):
    """Where the tax is rounded."""

    LINE = "line"
    SUM_BY_NET = "sum_by_net"
    KEEP_GROSS = "keep_gross"


class TaxTreatment(StrEnum):
    """Whether an organization is charged tax."""

    STANDARD = "standard"
    EXEMPT = "exempt"
    REVERSE_CHARGE = "reverse_charge"

    @property
    def sentence(self) -> str:
        """What the invoice must say about it. Source: Directive 2006/112/EC, Article 226 (11) and (11a)."""
        return _SENTENCES[self]


_SENTENCES = {
    TaxTreatment.STANDARD: "",
    TaxTreatment.EXEMPT: "Exempt from tax.",
    TaxTreatment.REVERSE_CHARGE: "Reverse charge: the recipient is liable for the tax.",
}


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A percentage from a day on: of one product or of all, of everybody or (`own`) of one organization.

    Raises InvalidInput for a rate below zero or none at all.
    """

    percent: Decimal
    valid_from: date = date.min
    product: str | None = None
    own: bool = False

    def __post_init__(self) -> None:
        if not self.percent.is_finite() or self.percent < 0:
            raise InvalidInput(f"A tax rate is zero or more, not {self.percent}.", field="percent")


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """How one organization is taxed, where its tax is rounded, and whether its prices hold the tax already.

    `day` is the one whose rates hold: the last day of an invoice's month.
    """

    treatment: TaxTreatment = TaxTreatment.STANDARD
    rates: tuple[TaxRate, ...] = ()
    rounding: TaxRounding = TaxRounding.SUM_BY_NET
    inclusive: bool = False
    day: date = date.max

    def percent_of(self, product: str) -> Decimal:
        """The rate of a product; nothing is charged if the organization is exempt or liable itself.

        An organization's own rates go before everybody's, and among each, a product's before those of all products;
        of one kind the newest that holds.
        """
        if self.treatment is not TaxTreatment.STANDARD:
            return Decimal(0)
        fitting = [rate for rate in self.rates if rate.valid_from <= self.day and rate.product in (None, product)]
        best = max(fitting, key=lambda rate: (rate.own, rate.product is not None, rate.valid_from), default=None)
        return best.percent if best else Decimal(0)

    def percent_of_code(self, code: str) -> Decimal:
        """The rate of an item's own tax code: that of all products, none, or that of the product which it names."""
        if code == NO_TAX_ON_ITEM:
            return Decimal(0)
        return self.percent_of(code.removeprefix(LIKE_PRODUCT) if code.startswith(LIKE_PRODUCT) else "")


@dataclass(frozen=True, slots=True)
class Taxed:
    """An amount before tax and the tax on it, in minor units."""

    net: int
    tax: int

    @property
    def gross(self) -> int:
        """The amount with its tax."""
        return self.net + self.tax


def tax_lines(
    amounts: Sequence[int],
    percents: Sequence[Decimal],
    *,
    rounding: TaxRounding = TaxRounding.SUM_BY_NET,
    inclusive: bool = False,
) -> list[Taxed]:
    """The tax of each line. The amounts are net, or gross if the prices are `inclusive`; a credit is negative.

    An inclusive price of an exempt organization stays as it is, and all of it is net.
    """
    shares = [Fraction(percent) * Fraction(1, 100) for percent in percents]
    lines = [_line(amount, share, inclusive) for amount, share in zip(amounts, shares, strict=True)]
    if rounding is TaxRounding.LINE:
        return lines
    taxed = dict(enumerate(lines))
    for share in dict.fromkeys(shares):
        indexes = [index for index, each in enumerate(shares) if each == share]
        for index, line in zip(indexes, _rate_group([lines[at] for at in indexes], share, rounding), strict=True):
            taxed[index] = line
    return [taxed[index] for index in range(len(lines))]


def _line(amount: int, share: Fraction, inclusive: bool) -> Taxed:
    if inclusive:
        net = round_half_away(Fraction(amount, 1 + share))
        return Taxed(net, amount - net)
    return Taxed(amount, round_half_away(amount * share))


def _rate_group(lines: Sequence[Taxed], share: Fraction, rounding: TaxRounding) -> list[Taxed]:
    """All lines of one rate, rounded together."""
    if rounding is TaxRounding.SUM_BY_NET:
        taxes = round_together([line.net * share for line in lines])
        return [Taxed(line.net, tax) for line, tax in zip(lines, taxes, strict=True)]
    nets = round_together([Fraction(line.gross, 1 + share) for line in lines])
    return [Taxed(net, line.gross - net) for line, net in zip(lines, nets, strict=True)]


def total_of(lines: Sequence[Taxed]) -> Taxed:
    """What the lines come to."""
    return Taxed(sum(line.net for line in lines), sum(line.tax for line in lines))


def split_by_rate(tax: int, percents: Sequence[Decimal]) -> list[int]:
    """The tax of a line that has several taxes, tax by tax; the parts add up to it."""
    return allocate(tax, percents)


def credit_line(billed: Taxed, net: int, *, credited: Taxed = Taxed(0, 0)) -> Taxed:
    """The credit note of a part of a billed line: its net amount and the tax that goes back with it, both positive.

    `credited` is what earlier notes gave back. The tax is counted from the line's own, never from a rate, so that
    however a line is credited, all of it gives back exactly the tax that was billed.
    Raises InvalidInput if that is more than the line has left.
    """
    if not 0 <= net <= billed.net - credited.net:
        raise InvalidInput(f"The line has {billed.net - credited.net} left to credit, not {net}.", field="amount")
    if billed.net == 0:
        return Taxed(0, 0)
    tax_in_all = round_half_away(Fraction(billed.tax * (credited.net + net), billed.net))
    return Taxed(net, tax_in_all - credited.tax)
