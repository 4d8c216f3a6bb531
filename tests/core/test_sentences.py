"""Prices in words."""

from decimal import Decimal

import pytest

from portal.core.pricing import Model, Terms, Tier
from portal.core.quantities import Aggregation, Counting
from portal.core.saying import Said
from portal.core.sentences import counting_in_words, price_sentence

D = Decimal
TIERS = (Tier(D(5), D(7)), Tier(D(10), D("6.5")), Tier(None, D(6)))


def dollars(amount: Decimal) -> str:
    return f"${amount:,f}"


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (Terms(Model.PER_UNIT, D("0.08"), free_quantity=D(10)), "first 10 GB free, then $0.08 per GB-month"),
        (Terms(Model.PER_UNIT, D("0.0000008")), "$0.0000008 per GB-month"),
        (Terms(Model.FLAT_FEE, D(29)), "$29 per GB-month"),
        (Terms(Model.PACKAGE, D(3), package_size=D(100)), "$3 per 100 GB begun"),
        (
            Terms(Model.GRADUATED, tiers=TIERS, free_quantity=D(2)),
            "first 2 GB free, then $7 per GB-month up to 5 GB, $6.5 per GB-month up to 10 GB,"
            " $6 per GB-month above 10 GB",
        ),
        (
            Terms(Model.VOLUME, tiers=TIERS[1:]),
            "$6.5 per GB-month up to 10 GB, $6 per GB-month above 10 GB, the whole quantity at the one price that"
            " it reaches",
        ),
        (Terms(Model.VOLUME, tiers=TIERS[2:]), "$6 per GB-month"),
        (
            Terms(
                Model.GRADUATED,
                tiers=(Tier(D(1), D(0)), Tier(D(5), D(0), D(100)), Tier(None, D(1), D(3))),
            ),
            "free up to 1 GB, $100 up to 5 GB, $3 plus $1 per GB-month above 5 GB",
        ),
        (
            Terms(Model.VOLUME, tiers=(Tier(None, D(1), D(3)),), zero_usage_charges_first_flat=True),
            "$3 plus $1 per GB-month; $3 even without usage",
        ),
        (
            Terms(Model.PER_UNIT, D(1), discount_percent=D("12.5"), minimum=D(5), maximum=D(1000)),
            "$1 per GB-month, less 12.5%; at least $5 and at most $1,000 a month",
        ),
        (Terms(Model.PER_UNIT, D(1), maximum=D(0)), "$1 per GB-month; at most $0 a month"),
    ],
)
def test_a_price_is_one_sentence(terms, sentence):
    assert price_sentence(terms, unit="GB-month", counted="GB", money=dollars) == sentence


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (Terms(Model.PERCENTAGE, D("0.029"), fee_per_event=D("0.3")), "2.9% of the turnover plus $0.3 per event"),
        (Terms(Model.PERCENTAGE, D("0.01"), free_events=1), "first event free, then 1% of the turnover"),
        (
            Terms(Model.PERCENTAGE, D("0.01"), free_events=3, event_minimum=D(1), event_maximum=D(12)),
            "first 3 events free, then 1% of the turnover, at least $1 and at most $12 each",
        ),
        (
            Terms(Model.PERCENTAGE, D("0.01"), free_events=3, free_quantity=D(250)),
            "first 3 events free, up to $250 in all, then 1% of the turnover",
        ),
        (
            Terms(Model.GRADUATED_PERCENTAGE, tiers=(Tier(D(1000), D("0.02")), Tier(None, D("0.01")))),
            "2% of the turnover up to $1,000, 1% of the turnover above $1,000",
        ),
    ],
)
def test_a_percentage_counts_in_money(terms, sentence):
    assert price_sentence(terms, unit="turnover", money=dollars) == sentence


def test_a_quantity_is_counted_in_the_unit_itself_unless_it_has_a_shorter_word():
    terms = Terms(Model.PER_UNIT, D(1), free_quantity=D(1000))
    sentence = price_sentence(terms, unit="call", money=dollars, number="{:,}".format)
    assert sentence == "first 1,000 call free, then $1 per call"


