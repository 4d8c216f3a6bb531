"""A draft as it was known at an instant: the events, counted again, say what the rollups said at that moment."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select

from portal.core.errors import InvalidInput
from portal.core.periods import Month, midnight
from portal.core.quantities import Aggregation, Counting
from portal.infra import outbox
from portal.infra.db import transaction
from portal.invoicing.as_of import MOST_KEPT, DraftAsOf, ask, draft_as_of
from portal.invoicing.drafting import draft_of
from portal.usage.as_of import usage_as_of
from portal.usage.ingesting import Outcome
from portal.usage.levels import count_levels_by_clock
from tests.factories import add, cancel_usage, make_draft, make_meter, make_organization, make_price, sql, use

pytestmark = pytest.mark.usefixtures("books")

NOVEMBER = Month(2026, 11)
MICROSECOND = timedelta(microseconds=1)
COUNTINGS = {
    "sum": Counting(),
    "count": Counting(Aggregation.COUNT),
    "max": Counting(Aggregation.MAX),
    "latest": Counting(Aggregation.LATEST),
    "unique": Counting(Aggregation.UNIQUE, subject="user"),
    "level": Counting(Aggregation.LEVEL, per="month"),
}
DAYS = (
    "SELECT day, series_id, meter_id, sum(quantity) AS quantity, sum(events) AS events FROM usage_daily"
    " WHERE organization_id = :organization AND day BETWEEN '2026-11-01' AND '2026-11-30' {known}"
    " GROUP BY 1, 2, 3 HAVING sum(quantity) <> 0 OR sum(events) <> 0 ORDER BY 1, 2"
)


def at(day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def rolled_up(organization, known: str = "", **values) -> list[tuple]:
    return [tuple(row) for row in sql(DAYS.format(known=known), organization=organization.id, **values)]


def counted_again(organization, instant: datetime) -> list[tuple]:
    with transaction():
        days = usage_as_of(organization.id, NOVEMBER, instant)
    return [(each.day, each.series_id, each.meter_id, each.quantity, each.events) for each in days]


def computed(organization, instant: datetime) -> DraftAsOf:
    """Asked for, and done by a worker."""
    with transaction():
        ask(organization.id, NOVEMBER, instant, now=at(30))
    outbox.drain()
    with transaction():
        found = draft_as_of(organization.id, NOVEMBER, instant)
    assert found is not None
    return found


class History:
    """Random usage of every kind, of October to the day after, heard of in November, with corrections of all of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.organization = make_organization()
        self.meters = {name: make_meter(name, counting=counting) for name, counting in COUNTINGS.items()}
        for number, meter in enumerate(self.meters.values(), 1):
            make_price(meter, f"0.{number}")
        self.open: list[tuple[str, str, datetime]] = []

    def happen(self, number: int, now: datetime) -> None:
        """One event or correction."""
        name = f"event {number}"
        if self.open and self.chance.random() < 0.3:
            original, kind, moment = self.open.pop(self.chance.randrange(len(self.open)))
            if self.chance.random() < 0.5:
                assert cancel_usage(self.organization, original, now=now) is Outcome.ACCEPTED
                return
            self._use(name, kind, moment, now, amends=original)
            return
        back = timedelta(seconds=self.chance.randrange(-80_000, 86_400 * 7))
        self._use(name, self.chance.choice(list(COUNTINGS)), now - back, now)

    def _use(self, name: str, kind: str, moment: datetime, now: datetime, amends: str | None = None) -> None:
        quantity = 1 if kind in ("count", "unique") else self.chance.randrange(1000)
        properties = {"region": self.chance.choice("ab"), "user": self.chance.choice("xyz")}
        event = {"at": moment, "event_id": name, "amends": amends, "now": now, **properties}
        assert use(self.organization, self.meters[kind], quantity, **event) is Outcome.ACCEPTED
        self.open.append((name, kind, moment))


