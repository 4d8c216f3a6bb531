"""The one adapter from worked examples of other billing systems to the portal's own rules.

`figures_of` computes, for a vector, every figure that its `expected` names, and nothing else; how a model's inputs are
named is known only here. `skip_reason` names the conventions in which the portal differs (DESIGN, chapter 5).
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

from portal.core.commitments import true_up_of
from portal.core.discounts import Coupon, discounts_of
from portal.core.money import allocate, exponent_of, round_fraction, round_half_away, round_to_minor, to_major
from portal.core.periods import midnight
from portal.core.pricing import Charge, Model, StepKind, Terms, Tier, charge, charge_prorated
from portal.core.quantities import (
    Aggregation,
    QuantityRounding,
    Reading,
    aggregate,
    round_quantity,
    time_weighted,
)
from portal.core.statement import Line, LineKind, compose
from portal.core.subscriptions import Fee, Interval, Period, Schedule, change_of
from portal.core.taxes import Taxed, TaxRounding, TaxStatus, credit_line, tax_lines, total_of

D = Decimal
Input = Mapping[str, Any]
Figures = dict[str, Any]
Adapter = Callable[[Input], Figures]

BLOCK_TIERS = "CONVENTION: tiers in blocks that count begun; our tiers count units (lower exclusive, upper inclusive)."
DYNAMIC = "CONVENTION: the amount is carried by the events; ours comes from a price and a quantity only."
FIXED_30 = "CONVENTION: every month counts 30 days; ours is prorated by the second of its real length."
SKIPPED_MODELS = {
    "graduated_blocks": BLOCK_TIERS,
    "volume_blocks": BLOCK_TIERS,
    "dynamic": DYNAMIC,
    "dynamic_progressive+maximum": DYNAMIC,
    "proration_fixed30": FIXED_30,
}
SKIPPED_IDS = {
    "lago-coupons-sequential": "CONVENTION: coupons split into fractions of a cent, and printed line taxes (1887) that"
    " do not add up to the invoice's (1889); ours are split in whole cents and line taxes always add up.",
}


def skip_reason(vector: Input) -> str | None:
    """The difference of convention for which a vector is not compared; None if it is."""
    return SKIPPED_IDS.get(vector["id"]) or SKIPPED_MODELS.get(vector["model"])


def figures_of(vector: Input) -> Figures:
    """Our figures under the names of the vector's `expected`. Raises KeyError for a model that nobody knows."""
    # Lago and OpenMeter take the first tier's flat amount at zero usage; a price of ours says so by an option.
    takes_first_flat = vector["source"].startswith(("getlago/", "openmeterio/"))
    given = {"zero_usage_charges_first_flat": takes_first_flat, **vector["input"]}
    figures = ADAPTERS[vector["model"]](given)
    return {name: figures[name] for name in vector["expected"]}


def agrees(ours: Any, expected: Any) -> bool:
    """Whether a figure is the expected one: exactly, or rounded to the decimals in which it was printed, but then
    only if it is a fraction that has no end."""
    if isinstance(expected, list):
        return len(ours) == len(expected) and all(map(agrees, ours, expected))
    if isinstance(expected, str) and not re.fullmatch(r"-?[0-9.]+", expected):
        return ours == (sum(map(Fraction, expected.split(" + "))) if "/" in expected else expected)
    if Fraction(ours) == Fraction(expected):
        return True
    places = -int(D(expected).as_tuple().exponent)
    return places > 2 and isinstance(ours, Fraction) and round_half_away(ours * 10**places) == D(expected).scaleb(places)


# Prices


def terms_of(given: Input, model: Model) -> Terms:
    """The price in a vector's input."""
    unit = given.get("unit", given.get("package_price", "0"))
    tiers = tuple(
        Tier(None if tier["up_to"] is None else D(tier["up_to"]), D(tier["unit"]), D(tier["flat"]))
        for tier in given.get("tiers", [])
    )
    if "unit_for_quantity" in given:
        tiers = (Tier(None, D(given["unit_for_quantity"])),)
    return Terms(
        model,
        unit_amount=D(unit),
        tiers=tiers,
        package_size=D(given.get("package_size", "1")),
        free_quantity=D(given.get("free_units", "0")),
        zero_usage_charges_first_flat=given["zero_usage_charges_first_flat"],
        discount_percent=D(given.get("discount_percent", "0")),
        minimum=D(given.get("minimum", "0")),
        maximum=D(given["maximum"]) if "maximum" in given else None,
    )


