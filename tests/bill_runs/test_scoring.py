"""The rules by which a draft asks to be looked at, and the figures that they give as their reasons."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.bill_runs.scoring import ASKS, Before, Limits, flags_of, median, score_of
from portal.core.periods import Month
from portal.core.statement import Line, LineKind, compose
from portal.invoicing.drafting import Draft

MONTH = Month(2026, 10)
USUAL = Before(
    total=38_800,
    is_first=False,
    totals=(38_800, 38_800, 38_800),
    meters=frozenset({"seconds"}),
    meters_last=frozenset({"seconds"}),
    events=1_000,
)


def line(amount: int, *, kind: LineKind = LineKind.USAGE, **more: Any) -> Line:
    value = Decimal(amount).scaleb(-2)
    values = {
        "kind": kind,
        "description": "Seconds",
        "quantity": Decimal(1),
        "unit": "second",
        "unit_amount": value,
        "unrounded": value,
        "amount": amount,
        "period_start": MONTH.first_day,
        "period_end": MONTH.last_day,
        "derivation": {"valid_from": "2026-01-01"},
        "meter": "seconds" if kind is LineKind.USAGE else "",
    }
    return Line(**(values | more))


def one_off(amount: int) -> Line:
    kind = LineKind.CREDIT if amount < 0 else LineKind.ONE_OFF
    return line(amount, kind=kind, description="Migration", references={"one_off_item_id": 1})


def draft(*lines: Line, **more: Any) -> Draft:
    statement = compose(list(lines), currency="USD")
    values = {"unpriced": (), "unpriced_plans": (), "waits_for": (), "waiting_usage": ()}
    # Scores look at the figures, not at what they were computed from.
    facts: Any = None
    return Draft(1, MONTH, statement, fingerprint="f", facts=facts, **(values | more))


CASES: list[tuple[str, Draft, Before, str]] = [
    ("above", draft(line(120_410)), USUAL, "$1,204.10 is 3.1 times the median of the last three invoices ($388.00)."),
    ("below", draft(line(10_000)), USUAL,
     "$100.00 is less than a half of the median of the last three invoices ($388.00)."),
    ("zero", draft(), USUAL, "Nothing is billed: $0.00 after the median of the last three invoices ($388.00)."),
    ("negative", draft(line(-500)), USUAL, "The total is negative: −$5.00."),
    ("first", draft(line(100)), Before(), "It is the first invoice."),
    ("gap", draft(line(38_800)), replace(USUAL, total=None), "Last month has no final invoice."),
    ("blocked", draft(line(38_800), unpriced_plans=("Pro",)), USUAL, "A plan has no price: Pro."),
    ("no_usage", draft(), replace(USUAL, events=0), "Nothing was used; last month it was seconds."),
    ("usage_gap", draft(line(38_800)), replace(USUAL, gap_hours=7),
     "No usage for 7 hours on end, of somebody who otherwise uses every hour."),
    ("new_meter", draft(line(38_800), line(1, meter="gpu")), USUAL, "Billed for the first time in three months: gpu."),
    ("late_share", draft(line(38_800)), replace(USUAL, late_events=21),
     "21 of 1,000 events (2.1%) came after the month had ended."),
    ("late_usage", draft(line(38_800), line(300, kind=LineKind.ADJUSTMENT)), USUAL,
     "It bills late usage of closed months: $3.00."),
    ("price_changed", draft(line(38_800, derivation={"valid_from": "2026-10-15"})), USUAL,
     "A price began within the month: Seconds from 15 October."),
    ("one_off", draft(line(38_800), one_off(100_001), one_off(-100_000)), USUAL,
     "A one-off item is above $1,000.00: “Migration” of $1,000.01."),
    ("many_lines", draft(*[line(154)] * 251), USUAL, "It has 251 lines, more than 250."),
    ("tax_id", draft(line(38_800)), replace(USUAL, lacks_tax_id=True),
     "Reverse charge needs the customer's tax id, and there is none."),
    ("address", draft(line(38_800)), replace(USUAL, has_address=False), "The customer's address is missing."),
    ("unpaid", draft(line(38_800)), replace(USUAL, unpaid=2, unpaid_due=1_234), "2 older invoices are unpaid: $12.34."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "found", "before", "sentence"), CASES, ids=[case[0] for case in CASES])
def test_a_reason_says_its_figures(code, found, before, sentence):
    assert sentence in [flag.sentence for flag in flags_of(found, before) if flag.code == code]


CALM: list[tuple[str, Draft, Before]] = [
    ("as ever", draft(line(38_800)), USUAL),
    ("exactly twice", draft(line(77_600)), USUAL),
    ("exactly half", draft(line(19_400)), USUAL),
    ("a jump below fifty dollars", draft(line(4_999)), replace(USUAL, total=1, totals=(1, 1, 1))),
    ("a gap of six hours", draft(line(38_800)), replace(USUAL, gap_hours=6)),
    ("exactly one percent late", draft(line(38_800)), replace(USUAL, late_events=10)),
    ("all of it came afterwards", draft(line(38_800)), replace(USUAL, late_events=1_000)),
    ("nobody knows of earlier meters", draft(line(38_800)), replace(USUAL, meters=frozenset())),
    ("a new price of last month", draft(line(38_800, derivation={"valid_from": "2026-09-30"})), USUAL),
    ("a one-off item at the limit", draft(line(38_800), one_off(100_000), one_off(-100_000)), USUAL),
    ("as many lines as may be", draft(*[line(155)] * 250), USUAL),
    ("closed, and silent", draft(), replace(USUAL, totals=(0,), total=0, events=0, is_active=False)),
]


@pytest.mark.parametrize(("found", "before"), [case[1:] for case in CALM], ids=[case[0] for case in CALM])
def test_what_is_at_a_limit_is_no_reason(found, before):
    assert flags_of(found, before) == []


def test_hints_alone_stop_nothing_and_the_weightiest_reason_stands_first():
    hints = replace(USUAL, has_address=False, unpaid=1, unpaid_due=1)
    assert score_of(flags_of(draft(line(38_800)), hints)) < ASKS
    flags = flags_of(draft(line(-38_800), unpriced_plans=("Pro",)), hints)
    assert [flag.code for flag in flags] == ["blocked", "negative", "below", "unpaid", "address"]
    assert [flag.blocks for flag in flags] == [True, False, False, False, False]


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**9), min_size=1, max_size=3))
def test_a_total_is_odd_only_if_it_is_far_from_the_usual(total, totals):
    before = replace(USUAL, total=totals[0], totals=tuple(totals))
    codes = {flag.code for flag in flags_of(draft(line(total)), before)}
    usual = median(totals)
    assert min(totals) <= usual <= max(totals)
    far = abs(total - usual) >= Limits().least_difference * 100
    assert ("above" in codes) == (far and total > 2 * usual)
    assert bool(codes & {"below", "zero"}) == ((far and 2 * total < usual) or (total == 0 and usual > 0))


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_more_late_events_never_lower_the_score_until_all_are_late(events, late):
    late = min(late, events - 1)
    scores = [
        score_of(flags_of(draft(line(38_800)), replace(USUAL, events=events, late_events=each)))
        for each in (late // 2, late)
    ]
    assert scores == sorted(scores)


def test_the_day_of_a_new_price_is_within_the_month():
    for day, asks in ((date(2026, 9, 30), False), (date(2026, 10, 1), True), (date(2026, 10, 31), True)):
        flags = flags_of(draft(line(38_800, derivation={"valid_from": day.isoformat()})), USUAL)
        assert bool(flags) == asks
