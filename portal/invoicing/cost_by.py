"""What a month costs by product, by meter or by a dimension of its meters: groups that add up to the invoice's total.

Tiers are pooled over the organization: what a usage line comes to, after all that was taken off it, and its tax are
split over the values of a dimension by their share of the line's quantity, so everybody pays the same average price.
What no usage caused (fees, one-off items, late usage of earlier months, rounding) is not attributed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from sqlalchemy import select

from portal.catalog.models import Meter
from portal.core.allocating import allocate_by_weight
from portal.core.errors import InvalidInput
from portal.core.exact import ZERO, exactly
from portal.core.periods import Month
from portal.core.saying import Said
from portal.infra.db import db
from portal.invoicing.cost_lines import Amounts, Bill, CostLine, Segment, bill_of, segments_of
from portal.organizations.models import Organization

# These two words mean the portal's own, also where a meter has a dimension of that name.
BY_PRODUCT, BY_METER = "product", "meter"
_FIRST_CHOICE = "app"
# A value of a dimension, a product or a meter's code; "" is usage without one, None is what is not attributed.
Value = str | None


class GroupKind(StrEnum):
    """What a group is: one value, usage without a value, or what no usage caused."""

    VALUE = "value"
    WITHOUT = "without"
    NOT_ATTRIBUTED = "not_attributed"


@dataclass(frozen=True, slots=True)
class Group:
    """What one value comes to, and its words for people."""

    value: Value
    label: str
    amounts: Amounts

    @property
    def kind(self) -> GroupKind:
        """Which of the three kinds it is."""
        if self.value is None:
            return GroupKind.NOT_ATTRIBUTED
        return GroupKind.VALUE if self.value else GroupKind.WITHOUT


@dataclass(frozen=True, slots=True)
class Question:
    """By what costs are asked for, of one meter's lines or of all; and what else the month can be asked."""

    by: str
    meter: str | None
    choices: tuple[str, ...]
    meters: Mapping[str, str]

    @property
    def is_dimension(self) -> bool:
        """Whether lines are split by what meters tell apart."""
        return self.by not in (BY_PRODUCT, BY_METER)


@dataclass(frozen=True, slots=True)
class Costs:
    """A month's groups: values by size, usage without one, what is not attributed.

    With the `rest`, which is what other meters and all else come to if one meter was asked for, they add up to the
    bill's total. `parts` are the groups' amounts line by line; `segments` is the usage that they were split by.
    """

    bill: Bill
    question: Question
    groups: tuple[Group, ...]
    rest: Amounts
    parts: tuple[tuple[CostLine, Mapping[Value, Amounts]], ...]
    segments: Sequence[Segment]


def costs_of(organization: Organization, month: Month, *, by: str | None = None, meter: str | None = None) -> Costs:
    """What a month of an organization comes to by one thing: by default its first dimension, apps if it has them.

    Raises InvalidInput for a meter that there is not, and for a dimension that no meter has.
    """
    bill = bill_of(organization, month)
    question = _question(bill, by, meter)
    asked = [line for line in bill.lines if meter is None or line.meter == meter]
    others = [line for line in bill.lines if meter is not None and line.meter != meter]
    segments = segments_of(bill) if question.is_dimension else []
    weights = _weights(segments, question.by)
    parts = tuple((line, _split(line, question, weights)) for line in asked)
    sums: dict[Value, Amounts] = {}
    for _, of_line in parts:
        for value, amounts in of_line.items():
            sums[value] = sums.get(value, Amounts()) + amounts
    groups = sorted((Group(value, _label(value, question), amounts) for value, amounts in sums.items()), key=in_order)
    rest = sum((line.amounts for line in others), Amounts())
    assert sum((group.amounts for group in groups), rest) == bill.total, "the groups do not add up to the total"
    return Costs(bill, question, tuple(groups), rest, parts, segments)


def _question(bill: Bill, by: str | None, meter: str | None) -> Question:
    """What is asked, and what could be: the dimensions and the meters of the month's lines."""
    known = {each.code: each for each in db.session.scalars(select(Meter).order_by(Meter.name))}
    if meter is not None and meter not in known:
        raise InvalidInput(f"There is no meter “{meter[:60]}”.", field="meter")
    used = {line.meter for line in bill.lines if line.meter} | ({meter} if meter else set())
    dimensions = {name for code in used for name in known[code].dimensions}
    declared = {name for each in known.values() for name in each.dimensions}
    if by is not None and by not in declared | {BY_PRODUCT, BY_METER}:
        can_be = ", ".join([BY_PRODUCT, BY_METER, *sorted(dimensions)])
        raise InvalidInput(f"No meter has the dimension “{by[:60]}”; choose one of {can_be}.", field="by")
    if by is None:
        by = _FIRST_CHOICE if _FIRST_CHOICE in dimensions else min(dimensions, default=BY_PRODUCT)
    offered = sorted((dimensions | {by}) - {BY_PRODUCT, BY_METER})
    names = {code: each.name for code, each in known.items() if code in used}
    return Question(by, meter, (BY_PRODUCT, BY_METER, *offered), names)


@exactly
def _weights(segments: Sequence[Segment], dimension: str) -> dict[int, dict[str, Decimal]]:
    """How much of the quantity of each price version's line every value of a dimension used."""
    weights: dict[int, dict[str, Decimal]] = {}
    for each in segments:
        of_line = weights.setdefault(each.version_id, {})
        value = each.series.dimensions.get(dimension, "")
        of_line[value] = of_line.get(value, ZERO) + each.series.quantity
    return weights


def _split(line: CostLine, question: Question, weights: Mapping[int, Mapping[str, Decimal]]) -> dict[Value, Amounts]:
    """A line's amounts by value: whole under its product or meter, or by the values' share of its quantity."""
    if not question.is_dimension:
        return {(line.product if question.by == BY_PRODUCT else line.meter) or None: line.amounts}
    of_line = weights.get(line.usage_version_id) if line.usage_version_id is not None else None
    if not of_line:
        return {None: line.amounts}
    nets, taxes = (allocate_by_weight(amount, of_line) for amount in (line.amounts.net, line.amounts.tax))
    return {value: Amounts(nets[value], taxes[value]) for value in of_line}


def _label(value: Value, question: Question) -> str:
    if value is None:
        return Said("Not attributed")
    if question.by == BY_METER:
        return question.meters[value]
    return value or Said("Without %(by)s", by=Said(question.by))


def in_order(group: Group) -> tuple[int, int, str]:
    """Values by size, the largest first; what has none comes last."""
    return list(GroupKind).index(group.kind), -group.amounts.whole, group.value or ""
