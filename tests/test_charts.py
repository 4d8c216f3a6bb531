"""The geometry of charts, without a server."""

from datetime import date
from decimal import Decimal

from portal.charts import BOTTOM, HEIGHT, OTHER, TOP, bars_per_day, bars_per_month
from portal.infra.formats import quantity

DAYS = [date(2026, 10, day) for day in range(1, 32)]
FIRST, SECOND = DAYS[:2]


def draw(*series):
    return bars_per_day("Usage", DAYS, series, quantity)


def test_bars_stand_on_the_baseline_and_on_each_other():
    chart = draw(("a", {FIRST: Decimal(30)}), ("b", {FIRST: Decimal(10)}))
    lower, upper = chart.bars
    assert lower.y + lower.height == HEIGHT - BOTTOM
    assert upper.y + upper.height == lower.y
    assert upper.y == TOP
    assert chart.finding == "Highest on 1 Oct 2026: 40."


def test_beyond_three_series_the_rest_is_other_and_nothing_is_lost():
    chart = draw(*((name, {FIRST: Decimal(value)}) for name, value in zip("abcde", (5, 4, 3, 2, 1), strict=True)))
    assert chart.series == ("a", "b", "c", OTHER)
    assert chart.rows[0].values == ("5", "4", "3", "3")


def test_what_the_caller_has_put_together_stays_other_however_large():
    assert draw((OTHER, {FIRST: Decimal(9)}), ("a", {FIRST: Decimal(1)})).series == ("a", OTHER)


def test_nothing_at_all_is_an_empty_picture():
    chart = draw(("a", {}))
    assert chart.bars == ()
    assert chart.finding == "Nothing on any day."


def test_a_negative_day_stands_in_the_table_only():
    chart = draw(("a", {FIRST: Decimal(5), SECOND: Decimal(-3)}))
    assert len(chart.bars) == 1
    assert chart.rows[1].values == ("\u22123",)


def test_labels_of_the_axis_are_short():
    chart = draw(("a", {FIRST: Decimal(9_977_980)}))
    assert [mark.label for mark in chart.grid] == ["0", "2.5M", "5M", "7.5M", "10M"]


MONTHS = [date(2024 + index // 12, index % 12 + 1, 1) for index in range(36)]


def test_bars_per_month_name_months_and_below_many_of_them_years():
    chart = bars_per_month("Invoiced", MONTHS, [("Net", {MONTHS[13]: Decimal(5)})], quantity)
    assert [mark.label for mark in chart.ticks] == ["2024", "2025", "2026"]
    assert (chart.head, chart.finding) == ("Month (UTC)", "Highest in February 2025: 5.")
    assert [bar.says for bar in chart.bars] == ["Feb 2025, Net: 5"]
    assert [(row.name, row.values) for row in chart.rows] == [("February 2025", ("5",))]


def test_bars_of_few_months_have_the_months_below_them():
    chart = bars_per_month("Invoiced", MONTHS[10:13], [], quantity)
    assert [mark.label for mark in chart.ticks] == ["Nov", "Dec", "Jan"]
    assert chart.finding == "Nothing in any month."
