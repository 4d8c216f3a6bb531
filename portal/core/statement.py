"""From lines to an amount due: the order of an invoice.

Lines (usage, subscription fees, one-off items; each rounded once) → reservation credits → coupons → promotional
credits → tax → total → prepaid credits → balance. Whatever is taken off is split over the lines it is taken from, and
the tax over the lines that are taxed, to the last minor unit. A negative total is never collected: it is carried to
the next invoice as a balance.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from portal.core.commitments import CreditGrant, use_credits
from portal.core.discounts import Coupon, Taken, reductions_of
from portal.core.exact import plain
from portal.core.keys import content_hash
from portal.core.money import LARGEST_AMOUNT, to_major
from portal.core.taxes import TaxTerms, tax_lines


class LineKind(StrEnum):
    """What a line bills, or takes off; in the order in which an invoice lists them."""

    USAGE = "usage"
    RECURRING = "recurring"
    TRUE_UP = "true_up"
    ONE_OFF = "one_off"
    CREDIT = "credit"
    ADJUSTMENT = "adjustment"
    RESERVATION = "reservation"
    COUPON = "coupon"
    PROMOTIONAL = "promotional"
    TAX = "tax"


_ORDER = {kind: rank for rank, kind in enumerate(LineKind)}
_TAKEN_OFF = (LineKind.RESERVATION, LineKind.COUPON, LineKind.PROMOTIONAL)
TAKEN_OFF_OR_ADDED = frozenset({*_TAKEN_OFF, LineKind.TAX})
NO_TAX = TaxTerms()
_ALWAYS = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a statement. `amount` is in minor units; `unrounded` is what it was rounded from.

    `derivation` explains the amount for ever; `references` and `series` are the ids of what the line came from.
    `given_back` is what later lines of the same statement give back of it (a fee that a change cut short): nothing
    is taken off that part. What was taken off, and the tax on the rest, stand beside the amount. `tax_percent` is for
    a line that gives back or adjusts what an earlier month has taxed; others take the rate of their product.
    """

    kind: LineKind
    description: str
    quantity: Decimal
    unit: str
    unit_amount: Decimal | None
    unrounded: Decimal
    amount: int
    period_start: date
    period_end: date
    derivation: dict[str, Any] = field(default_factory=dict)
    references: dict[str, int] = field(default_factory=dict)
    series: tuple[int, ...] = ()
    product: str = ""
    meter: str = ""
    given_back: int = 0
    tax_percent: Decimal | None = None
    discount: int = 0
    credited: int = 0
    tax: int = 0

    def facts(self) -> dict[str, Any]:
        """What makes this line this line: the part of it that the fingerprint covers."""
        return {
            "kind": self.kind.value,
            "description": self.description,
            "quantity": plain(self.quantity),
            "unit": self.unit,
            "unit_amount": None if self.unit_amount is None else plain(self.unit_amount),
            "unrounded": plain(self.unrounded),
            "amount": self.amount,
            "period": [self.period_start.isoformat(), self.period_end.isoformat()],
            "derivation": self.kept(),
            **self.beside(),
        }

    def beside(self) -> dict[str, int]:
        """What stands beside the amount, as far as there is any."""
        amounts = {"discount": self.discount, "credited": self.credited, "tax": self.tax}
        return {name: amount for name, amount in amounts.items() if amount}

    def kept(self) -> dict[str, Any]:
        """The derivation as an invoice keeps it: with what the line is of, and the rate that it was taxed at.

        So it can be given back later, grouped on paper, and computed again from the document alone.
        """
        tax_percent = plain(self.tax_percent) if self.tax_percent else ""
        named = {"product": self.product, "meter": self.meter, "tax_percent": tax_percent}
        return self.derivation | {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Reduction:
    """Something that takes off: a reservation's credit, a coupon, or a promotional credit.

    A percentage, or at most so many minor units (`fixed`); of the lines of these products or meters, if it names any.
    """

    kind: LineKind
    description: str
    percent: Decimal | None = None
    fixed: int | None = None
    products: frozenset[str] = frozenset()
    meters: frozenset[str] = frozenset()
    references: dict[str, int] = field(default_factory=dict)
    derivation: dict[str, Any] = field(default_factory=dict)

    def coupon(self, lines: Sequence[Line]) -> Coupon:
        """The coupon that this is for these lines."""
        if not self.products and not self.meters:
            return Coupon(self.percent, self.fixed)
        fitting = {
            place for place, line in enumerate(lines) if line.product in self.products or line.meter in self.meters
        }
        fixed = self.fixed
        if self.kind is LineKind.RESERVATION and fixed is not None:
            # Usage that corrections have lowered needs less of it, and the rest is lost, never money.
            fixed = min(fixed, max(sum(lines[place].amount for place in fitting), 0))
        return Coupon(self.percent, fixed, frozenset(fitting))


@dataclass(frozen=True, slots=True)
class TaxRow:
    """The tax of all lines with one rate, in minor units."""

    percent: Decimal
    net: int
    tax: int


@dataclass(frozen=True, slots=True)
class Statement:
    """Lines in their order and what they come to, in minor units of one currency.

    The lines' amounts add up to the total. `tax` is what the total holds of tax: added by tax lines, or, if the
    prices include it, a part of the amounts. `credits_used` is what is taken of each prepaid grant, by its id.
    """

    currency: str
    lines: tuple[Line, ...]
    taxes: tuple[TaxRow, ...]
    tax_terms: TaxTerms
    promotional_used: dict[int, int]
    credits_used: dict[int, int]
    total: int
    balance_applied: int
    amount_due: int
    carried_forward: int

    @property
    def tax(self) -> int:
        """The tax in the total."""
        return sum(row.tax for row in self.taxes)

    @property
    def credits_applied(self) -> int:
        """What prepaid credit pays."""
        return sum(self.credits_used.values())

    @property
    def subtotal(self) -> int:
        """What the lines come to before anything is taken off and tax is added."""
        return sum(line.amount for line in self.lines if line.kind not in TAKEN_OFF_OR_ADDED)

    def fingerprint(self) -> str:
        """A hash of everything that is billed: two equal fingerprints are the same invoice."""
        return content_hash(
            {
                "currency": self.currency,
                "lines": [line.facts() for line in self.lines],
                "tax": tax_facts(self),
                "credits": {str(grant): amount for grant, amount in sorted(self.credits_used.items())},
                "balance_applied": self.balance_applied,
                "amount_due": self.amount_due,
            }
        )

    @property
    def is_too_large(self) -> bool:
        """Whether it is more than one invoice may bill; it can be looked at, and not be finalized."""
        return abs(self.total) > LARGEST_AMOUNT


def tax_facts(statement: Statement) -> dict[str, Any] | None:
    """What an invoice says of its tax, as plain data; None if it has nothing to say."""
    sentence = statement.tax_terms.treatment.sentence
    if not statement.taxes and not sentence:
        return None
    return {
        "amount": statement.tax,
        "included": statement.tax_terms.inclusive,
        "rates": [{"percent": plain(row.percent), "net": row.net, "tax": row.tax} for row in statement.taxes],
        "sentence": sentence,
    }


def compose(
    lines: Sequence[Line],
    *,
    currency: str,
    balance: int = 0,
    reductions: Sequence[Reduction] = (),
    tax: TaxTerms = NO_TAX,
    prepaid: Sequence[CreditGrant] = (),
) -> Statement:
    """Put lines into their order, take off, add the tax, and pay with what is there.

    `balance` is the organization's credit (0 or more); `prepaid` grants and promotional reductions are those that
    have not expired, the latter in the order of their use.
    """
    assert balance >= 0, balance
    charged = sorted(lines, key=lambda line: (_ORDER[line.kind], line.description, line.period_start))
    charged, taken_off = _take_off(charged, reductions, currency)
    charged, taxes, tax_rows = _add_tax(charged, tax, currency)
    ordered = (*charged, *taken_off, *tax_rows)
    total = sum(line.amount for line in ordered)
    due = max(total, 0)
    credits_used = use_credits(due, prepaid, now=_ALWAYS)
    due -= sum(credits_used.values())
    applied = min(balance, due)
    return Statement(
        currency=currency,
        lines=ordered,
        taxes=taxes,
        tax_terms=tax,
        promotional_used=_used(taken_off),
        credits_used=credits_used,
        total=total,
        balance_applied=applied,
        amount_due=due - applied,
        carried_forward=max(-total, 0),
    )


def _used(taken_off: Sequence[Line]) -> dict[int, int]:
    """What is taken of each promotional grant."""
    return {line.references["credit_grant_id"]: -line.amount for line in taken_off if line.kind is LineKind.PROMOTIONAL}


def _take_off(charged: Sequence[Line], reductions: Sequence[Reduction], currency: str) -> tuple[list[Line], list[Line]]:
    """The charged lines with what they lose, and one line for every reduction that takes something off."""
    if not reductions:
        return list(charged), []
    discounts, credited = [0] * len(charged), [0] * len(charged)
    taken_off = []
    for kind in _TAKEN_OFF:
        of_kind = [each for each in reductions if each.kind is kind]
        left = [
            # A commitment is a minimum of what is paid, so no coupon lowers its true-up.
            0
            if kind is LineKind.COUPON and line.kind is LineKind.TRUE_UP
            else line.amount - line.given_back - discount - credit
            for line, discount, credit in zip(charged, discounts, credited, strict=True)
        ]
        parts_of = reductions_of(left, [each.coupon(charged) for each in of_kind])
        for reduction, taken in zip(of_kind, parts_of, strict=True):
            lost = credited if kind is LineKind.PROMOTIONAL else discounts
            for place, part in enumerate(taken.parts):
                lost[place] += part
            if any(taken.parts):
                taken_off.append(_taken_off_line(reduction, taken, charged, currency))
    return [
        replace(line, discount=discount, credited=credit)
        for line, discount, credit in zip(charged, discounts, credited, strict=True)
    ], taken_off


def _taken_off_line(reduction: Reduction, taken: Taken, charged: Sequence[Line], currency: str) -> Line:
    touched = [line for line, part in zip(charged, taken.parts, strict=True) if part]
    return _line_of(
        reduction.kind,
        reduction.description,
        -sum(taken.parts),
        currency,
        touched,
        derivation={
            **reduction.derivation,
            **({} if reduction.percent is None else {"percent": plain(reduction.percent)}),
            **({} if reduction.fixed is None else {"at_most": reduction.fixed}),
            "base": taken.base,
            # Line numbers count from 1, as people see them.
            "parts": [[place, part] for place, part in enumerate(taken.parts, 1) if part],
        },
        references=reduction.references,
    )


def _add_tax(
    charged: Sequence[Line], terms: TaxTerms, currency: str
) -> tuple[list[Line], tuple[TaxRow, ...], list[Line]]:
    """The charged lines with their tax, the sums by rate, and the lines that add the tax to the total."""
    percents = [terms.percent_of(line.product) if line.tax_percent is None else line.tax_percent for line in charged]
    if not any(percents):
        return list(charged), (), []
    amounts = [line.amount - line.discount - line.credited for line in charged]
    taxed = tax_lines(amounts, percents, rounding=terms.rounding, inclusive=terms.inclusive)
    rows = []
    for percent in sorted(set(percents)):
        of_rate = [each for each, its_percent in zip(taxed, percents, strict=True) if its_percent == percent]
        rows.append(TaxRow(percent, sum(each.net for each in of_rate), sum(each.tax for each in of_rate)))
    added = [
        _line_of(
            LineKind.TAX,
            f"Tax {plain(row.percent)}%",
            row.tax,
            currency,
            charged,
            derivation={
                "percent": plain(row.percent),
                "net": row.net,
                "rounding": terms.rounding.value,
                "parts": [
                    [place, each.tax]
                    for place, (each, percent) in enumerate(zip(taxed, percents, strict=True), 1)
                    if percent == row.percent
                ],
            },
        )
        for row in rows
        if row.tax and not terms.inclusive
    ]
    # Keeping the net of prices with tax, or the gross of prices without it, moves the others by less than a minor
    # unit a line; so the lines still add up to the total.
    moved = sum(each.gross if terms.inclusive else each.net for each in taxed) - sum(amounts)
    if moved:
        added.append(_line_of(LineKind.TAX, "Rounding by the tax", moved, currency, charged))
    with_tax = [
        replace(line, tax=each.tax, tax_percent=percent)
        for line, each, percent in zip(charged, taxed, percents, strict=True)
    ]
    return with_tax, tuple(row for row in rows if row.percent), added


def _line_of(kind: LineKind, description: str, amount: int, currency: str, of: Sequence[Line], **more: Any) -> Line:
    """A line about other lines: for the time that those are for."""
    return Line(
        kind=kind,
        description=description,
        quantity=Decimal(1),
        unit="",
        unit_amount=None,
        unrounded=to_major(amount, currency),
        amount=amount,
        period_start=min(line.period_start for line in of),
        period_end=max(line.period_end for line in of),
        **more,
    )
