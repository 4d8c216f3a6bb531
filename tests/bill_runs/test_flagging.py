"""Why a draft is looked at: each rule with its figures in the sentence, its weight, and its place in the queue."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from portal.bill_runs.flagging import BLOCKING, Before, flags_of, needs_review, score_of
from portal.core.periods import Month
from portal.core.statement import Line, LineKind, compose
from portal.invoicing.drafting import Draft

SEPTEMBER, OCTOBER = 10_000, 11_000
USUAL = Before(
    total=OCTOBER, is_first=False, totals=(OCTOBER, SEPTEMBER, SEPTEMBER), meters=frozenset({"egress", "machines"})
)


def line(amount: int, *, kind: LineKind = LineKind.USAGE, meter: str = "egress", **more) -> Line:
    return Line(
        kind=kind,
        description="Egress" if kind is LineKind.USAGE else "Setup",
        quantity=Decimal(amount),
        unit="GB",
        unit_amount=Decimal("0.01"),
        unrounded=Decimal(amount).scaleb(-2),
        amount=amount,
        period_start=date(2026, 11, 1),
        period_end=date(2026, 12, 1),
        meter=meter if kind is LineKind.USAGE else "",
        **more,
    )


def draft(*lines: Line, unpriced: tuple[str, ...] = ()) -> Draft:
    return Draft(
        organization_id=1,
        month=Month(2026, 11),
        statement=compose(list(lines), currency="USD"),
        unpriced=(),
        unpriced_plans=unpriced,
        waits_for=(),
        waiting_usage=(),
        fingerprint="",
    )


def said(a_draft: Draft, before: Before) -> dict[str, str]:
    return {flag.code: flag.sentence for flag in flags_of(a_draft, before)}


def with_usual(**more) -> Before:
    return replace(USUAL, **more)


@pytest.mark.parametrize(
    ("a_draft", "before", "code", "sentence"),
    [
        (
            draft(line(40_000)),
            USUAL,
            "above",
            "More than twice what is usual: USD 400.00 after USD 100.00, the median of the last 3 months.",
        ),
        (
            draft(line(4_000)),
            USUAL,
            "below",
            "Less than half of what is usual: USD 40.00 after USD 100.00, the median of the last 3 months.",
        ),
        (
            draft(line(40_000)),
            with_usual(totals=(OCTOBER,)),
            "above",
            "More than twice what is usual: USD 400.00 after USD 110.00, last month.",
        ),
        (draft(), USUAL, "zero", "Nothing is billed: USD 0.00 after USD 100.00, the median of the last 3 months."),
        (draft(line(-100, kind=LineKind.CREDIT)), USUAL, "negative", "The total is negative: USD -1.00."),
        (draft(line(10_000)), Before(), "first", "It is the first invoice."),
        (draft(line(10_000)), with_usual(total=None), "gap", "Last month has no final invoice."),
        (
            draft(line(9_000), line(1_500, meter="gpu")),
            USUAL,
            "new_meter",
            "gpu was not billed in the last 3 months: USD 15.00 now.",
        ),
        (
            draft(line(10_000), line(200_001, kind=LineKind.ONE_OFF)),
            USUAL,
            "one_off",
            "A large one-off item: Setup, USD 2000.01.",
        ),
        (
            draft(line(10_000), line(200, kind=LineKind.ADJUSTMENT)),
            USUAL,
            "late_usage",
            "It bills late usage of closed months: USD 2.00.",
        ),
        (
            draft(line(10_000, references={"price_version_id": 7})),
            with_usual(changed_prices=frozenset({7})),
            "price",
            "A price changed within the month: Egress.",
        ),
        (
            draft(line(10_000)),
            with_usual(has_tax_id=False),
            "tax_id",
            "It is billed under reverse charge and has no tax id.",
        ),
        (
            draft(line(10_000)),
            with_usual(has_payment_method=False),
            "payment_method",
            "It is charged automatically and has no payment method.",
        ),
        (draft(line(10_000)), with_usual(overdue=("A-1",)), "overdue", "Earlier invoices are overdue: A-1."),
        (
            draft(line(10_000)),
            with_usual(approved_by="Ada", approved_total=9_000),
            "changed",
            "It has changed since Ada approved it: USD 90.00 then, USD 100.00 now.",
        ),
        (
            draft(*[line(40)] * 251),
            USUAL,
            "many_lines",
            "It has 251 lines; Stripe shows 250, so they are grouped there.",
        ),
    ],
)
def test_a_reason_carries_its_figures(a_draft, before, code, sentence):
    assert said(a_draft, before)[code] == sentence


def test_a_usual_month_needs_nobody():
    assert flags_of(draft(line(12_000)), USUAL) == []


@pytest.mark.parametrize(
    ("total", "totals"),
    [
        # Twice as much, and not fifty dollars more.
        (900, (400, 400, 400)),
        # Fifty dollars more, and not twice as much.
        (15_900, (10_000, 10_000, 10_000)),
        # One odd month among three is not what is usual.
        (10_000, (90_000, 10_000, 10_000)),
    ],
)
def test_what_moves_little_or_only_beside_one_odd_month_is_calm(total, totals):
    assert flags_of(draft(line(total)), with_usual(total=totals[0], totals=totals)) == []


def test_what_is_only_worth_knowing_approves_itself():
    flags = flags_of(draft(line(10_000), line(10, kind=LineKind.ADJUSTMENT)), with_usual(overdue=("A-1",)))
    assert {flag.code for flag in flags} == {"late_usage", "overdue"}
    assert not needs_review(flags)


def test_what_blocks_comes_first_and_weighs_most():
    flags = flags_of(draft(line(40_000), unpriced=("gpu",)), USUAL)
    assert (flags[0].code, flags[0].blocks, flags[0].weight) == ("blocked", True, BLOCKING)
    assert needs_review(flags)


def test_the_queue_begins_with_what_weighs_most_times_its_size():
    light, heavy = flags_of(draft(line(10_000)), Before()), flags_of(draft(line(40_000)), USUAL)
    assert score_of(heavy, 40_000, "USD") > score_of(light, 40_000, "USD") > score_of(light, 10_000, "USD") > 0
    assert score_of([], 10**9, "USD") == 0
    assert score_of(light, 100, "JPY") == score_of(light, 10_000, "USD")
