"""Each charged line of a document computed again from its own derivation: terms, quantities, shares."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from portal.core.commitments import true_up_of
from portal.core.exact import ZERO, exactly, plain
from portal.core.money import major_text, round_fraction, round_to_minor, to_major
from portal.core.periods import midnight
from portal.core.pricing import Charge, charge, steps_to_json
from portal.core.statement import LineKind
from portal.core.subscriptions import Period
from portal.core.terms import Terms, terms_from_json
from portal.invoicing.stated import UNREADABLE, Finding, Stated, decimal, share_of
from portal.invoicing.usage_lines import of_units_only

_ONE_DAY = timedelta(days=1)


def findings_in(stated: Sequence[Stated], currency: str) -> list[Finding]:
    """Every charged line whose amount or derivation is not what its own terms give."""
    found = []
    for chain in _chains([line for line in stated if line.kind is LineKind.USAGE]):
        found += _usage(chain, currency)
    used = sum(line.amount for line in stated if line.kind is LineKind.USAGE)
    for line in stated:
        try:
            found += [Finding(line, words) for words in _other(line, currency, used)]
        except UNREADABLE as error:
            found.append(_unreadable(line, error))
    return sorted(found, key=lambda each: each.line.number)


def _unreadable(line: Stated, error: Exception) -> Finding:
    return Finding(line, f"what it was computed from cannot be read ({type(error).__name__}: {str(error)[:120]})")


def _other(line: Stated, currency: str, used: int) -> Iterator[str]:
    match line.kind:
        case LineKind.RECURRING:
            yield from _fee(line, currency)
        case LineKind.TRUE_UP:
            yield from _true_up(line, currency, used)
        case LineKind.ADJUSTMENT:
            rated, billed = (sum(each["amount"] for each in line.derivation[name]) for name in ("rated", "billed"))
            yield from _amount(line, rated - billed, currency)
        case LineKind.ONE_OFF | LineKind.CREDIT:
            if line.unit_amount is None:
                raise TypeError("it has no unit price")
            yield from _amount(line, _product(line.quantity, line.unit_amount, currency), currency)
        case LineKind.RESERVATION:
            yield from _granted(line, currency)


@exactly
def _product(quantity: Decimal, unit_amount: Decimal, currency: str) -> int:
    return round_to_minor(quantity * unit_amount, currency)


def _amount(line: Stated, comes_to: int, currency: str) -> Iterator[str]:
    if line.amount != comes_to:
        says = major_text(line.amount, currency)
        yield f"its amount is {says}, and what it was computed from comes to {major_text(comes_to, currency)}"


def _chains(lines: Sequence[Stated]) -> list[list[Stated]]:
    """The usage lines of one price after the other: each price's segments of the month in their order.

    Prices may have the same name. A segment goes on where the one before it ended, in time and in quantity.
    """
    chains: list[list[Stated]] = []
    for line in lines:
        before = [chain for chain in chains if _goes_on(chain[-1], line)]
        exact = [chain for chain in before if _reached(chain) == line.derivation.get("already")]
        if before:
            (exact or before)[0].append(line)
        else:
            chains.append([line])
    return chains


def _goes_on(before: Stated, line: Stated) -> bool:
    same = ("price", "meter", "product")
    return (
        all(before.derivation.get(name) == line.derivation.get(name) for name in same)
        and before.unit == line.unit
        and before.last_day + _ONE_DAY == line.first_day
    )


@exactly
def _reached(chain: Sequence[Stated]) -> str:
    return plain(sum((_priced(line) for line in chain), ZERO))


def _priced(line: Stated) -> Decimal:
    return decimal(line.derivation["priced"]) if "priced" in line.derivation else line.quantity


@exactly
def _usage(chain: Sequence[Stated], currency: str) -> list[Finding]:
    """Price the segments of one price's month again, one after the other."""
    found = []
    whole = sum((line.quantity for line in chain), ZERO)
    reached, events, billed = ZERO, 0, ZERO
    for line in chain:
        try:
            derivation, priced = line.derivation, _priced(line)
            terms = terms_from_json(derivation["terms"])
            if type(derivation["events"]) is not int or derivation["events"] < 0:
                raise ValueError("the number of events is a whole number")
            if terms.needs_event_amounts:
                raise ValueError("its terms look at every event by itself")
            if priced >= 0 and reached >= 0:
                result = charge(
                    terms,
                    priced,
                    already=reached,
                    period_quantity=whole,
                    already_billed=billed,
                    period_ends=line is chain[-1],
                    events=derivation["events"],
                    already_events=events,
                )
            else:
                size = charge(of_units_only(terms), abs(priced), events=derivation["events"])
                result = Charge(-size.amount, size.steps)
            found += [Finding(line, words) for words in _usage_differences(line, terms, result, reached, currency)]
        except UNREADABLE as error:
            found.append(_unreadable(line, error))
            break
        reached, events, billed = reached + priced, events + derivation["events"], billed + result.amount
    if whole != reached and not found:
        found.append(Finding(chain[-1], "the quantities that were priced are not those that were used"))
    return found