@pytest.mark.parametrize("seed", range(3))
def test_the_events_say_what_the_rollups_said_at_every_instant_of_a_random_history(seed):
    history = History(seed)
    organization, seen = history.organization, dict[datetime, list[tuple]]()
    number = 0
    for day in range(3, 12):
        count_levels_by_clock(now=midnight(date(2026, 11, day)))
        for hour in sorted(history.chance.sample(range(1, 24), 5)):
            number += 1
            history.happen(number, at(day, hour))
            seen[at(day, hour)] = rolled_up(organization)
    assert len({str(each) for each in seen.values()}) > 20
    for instant, rows in seen.items():
        assert counted_again(organization, instant) == rows, instant
    for day in range(3, 12):
        last = midnight(date(2026, 11, day + 1)) - MICROSECOND
        known = rolled_up(organization, "AND recorded_day <= :known_on", known_on=date(2026, 11, day))
        assert counted_again(organization, last) == known, day


def test_a_draft_of_a_day_s_last_instant_is_the_draft_of_the_day(app):
    history = History(7)
    for number in range(30):
        day = 3 + number // 6
        count_levels_by_clock(now=at(day, 0))
        history.happen(number, at(day, 2 + number % 6 * 3))
    organization = history.organization
    invoice = make_draft(organization, NOVEMBER)
    add(invoice, "10.00")
    sql("UPDATE one_off_items SET created_at = :at", at=at(5))
    for day in (3, 4, 5, 7):
        instant = midnight(date(2026, 11, day + 1)) - MICROSECOND
        slow = computed(organization, instant)
        with transaction():
            fast = draft_of(organization, NOVEMBER, known_on=date(2026, 11, day))
            assert draft_of(organization, NOVEMBER, known_on=slow).fingerprint == fast.fingerprint, day
            assert fast.statement.total
    # The item was added at noon of the 5th.
    around = [computed(organization, at(5, 12) + MICROSECOND * step) for step in (-1, 0)]
    with transaction():
        before, after = (draft_of(organization, NOVEMBER, known_on=each).statement.subtotal for each in around)
    assert after - before == 1000


def test_it_is_computed_once_and_the_oldest_make_place():
    organization, meter = make_organization(), make_meter()
    use(organization, meter, 5, at=at(3), now=at(3))
    first = computed(organization, at(4))
    assert first.usage == [
        {
            "day": "2026-11-03",
            "series_id": first.usage[0]["series_id"],
            "meter_id": meter.id,
            "quantity": "5",
            "events": 1,
        }
    ]
    assert computed(organization, at(4)).id == first.id
    for minute in range(MOST_KEPT):
        with transaction():
            ask(organization.id, NOVEMBER, at(5, 1, minute), now=at(30))
    outbox.drain()
    with transaction() as session:
        kept = list(session.scalars(select(DraftAsOf.instant)))
    assert len(kept) == MOST_KEPT
    assert at(4) not in kept


def test_an_instant_that_may_still_change_and_a_month_without_events_get_a_sentence():
    organization = make_organization()
    with pytest.raises(InvalidInput, match="at least 2 minutes ago"), transaction():
        ask(organization.id, NOVEMBER, at(5, 11, 59), now=at(5))
    with transaction():
        ask(organization.id, NOVEMBER, at(5), now=at(30))
    sql(
        "INSERT INTO usage_archives (month, archived_at, rows, state, file_name, sha256, archived_by)"
        " VALUES ('2026-11-01', now(), 1, 'dropping', 'usage-2026-11.jsonl.gz', 'abc', 'Ada')"
    )
    with pytest.raises(InvalidInput, match="archived in usage-2026-11"), transaction():
        ask(organization.id, NOVEMBER, at(6), now=at(30))
    # One that was asked for before says so when its turn comes.
    outbox.drain()
    with transaction():
        found = draft_as_of(organization.id, NOVEMBER, at(5))
    assert found is not None
    assert not found.is_computed
    assert "leave out the time" in (found.refusal or "")
