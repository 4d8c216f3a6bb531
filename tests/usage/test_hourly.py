"""Hours and sources follow a moment later, exactly once, whoever folds, in whatever order, and whatever dies."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, ProgrammingError

from portal.clock import RECURRING
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import db, tenant, transaction
from portal.usage import folding
from portal.usage.events import Reader
from portal.usage.folding import fold, fold_by_clock, folded_up_to
from portal.usage.ingesting import Outcome, ingest
from portal.usage.recounting_hours import hourly_differences
from tests.factories import NOW, acting, at_once, cancel_usage, make_meter, make_organization, sql, use

START = datetime(2026, 11, 20, tzinfo=UTC)
METERS = {
    "sum": Counting(),
    "count": Counting(Aggregation.COUNT),
    "max": Counting(Aggregation.MAX),
}
HEARD = """
    SELECT organization_id, source, date_trunc('hour', occurred_at), count(*), max(occurred_at), max(recorded_at)
    FROM usage_events WHERE counts GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


@pytest.fixture
def books(app: Flask, clean_database: None) -> Iterator[Flask]:
    with acting(app):
        yield app


class World:
    """Two organizations and a meter of each kind; batches of both by the platform, or of one."""

    def __init__(self) -> None:
        self.organizations = [make_organization(slug) for slug in ("acme", "umbrella")]
        self.meters = {name: make_meter(name, counting=counting) for name, counting in METERS.items()}
        self.slugs = {each.slug: each.id for each in self.organizations}

    def send(self, documents: list[dict], *, now: datetime = NOW) -> list[Outcome]:
        reader = Reader(self.meters, now=now, organization_id=None, organizations=self.slugs)
        with transaction():
            return ingest([reader.read(each) for each in documents], now=now)


def event(number: int, **changes) -> dict:
    return {
        "id": f"e{number}",
        "organization": "acme",
        "meter": "sum",
        "quantity": "1.5",
        "time": (START + timedelta(minutes=7 * number)).isoformat(),
        "source": "meter-1",
        "properties": {"region": "fra"},
    } | changes


def hours() -> list[tuple]:
    return [tuple(row) for row in sql("SELECT organization_id, hour, quantity, events FROM usage_hourly ORDER BY 1, 2")]


def assert_exact() -> None:
    """Nothing is left to fold; hours and sources are what the events come to."""
    with transaction():
        assert hourly_differences() == []
    assert sql("SELECT count(*) FROM usage_unfolded") == [(0,)]
    heard = sql("SELECT organization_id, source, hour, events, last_at, heard_at FROM usage_heard ORDER BY 1, 2, 3")
    assert heard == sql(HEARD)


def test_a_batch_leaves_one_row_and_the_fold_takes_it_away(books):
    world = World()
    world.send([event(number) for number in range(20)])
    assert sql("SELECT count(*), min(organization_id) FROM usage_unfolded") == [(1, world.organizations[0].id)]
    assert hours() == []
    fold_by_clock()
    # Every seven minutes from 00:00: nine until 00:56, nine until 01:59, two from 02:06.
    of_hours = [(world.organizations[0].id, START + timedelta(hours=hour)) for hour in range(3)]
    assert hours() == [(*of_hours[0], Decimal("13.5"), 9), (*of_hours[1], Decimal("13.5"), 9), (*of_hours[2], 3, 2)]
    assert_exact()
    fold_by_clock()
    assert_exact()


def test_an_event_that_is_sent_twice_is_in_its_hour_once(books):
    world = World()
    for _ in range(2):
        world.send([event(1), event(1), event(2)])
    fold_by_clock()
    assert [(quantity, events) for _, _, quantity, events in hours()] == [(3, 2)]
    assert_exact()


def test_only_what_adds_up_has_hours_but_every_source_is_heard(books):
    world = World()
    world.send([event(1, meter="max"), event(2, meter="count", quantity="40"), event(60, meter="max", source="other")])
    fold_by_clock()
    assert [(quantity, events) for _, _, quantity, events in hours()] == [(1, 1)]
    assert sql("SELECT source, events FROM usage_heard ORDER BY source") == [("meter-1", 2), ("other", 1)]
    assert_exact()