def _usage_differences(line: Stated, terms: Terms, result: Charge, reached: Decimal, currency: str) -> Iterator[str]:
    yield from _amount(line, round_to_minor(result.amount, currency), currency)
    if line.derivation["already"] != plain(reached):
        yield f"it goes on from {line.derivation['already']}, and the segments before it reach {plain(reached)}"
    if line.derivation["steps"] != steps_to_json(result):
        yield "the steps of its calculation are not what its price and quantity give"
    yield from _unit_price(line, terms)


def _unit_price(line: Stated, terms: Terms) -> Iterator[str]:
    if line.unit_amount != (None if terms.tiers else terms.unit_amount):
        yield "its unit price is not that of its terms"


def _fee(line: Stated, currency: str) -> Iterator[str]:
    derivation = line.derivation
    terms = terms_from_json(derivation["terms"])
    whole = charge(terms, line.quantity)
    if "steps" in derivation and derivation["steps"] != steps_to_json(whole):
        yield "the steps of its fee are not what its price and quantity give"
    yield from _unit_price(line, terms)
    share = share_of(derivation["share"])
    exact = Fraction(whole.amount) * share
    if "billed" in derivation:
        exact = Fraction(to_major(derivation["billed"], currency)) * share / share_of(derivation["share_billed"])
    yield from _amount(line, round_fraction(-exact if derivation.get("given_back") else exact, currency), currency)
    if "charged_at" in derivation:
        yield from _time(line, share)


def _time(line: Stated, share: Fraction) -> Iterator[str]:
    """Whether the share is that of the time from when the fee was charged, or given back, to its period's end."""
    derivation = line.derivation
    start, end, charged_at = (
        datetime.fromisoformat(each) for each in (*derivation["period"], derivation["charged_at"])
    )
    period = Period(start, end)
    of_charge = period.share(charged_at, end)
    if "share_billed" in derivation and share_of(derivation["share_billed"]) != of_charge:
        yield f"the share of the period that was charged is {derivation['share_billed']} and comes to {of_charge}"
    if derivation.get("given_back"):
        # Only the day of the change stands in the document.
        since = midnight(line.first_day)
        at_most = period.share(max(since, start), end)
        if not period.share(min(since + _ONE_DAY, end), end) < share <= at_most:
            yield f"the share of the period that is given back, {share}, is not that from {line.first_day} on"
    elif share != of_charge:
        yield f"its share of the period is {share} and comes to {of_charge}"
    elif charged_at.astimezone(UTC).date() != line.first_day:
        yield "it does not begin on the day on which it was charged"


def _true_up(line: Stated, currency: str, used: int) -> Iterator[str]:
    derivation = line.derivation
    wanted = sum(
        (
            (share_of(each["amount"]) - share_of(each["fee"])) * share_of(each["share"])
            for each in derivation["commitments"]
        ),
        Fraction(0),
    )
    yield from _amount(line, true_up_of(wanted, used=used), currency)
    if derivation["used"] != used:
        says, comes_to = major_text(derivation["used"], currency), major_text(used, currency)
        yield f"the usage of the month is {says} and comes to {comes_to}"


def _granted(line: Stated, currency: str) -> Iterator[str]:
    derivation = line.derivation
    exact = sum(
        (
            Fraction(decimal(each["monthly_credit"])) * each["quantity"] * share_of(each["share"])
            for each in derivation["granted"]
        ),
        Fraction(0),
    )
    if derivation["at_most"] != round_fraction(exact, currency):
        yield "the credit of the month is not what was granted"
