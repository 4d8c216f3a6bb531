"""Every way of counting: in any order, in any batches, with corrections, days add up to what the events say."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portal.core.errors import InvalidInput
from portal.core.periods import Month, midnight
from portal.core.quantities import Aggregation, Counting, Reading, aggregate
from portal.infra.db import transaction
from portal.organizations.models import Organization
from portal.usage.events import Reader
from portal.usage.ingesting import Outcome, ingest
from portal.usage.levels import count_levels_by_clock
from portal.usage.queries import usage_by_series
from portal.usage.recounting import recount_differences
from tests.factories import NOW, acting, at_once, cancel_usage, make_meter, make_organization, sql, use

OCTOBER, NOVEMBER = Month(2026, 10), Month(2026, 11)
D = Decimal
COUNTINGS = {
    "sum": Counting(),
    "count": Counting(Aggregation.COUNT),
    "max": Counting(Aggregation.MAX),
    "latest": Counting(Aggregation.LATEST),
    "unique": Counting(Aggregation.UNIQUE, subject="user"),
    "level": Counting(Aggregation.LEVEL, per="hour"),
}
NAMES = sorted(COUNTINGS)


@pytest.fixture
def books(app: Flask, clean_database: None) -> Iterator[Flask]:
    with acting(app):
        yield app


def used(organization: Any, month: Month = OCTOBER) -> dict[tuple[str, str], Decimal]:
    """The quantity of each meter and region; the days agree with the events."""
    with transaction():
        assert recount_differences() == []
        found = usage_by_series(organization.id, month)
    return {(each.meter_code, each.dimensions.get("region", "")): each.quantity for each in found}


def at(day: int, hour: int = 0, *, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(("name", "expected"), [("sum", 17), ("count", 4), ("max", 9), ("latest", 3), ("unique", 2)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_four_events_in_any_order(books, name, expected, order):
    organization, meter = make_organization(), make_meter(name, counting=COUNTINGS[name])
    events = [(4, at(3), "ann"), (9, at(7), "bob"), (1, at(7, 5), "ann"), (3, at(20), "ann")]
    for index in order:
        quantity, moment, user = events[index]
        use(organization, meter, quantity, at=moment, user=user)
    assert used(organization) == {(name, ""): expected}


def test_a_level_counts_by_the_hours_that_it_holds_also_when_reported_late_and_out_of_order(books):
    # 2 from 1 Oct 00:00, 5 from 11 Oct 00:00, 0 from 21 Oct 12:00: 2×240 + 5×252 = 1740 hours.
    organization, meter = make_organization(), make_meter("level", counting=COUNTINGS["level"])
    use(organization, meter, 0, at=at(21, 12))
    assert used(organization) == {("level", ""): 0}
    use(organization, meter, 2, at=at(1))
    assert used(organization) == {("level", ""): 2 * (20 * 24 + 12)}
    use(organization, meter, 5, at=at(11))
    assert used(organization) == {("level", ""): 1740}


def test_a_level_goes_on_into_the_next_months_and_the_clock_counts_it_day_by_day(books):
    organization, meter = make_organization(), make_meter("level", counting=COUNTINGS["level"])
    use(organization, meter, "1.5", at=at(31, 12), now=at(31, 13))
    assert used(organization) == {("level", ""): D("1.5") * 12}
    for _ in range(2):
        count_levels_by_clock(now=at(3, 5, month=11))
        assert used(organization) == {("level", ""): D("1.5") * 12}
        assert used(organization, NOVEMBER) == {("level", ""): D("1.5") * 72}
    # Heard of later: it had ended in October already.
    use(organization, meter, 0, at=at(31, 18), now=at(4, 1, month=11))
    assert used(organization) == {("level", ""): D("1.5") * 6}
    assert used(organization, NOVEMBER) == {}


def test_the_mean_level_of_a_month_is_in_its_meter_s_unit(books):
    organization = make_organization()
    meter = make_meter("gb_months", counting=Counting(Aggregation.LEVEL, per="month"))
    use(organization, meter, 31, at=at(11))
    assert used(organization) == {("gb_months", ""): 21}
    assert used(organization, NOVEMBER) == {("gb_months", ""): round(D(31 * 22) / 30, 12)}


def test_series_are_counted_apart_and_a_subject_once_in_each(books):
    organization, meter = make_organization(), make_meter("unique", counting=COUNTINGS["unique"])
    for region, user in (("fra", "ann"), ("fra", "bob"), ("fra", "ann"), ("ams", "ann")):
        use(organization, meter, 1, region=region, user=user)
    assert used(organization) == {("unique", "fra"): 2, ("unique", "ams"): 1}


@pytest.mark.parametrize(
    ("name", "after_amending", "after_cancelling"),
    [
        ("sum", 4 + 2 + 1, 2 + 1),
        ("count", 3, 2),
        ("max", 4, 2),
        ("latest", 1, 1),
        ("unique", 2, 2),
    ],
)
def test_an_amended_event_counts_as_amended_and_a_cancelled_one_not_at_all(
    books, name, after_amending, after_cancelling
):
    organization, meter = make_organization(), make_meter(name, counting=COUNTINGS[name])
    use(organization, meter, 4, event_id="first", at=at(3), user="ann")
    use(organization, meter, 9, event_id="wrong", at=at(7), user="bob")
    use(organization, meter, 1, at=at(20), user="ann")
    assert use(organization, meter, 2, event_id="right", amends="wrong", at=at(8), user="cid") is Outcome.ACCEPTED
    assert used(organization)[name, ""] == after_amending
    assert cancel_usage(organization, "first") is Outcome.ACCEPTED
    assert used(organization)[name, ""] == after_cancelling
    assert sql("SELECT count(*) FROM usage_events") == [(5,)]


def test_a_cancelled_change_of_a_level_never_was(books):
    organization, meter = make_organization(), make_meter("level", counting=COUNTINGS["level"])
    use(organization, meter, 2, at=at(1))
    use(organization, meter, 500, at=at(11), event_id="wrong")
    use(organization, meter, 0, at=at(21))
    cancel_usage(organization, "wrong")
    assert used(organization) == {("level", ""): 2 * 20 * 24}
    use(organization, meter, 3, at=at(16), event_id="again")
    assert use(organization, meter, 4, at=at(16), event_id="better", amends="again") is Outcome.ACCEPTED
    assert used(organization) == {("level", ""): 2 * 15 * 24 + 4 * 5 * 24}


def test_an_event_is_corrected_once_and_only_if_it_exists(books):
    organization, meter = make_organization(), make_meter("sum")
    use(organization, meter, 4, event_id="one")
    assert cancel_usage(organization, "two") is Outcome.NO_ORIGINAL
    assert use(organization, meter, 5, event_id="a", amends="one") is Outcome.ACCEPTED
    assert use(organization, meter, 5, event_id="a", amends="one") is Outcome.DUPLICATE
    assert use(organization, meter, 6, event_id="a", amends="one") is Outcome.CONFLICT
    assert use(organization, meter, 5, event_id="b", amends="one") is Outcome.CORRECTED_BEFORE
    assert cancel_usage(organization, "one") is Outcome.CORRECTED_BEFORE
    assert use(organization, meter, 7, event_id="c", amends="a") is Outcome.ACCEPTED
    assert use(organization, meter, 4, event_id="one") is Outcome.DUPLICATE
    assert used(organization) == {("sum", ""): 7}


def test_another_organization_s_event_cannot_be_corrected(books):
    acme, umbrella, meter = make_organization(), make_organization("umbrella"), make_meter("sum")
    use(acme, meter, 4, event_id="one")
    assert cancel_usage(umbrella, "one") is Outcome.NO_ORIGINAL
    assert used(acme) == {("sum", ""): 4}


def test_a_batch_may_hold_an_event_and_its_correction(books):
    organization, meter = make_organization(), make_meter("max", counting=COUNTINGS["max"])
    reader = Reader({"max": meter}, now=NOW, organization_id=organization.id, organizations={})
    event = {"meter": "max", "time": "2026-10-10T00:00:00Z"}
    documents = [
        {"id": "c", "cancels": "a"},
        {**event, "id": "a", "quantity": "9"},
        {**event, "id": "b", "quantity": "5"},
    ]
    with transaction():
        outcomes = ingest([reader.read(each) for each in documents], now=NOW)
    assert outcomes == [Outcome.ACCEPTED] * 3
    assert used(organization) == {("max", ""): 5}


def test_what_was_known_on_an_earlier_day_can_still_be_told(books):
    organization, meter = make_organization(), make_meter("max", counting=COUNTINGS["max"])
    use(organization, meter, 9, at=at(7), event_id="wrong", now=at(8))
    use(organization, meter, 4, at=at(7), now=at(9))
    cancel_usage(organization, "wrong", now=at(10))
    known = [
        sql("SELECT sum(quantity) FROM usage_daily WHERE recorded_day <= :day", day=date(2026, 10, day))[0][0]
        for day in (8, 9, 10)
    ]
    assert known == [9, 9, 4]


@pytest.mark.parametrize(
    ("name", "document", "field"),
    [
        ("unique", {"quantity": 1}, "properties"),
        ("max", {"quantity": "-1", "correction": True}, "correction"),
        ("level", {"quantity": "0.0000001"}, "quantity"),
        ("max", {}, "quantity"),
        ("sum", {"quantity": 1, "amends": ""}, "amends"),
        ("sum", {"quantity": 1, "cancels": "x"}, "meter"),
    ],
)
def test_what_a_meter_cannot_count_is_refused_with_its_field(books, name, document, field):
    meter = make_meter(name, counting=COUNTINGS[name])
    reader = Reader({name: meter}, now=NOW, organization_id=1, organizations={})
    with pytest.raises(InvalidInput) as refused:
        reader.read({"id": "1", "meter": name, "time": "2026-10-10T00:00:00Z", **document})
    assert refused.value.field == field


@pytest.mark.parametrize("name", ["count", "unique"])
def test_who_counts_events_need_not_send_quantities(books, name):
    meter = make_meter(name, counting=COUNTINGS[name])
    reader = Reader({name: meter}, now=NOW, organization_id=1, organizations={})
    document = {"id": "1", "meter": name, "time": "2026-10-10T00:00:00Z", "properties": {"user": "ann"}}
    assert reader.read(document).quantity == 1


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.integers(0, 60 * 24 - 1).map(lambda hours: at(1, month=9) + timedelta(hours=hours)),
        st.integers(0, 6),
        st.sampled_from(("ann", "bob")),
        st.sampled_from(("", "amend", "cancel")),
    ),
    max_size=30,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, random=st.randoms(use_true_random=False))
def test_any_history_comes_to_what_its_surviving_events_say(books, events, random):
    with transaction() as session:
        session.connection().exec_driver_sql(
            "DELETE FROM usage_events; DELETE FROM usage_daily; DELETE FROM usage_series; DELETE FROM usage_levels;"
            "DELETE FROM usage_readings; DELETE FROM usage_subjects; DELETE FROM usage_changes; DELETE FROM late_months"
        )
    with transaction() as session:
        organization = session.query(Organization).first()
    organization = organization or make_organization()
    meters = {name: make_meter(name, counting=counting) for name, counting in COUNTINGS.items()}
    reader = Reader(meters, now=NOW, organization_id=organization.id, organizations={})
    survivors, first, second = _history(events)
    random.shuffle(first)
    for documents in (first, second):
        for batch in _batches(documents, random):
            with transaction():
                assert set(ingest([reader.read(each) for each in batch], now=NOW)) <= {Outcome.ACCEPTED}
    for month in (Month(2026, 9), OCTOBER):
        for name in NAMES:
            expected = _expected(name, survivors, month)
            assert used(organization, month).get((name, ""), 0) == expected, (name, month)


def _history(events: list[Any]) -> tuple[list[tuple[str, Reading]], list[dict[str, Any]], list[dict[str, Any]]]:
    """What counts in the end, the events, and their corrections."""
    survivors, first, second = [], [], []
    for number, (name, moment, quantity, user, fate) in enumerate(events):
        document = {"id": f"e{number}", "meter": name, "time": moment.isoformat(), "quantity": quantity}
        document["properties"] = {"user": user}
        first.append(document)
        if fate == "amend":
            quantity, user = quantity + 2, "cid"
            second.append(
                {**document, "id": f"a{number}", "amends": f"e{number}", "quantity": quantity}
                | {"properties": {"user": user}}
            )
        elif fate == "cancel":
            second.append({"id": f"c{number}", "cancels": f"e{number}"})
        if fate != "cancel":
            survivors.append((name, Reading(moment, D(quantity), user)))
    return survivors, first, second


def _batches(documents: list[Any], random: Random) -> Iterator[list[Any]]:
    waiting = list(documents)
    while waiting:
        size = random.randint(1, 8)
        yield waiting[:size]
        waiting = waiting[size:]


def _expected(name: str, survivors: list[tuple[str, Reading]], month: Month) -> Decimal:
    readings = [reading for meter, reading in survivors if meter == name]
    if name != "level":
        return aggregate(Aggregation(name), [each for each in readings if Month.of(each.occurred_at) == month])
    # Hour by hour; two changes at one moment are told apart by their keys, which nobody can foresee.
    by_moment: dict[datetime, set[Decimal]] = {}
    for reading in readings:
        by_moment.setdefault(reading.occurred_at, set()).add(reading.value)
    if any(len(levels) > 1 for levels in by_moment.values()):
        return _counted_by_keys(month)
    hours, level, total = midnight(date(2026, 9, 1)), D(0), D(0)
    while hours < month.end:
        level = next(iter(by_moment.get(hours, {level})))
        total += level if hours >= month.start else 0
        hours += timedelta(hours=1)
    return total


def _counted_by_keys(month: Month) -> Decimal:
    rows = sql("SELECT occurred_at, level FROM usage_changes ORDER BY occurred_at, event_key")
    changes = {row[0].astimezone(UTC): row[1] for row in rows}
    moments = [*sorted(changes), month.end]
    total = Fraction(0)
    for moment, until in zip(moments, moments[1:], strict=False):
        begin, end = max(moment, month.start), min(until, month.end)
        if end > begin:
            total += Fraction(changes[moment]) * Fraction((end - begin) // timedelta(seconds=1), 3600)
    return D(total.numerator) / D(total.denominator)


def test_many_at_once_never_lose_a_change(books):
    organization = make_organization()
    meters = {name: make_meter(name, counting=counting) for name, counting in COUNTINGS.items()}

    def sender(number: int) -> Any:
        def send() -> None:
            random = Random(number)
            for round_ in range(6):
                reader = Reader(meters, now=NOW, organization_id=organization.id, organizations={})
                documents = [
                    {
                        "id": f"{number}-{round_}-{index}",
                        "meter": random.choice(NAMES),
                        "time": (at(1) + timedelta(hours=random.randint(0, 700))).isoformat(),
                        "quantity": random.randint(0, 50),
                        "properties": {"user": f"u{random.randint(0, 20)}", "region": random.choice(("fra", "ams"))},
                    }
                    for index in range(30)
                ]
                if round_:
                    documents.append({"id": f"{number}-{round_}-c", "cancels": f"{number}-{round_ - 1}-{round_}"})
                with transaction():
                    ingest([reader.read(each) for each in documents], now=NOW)

        return send

    outcomes = at_once(books, *(sender(number) for number in range(4)))
    assert outcomes == [None] * 4
    assert sql("SELECT count(*) FROM usage_events") == [(4 * (6 * 30 + 5),)]
    assert len(used(organization)) == 12