def test_a_cancelled_event_leaves_its_hour_and_an_amended_one_may_move(books):
    world = World()
    acme = world.organizations[0]
    use(acme, world.meters["sum"], 5, event_id="a", at=START)
    use(acme, world.meters["sum"], 7, event_id="b", at=START + timedelta(hours=1))
    fold_by_clock()
    cancel_usage(acme, "a")
    use(acme, world.meters["sum"], 9, event_id="c", amends="b", at=START + timedelta(hours=4))
    fold_by_clock()
    assert [(hour, quantity, events) for _, hour, quantity, events in hours()] == [
        (START, 0, 0),
        (START + timedelta(hours=1), 0, 0),
        (START + timedelta(hours=4), 9, 1),
    ]
    assert_exact()


def test_a_batch_of_the_platform_is_told_apart_by_organization(books):
    world = World()
    world.send([event(1), event(2, organization="umbrella", quantity="4"), event(3, source='odd, "quoted" \\ {one}')])
    [(alone, organizations)] = sql("SELECT organization_id, organizations FROM usage_unfolded")
    assert (alone, set(organizations)) == (None, set(world.slugs.values()))
    fold_by_clock()
    assert [(each[0], each[2]) for each in hours()] == [(world.slugs["acme"], 3), (world.slugs["umbrella"], 4)]
    assert_exact()


batch = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from(sorted(METERS)), st.sampled_from(["acme", "umbrella"]),
        st.sampled_from(["event", "amend", "cancel"]), st.integers(0, 40),
    ),
    min_size=1, max_size=60,
)  # fmt: skip


