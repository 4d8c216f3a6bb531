"""Prices in words."""

from decimal import Decimal

import pytest

from portal.core.pricing import Model, Terms, Tier
from portal.core.sentences import price_sentence

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