def priced(model: Model) -> Adapter:
    """A price of one model, with whatever its input combines it with."""

    def figures(given: Input) -> Figures:
        terms = terms_of(given, model)
        already = D(given.get("already_billed_quantity", "0"))
        billed = D(given.get("already_billed_amount", "0"))
        result = charge(
            terms, D(given.get("new_quantity", given.get("quantity", "0"))), already=already, already_billed=billed
        )
        return charge_figures(result) | {"total": result.amount}

    return figures


def charge_figures(result: Charge) -> Figures:
    """A charge under the names that vectors use; `…_minor` is cents."""
    reductions = -result.sum_of(StepKind.DISCOUNT, StepKind.MAXIMUM)
    usage = result.sum_of(StepKind.USAGE)
    parts = [step.amount for step in result.steps]
    return {
        "amount": result.amount,
        "parts": parts,
        "detail": parts,
        "discount": reductions,
        "amount_minor": round_to_minor(usage, "USD"),
        "usage_minor": round_to_minor(usage, "USD"),
        "parts_minor": [round_to_minor(part, "USD") for part in parts],
        "minimum_line_minor": round_to_minor(result.sum_of(StepKind.MINIMUM), "USD"),
        "discount_minor": -round_to_minor(reductions, "USD"),
        "packages": result.steps[0].quantity if result.steps else D(0),
    }


def rerated_packages(given: Input) -> Figures:
    """Either the quantities that were billed before and now, or the whole period's and the amount billed before."""
    if "already_billed_quantity" in given:
        return priced(Model.PACKAGE)(given)
    total = charge(terms_of(given, Model.PACKAGE), D(given["quantity"])).amount
    return {"total": total, "amount": total - D(given["already_billed_amount"])}


def free_allowance(given: Input) -> Figures:
    """What an allowance leaves to be billed, counted by a price of 1."""
    terms = Terms(Model.PER_UNIT, unit_amount=D(1), free_quantity=D(given["free_units"]))
    used = D(given["already_used"])
    return {
        "billable": charge(terms, D(given["new_quantity"]), already=used).amount,
        "prior_billable": charge(terms, used).amount,
    }


def percentage(given: Input) -> Figures:
    """Events are given one by one, or as running totals with the period's total and number."""
    events = given["events"]
    if isinstance(events, int):
        totals = [D(total) for total in given.get("running_totals", [])][:events]
        totals += [D(given["total"])] * (events - len(totals))
        amounts = [after - before for before, after in zip([D(0), *totals], totals, strict=False)]
    else:
        amounts = [D(amount) for amount in events]
    terms = Terms(
        Model.PERCENTAGE,
        unit_amount=D(given["rate_percent"]).scaleb(-2),
        fee_per_event=D(given.get("fixed_per_event") or "0"),
        free_events=int(given.get("free_events") or 0),
        free_quantity=D(given.get("free_total") or "0"),
        event_minimum=D(given.get("per_event_min") or "0"),
        event_maximum=D(given["per_event_max"]) if given.get("per_event_max") else None,
    )
    return {"amount": charge(terms, sum(amounts, D(0)), events=amounts).amount}


def graduated_prorated(given: Input) -> Figures:
    """Full units fill the tiers, prorated units are priced; five-decimal proration leaves 197.33335, printed 197.33."""
    changes = [
        (D(full), D(part)) for full, part in zip(given["unit_events"], given["prorated_events"], strict=True)
    ]
    return {"amount": usd(charge_prorated(terms_of(given, Model.GRADUATED), changes))}


def volume_prorated(given: Input) -> Figures:
    terms = terms_of(given, Model.VOLUME)
    return {"amount": charge(terms, D(given["prorated_units"]), period_quantity=D(given["full_units"])).amount}


# Rounding and quantities


def usd(exact: Fraction | Decimal) -> Decimal:
    """An amount rounded to cents."""
    return to_major(round_fraction(Fraction(exact), "USD"), "USD")


def currency_rounding(given: Input) -> Figures:
    amount = D(given["amount"]) if "amount" in given else D(given["unit"]) * D(given["quantity"])
    return {"amount": to_major(round_to_minor(amount, given["currency"]), given["currency"])}


def rounding_per_line(given: Input) -> Figures:
    terms = terms_of(given, Model.PER_UNIT)
    quantities = given["quantities"] if "quantities" in given else [given["quantity"]]
    lines = [round_to_minor(charge(terms, D(quantity)).amount, "USD") for quantity in quantities]
    return {"amount": to_major(sum(lines), "USD")}