@given(st.lists(st.one_of(batch, st.integers(1, 3)), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_any_batches_with_corrections_folded_at_any_time_come_to_what_the_events_say(books, steps):
    for table in ("usage_events", "usage_daily", "usage_hourly", "usage_heard", "usage_unfolded", "usage_readings"):
        sql(f"DELETE FROM {table}")
    if not sql("SELECT FROM organizations"):
        World()
    world = World.__new__(World)
    world.slugs = dict(tuple(row) for row in sql("SELECT slug, id FROM organizations"))
    world.meters = {name: make_meter(name, counting=counting) for name, counting in METERS.items()}
    for step in steps:
        if isinstance(step, int):
            with transaction():
                fold(step)
            continue
        documents = []
        for number, meter, organization, kind, other in step:
            of_meter = {"meter": meter, "organization": organization, "source": f"s{other % 3}"}
            if kind == "cancel":
                source = {"source": f"s{other % 3}"}
                documents.append({"id": f"c{number}", "organization": organization, "cancels": f"e{other}", **source})
            else:
                documents.append(event(number, **of_meter, **({"amends": f"e{other}"} if kind == "amend" else {})))
        world.send(documents)
        with transaction():
            assert hourly_differences() == []
    fold_by_clock()
    assert_exact()


def test_many_senders_and_two_folders_at_once_lose_and_double_nothing(books):
    world = World()
    finished = threading.Event()

    def sender(seed: int):
        def run() -> None:
            chance = Random(seed)
            for _ in range(25):
                numbers = [chance.randrange(400) for _ in range(chance.choice((1, 5, 60)))]
                world.send([
                    event(each, organization="umbrella" if each % 3 else "acme", source=f"s{each % 4}",
                          meter="count" if each % 2 else "sum")
                    for each in numbers
                ])  # fmt: skip

        return run

    def folder() -> int:
        done = 0
        while not finished.is_set():
            with transaction():
                done += fold(3)
        return done

    def senders() -> None:
        try:
            with_threads = [threading.Thread(target=_acting(books, sender(seed))) for seed in range(2)]
            for thread in with_threads:
                thread.start()
            for thread in with_threads:
                thread.join()
        finally:
            finished.set()

    _, *folded = at_once(books, senders, folder, folder)
    assert sum(map(int, folded)) > 0
    fold_by_clock()
    assert len(hours()) > 40
    assert_exact()


def _acting(app: Flask, function):
    def run() -> None:
        with acting(app):
            function()

    return run


@pytest.mark.fault
def test_whoever_dies_between_the_sums_and_the_end_has_taken_nothing(app, books, owner_connection):
    """The folder's connection is cut after it has written the sums and deleted the rows, before it commits."""
    world = World()
    world.send([event(number) for number in range(30)])

    def fold_and_die() -> None:
        with transaction() as session:
            assert fold(10) == 1
            [(process,)] = session.execute(db.text("SELECT pg_backend_pid()"))
            assert session.execute(db.text("SELECT count(*) FROM usage_unfolded")).scalar() == 0
            owner_connection.execute("SELECT pg_terminate_backend(%s)", (process,))
            session.execute(db.text("SELECT 1"))

    with pytest.raises(DBAPIError):
        fold_and_die()
    assert hours() == []
    assert sql("SELECT count(*) FROM usage_unfolded") == [(1,)]
    fold_by_clock()
    assert_exact()


def test_a_batch_that_is_rolled_back_leaves_nothing(books):
    world = World()
    reader = Reader(world.meters, now=NOW, organization_id=None, organizations=world.slugs)

    def ingest_and_fail() -> None:
        with transaction():
            ingest([reader.read(event(1))], now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ingest_and_fail()
    assert sql("SELECT count(*) FROM usage_unfolded") == [(0,)]


def test_hours_are_complete_up_to_the_oldest_batch_that_is_not_folded(books):
    world = World()
    assert folded_up_to(now=NOW) == NOW
    earlier = NOW - timedelta(minutes=9)
    world.send([event(1)], now=NOW - timedelta(minutes=3))
    world.send([event(2)], now=earlier)
    assert folded_up_to(now=NOW) == earlier
    with transaction():
        assert fold(1) == 1
    assert folded_up_to(now=NOW) == NOW - timedelta(minutes=3)
    fold_by_clock()
    assert folded_up_to(now=NOW) == NOW


def test_the_clock_folds_and_leaves_the_rest_for_its_next_round(books, monkeypatch):
    monkeypatch.setattr(folding, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(folding, "FOLDS_AT_ONCE", 2)
    world = World()
    for number in range(6):
        world.send([event(number)])
    [job] = [each for each in RECURRING if each.name == "fold usage into hours"]
    job.work()
    assert sql("SELECT count(*) FROM usage_unfolded") == [(2,)]
    job.work()
    assert_exact()


def test_the_doctor_sees_an_hour_that_is_wrong(books):
    from portal.doctor import examine

    World().send([event(1), event(2)])
    fold_by_clock()

    def broken() -> list[str]:
        with transaction():
            return [line for each in examine() if "hour" in each.rule for line in each.broken]

    assert broken() == []
    sql("UPDATE usage_hourly SET quantity = quantity + 1")
    assert len(broken()) == 1


def test_a_tenant_adds_rows_for_itself_only_and_reads_none(app, books):
    world = World()
    acme, umbrella = (each.id for each in world.organizations)
    world.send([event(1), event(2, organization="umbrella")])
    fold_by_clock()
    reader = Reader(world.meters, now=NOW, organization_id=acme, organizations=world.slugs)
    insert = (
        "INSERT INTO usage_unfolded (recorded_at, organization_id, organizations, source, series, meters, latest,"
        " quantities, events) VALUES (now(), :one, :many, 'api', '{}', '{}', '{}', '{}', '{}')"
    )
    with acting(app, tenant(acme)):
        assert sql("SELECT DISTINCT organization_id FROM usage_hourly") == [(acme,)]
        assert sql("SELECT DISTINCT organization_id FROM usage_heard") == [(acme,)]
        with transaction():
            ingest([reader.read(event(5, organization="acme"))], now=NOW)
        for one, many in ((umbrella, None), (None, [])):
            with pytest.raises(ProgrammingError, match="row-level security"):
                sql(insert, one=one, many=many)
        for statement in ("SELECT * FROM usage_unfolded", "DELETE FROM usage_unfolded", "DELETE FROM usage_hourly",
                          "UPDATE usage_heard SET events = 0"):  # fmt: skip
            with pytest.raises(ProgrammingError, match="permission denied"):
                sql(statement)
    fold_by_clock()
    assert_exact()