@pytest.mark.parametrize(
    ("counting", "words"),
    [
        (Counting(), "everything reported is added up"),
        (Counting(Aggregation.COUNT), "every event counts as one"),
        (Counting(Aggregation.MAX), "the largest value of a month counts"),
        (Counting(Aggregation.LATEST), "the latest value of a month counts"),
        (Counting(Aggregation.UNIQUE, subject="user"), "the different values of “user” in a month count"),
        (Counting(Aggregation.LEVEL, per="month"), "the mean level of a month counts"),
        (Counting(Aggregation.LEVEL, per="hour"), "a level counts by the hours that it holds"),
        (Counting(Aggregation.LEVEL, per="day"), "a level counts by the days that it holds"),
    ],
)
def test_how_a_meter_counts_is_said(counting, words):
    assert counting_in_words(counting) == words


def test_the_credit_and_the_commitment_of_a_month_are_said_last():
    terms = Terms(Model.PER_UNIT, D(1), minimum=D(2), monthly_credit=D(5), commitment=D(100))
    assert price_sentence(terms, unit="call", money=dollars, period="quarter") == (
        "$1 per call; at least $2 a quarter; with $5 of credit for usage each month;"
        " fee and usage together at least $100 a month"
    )


def bracketed(message: str, /, **values: object) -> str:
    """A language that is told from English at a glance: whatever is said stands in brackets."""
    return f"[{Said(message, **values)}]"


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (
            Terms(Model.PER_UNIT, D(2), free_quantity=D(10), discount_percent=D(5), minimum=D(3), maximum=D(9)),
            "[first 10 GB free][, then ][$2 per GB-month][, less 5%][; [at least $3][ and ][at most $9] a [month]]",
        ),
        (
            Terms(Model.PACKAGE, D(3), package_size=D(100), monthly_credit=D(5), commitment=D(7)),
            "[$3 per 100 GB begun][; with $5 of credit for usage each month]"
            "[; fee and usage together at least $7 a month]",
        ),
        (
            Terms(
                Model.VOLUME,
                tiers=(Tier(D(5), D(0)), Tier(None, D(1), D(2))),
                zero_usage_charges_first_flat=True,
            ),
            "[free][ up to 5 GB], [$2 plus [$1 per GB-month]][ above 5 GB]"
            "[, the whole quantity at the one price that it reaches]",
        ),
        (
            Terms(Model.GRADUATED, tiers=(Tier(None, D(0), D(2)),), zero_usage_charges_first_flat=True),
            "$2[; $2 even without usage]",
        ),
        (
            Terms(
                Model.PERCENTAGE, D("0.01"), free_events=3, free_quantity=D(9), fee_per_event=D(4), event_minimum=D(1)
            ),
            "[[first 3 events free], up to $9 in all][, then ]"
            "[[1% of the GB-month][ plus $4 per event], [at least $1] each]",
        ),
        (Terms(Model.PERCENTAGE, D("0.01"), free_events=1), "[first event free][, then ][1% of the GB-month]"),
    ],
)
def test_every_word_of_a_price_goes_through_the_readers_language(terms, sentence):
    assert price_sentence(terms, unit="GB-month", counted="GB", money=dollars, say=bracketed) == sentence


@pytest.mark.parametrize(
    ("counting", "words"),
    [
        (Counting(), "[everything reported is added up]"),
        (Counting(Aggregation.UNIQUE, subject="user"), "[the different values of “user” in a month count]"),
        (Counting(Aggregation.LEVEL, per="month"), "[the mean level of a month counts]"),
        (Counting(Aggregation.LEVEL, per="hour"), "[a level counts by the [hours] that it holds]"),
    ],
)
def test_how_a_meter_counts_goes_through_it_too(counting, words):
    assert counting_in_words(counting, bracketed) == words