def sub_cent(given: Input) -> Figures:
    amount = charge(terms_of(given, Model.PER_UNIT), D(given["quantity"])).amount
    return {"amount": amount, "amount_minor": round_to_minor(amount, "USD")}


def unit_rounding(given: Input) -> Figures:
    how = {
        "round": QuantityRounding.NEAREST,
        "ceil": QuantityRounding.UP,
        "floor": QuantityRounding.DOWN,
    }[given["function"]]
    decimals = given["precision"]
    if isinstance(decimals, list):
        return {"units": [round_quantity(D(given["units"]), how, each) for each in decimals]}
    return {"units": round_quantity(D(given["units"]), how, decimals)}


def aggregation(given: Input) -> Figures:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    readings = [
        Reading(start + timedelta(hours=hour), D(event["value"]), event["user"])
        for hour, event in enumerate(given["events"])
    ]
    return {
        "sum": aggregate(Aggregation.SUM, readings),
        "count": aggregate(Aggregation.COUNT, readings),
        "max": aggregate(Aggregation.MAX, readings),
        "latest": aggregate(Aggregation.LATEST, readings),
        "unique_count": aggregate(Aggregation.UNIQUE, readings),
    }


def weighted_sum(given: Input) -> Figures:
    """Deltas of a level: by the hour of the period, or by the days that were left of it."""
    start = datetime(2023, 8, 1, tzinfo=UTC)
    if "events_hour_delta" in given:
        end = start + timedelta(hours=int(given["period_hours"]))
        changes = [
            (start + timedelta(microseconds=int(D(hour) * 3_600_000_000)), D(delta))
            for hour, delta in given["events_hour_delta"]
        ]
    else:
        end = start + timedelta(days=given["period_days"])
        changes = [
            (end - timedelta(days=int(days)), D(delta))
            for days, (_, delta) in zip(given["remaining_days"], given["events"], strict=True)
        ]
    level = D(given.get("initial_value", "0"))
    return {"units": time_weighted(changes, start=start, end=end, level=level)}


# Proration


def moment(text: str) -> datetime:
    return midnight(date.fromisoformat(text))


def share_of_days(days: int, period_days: int) -> Fraction:
    """So many days of a period, by the portal's own clock."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    period = Period(start, start + timedelta(days=period_days))
    return period.share(period.end - timedelta(days=days), period.end)


def anchored_share(given: Input) -> Fraction:
    """The share of whole billing periods between two dates, with periods that start on the billing day."""
    start = moment(given["start"])
    schedule = Schedule(datetime(2000, 1, given["bill_day"], tzinfo=UTC), Interval.MONTH)
    end = moment(given["end_exclusive"]) if "end_exclusive" in given else schedule.period_at(start).end
    return sum(schedule.shares_between(start, end), Fraction(0))


def proration(given: Input) -> Figures:
    """A share by dates, by days or as it is; an amount times it; and the two lines of a change."""
    if "fraction" in given:
        share = Fraction(given["fraction"])
    elif "bill_day" in given:
        share = anchored_share(given)
    elif "cancelled" in given:
        share = Period(moment(given["start"]), moment(given["end"])).share(
            moment(given["start"]), moment(given["cancelled"])
        )
    else:
        share = share_of_days(given["days"], given["period_days"])
    figures: Figures = {"ratio": share, "ratio_fraction": share}
    if "amount" in given:
        exact = Fraction(given["amount"]) * share
        figures["amount"] = exact if given.get("exact") else usd(exact)
    if "amount_minor" in given:
        net = round_half_away(int(given["amount_minor"]) * share)
        figures["total_minor"] = taxed_at(net, given["tax_percent"]).gross
    return figures


def proration_by_the_day(given: Input) -> Figures:
    """Either an amount in cents, or (Savannah's own four decimals) as exact as it is printed."""
    if "old_minor" in given or "old" in given or "old_qty" in given:
        return change(given)
    figures = proration(given)
    if "amount" in given and Fraction(figures["amount"]) != (exact := exact_amount(given)):
        figures["amount"] = Prorated(exact, figures["amount"])
    return figures


class Prorated(Fraction):
    """A prorated amount that other systems print in cents and some with four decimals."""

    cents: Decimal

    def __new__(cls, exact: Fraction, cents: Decimal) -> "Prorated":
        made = super().__new__(cls, exact)
        made.cents = cents
        return made
