"""GET /api/v1/usage and /api/v1/usage/events: the figures of the pages for programs, and no scan of all events."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from sqlalchemy import event
from sqlalchemy.engine import Engine

from portal.core.quantities import Aggregation, Counting
from portal.infra import clock
from portal.infra.db import db, tenant
from portal.usage.folding import fold_by_clock
from tests.api.test_events import Api
from tests.api.test_fuzz import CHECKS, FUZZING
from tests.factories import NOW, acting, cancel_usage, make_meter, use

DAY = datetime(2026, 11, 20, tzinfo=UTC)
OPERATIONS = ("GET /api/v1/usage", "GET /api/v1/usage/events")


class Reading(Api):
    """A machine that reads usage."""

    def get(self, path: str, *, key: str = "acme") -> tuple[int, Any]:
        answer = self.app.test_client().get(
            f"/api/v1/{path}", headers={"Authorization": f"Bearer {self.keys.get(key, key)}"}
        )
        return answer.status_code, answer.get_json()

    def usage(self, query: str, **more: str) -> dict[str, Any]:
        status, answer = self.get(f"usage?{query}", **more)
        assert status == 200, answer
        return answer


@pytest.fixture
def api(app: Flask, clean_database: None, clean_redis: Any, monkeypatch: pytest.MonkeyPatch) -> Reading:
    """Acme: 10 + 2 in fra and 5 in ams on 20 November, 70 as its largest value; Umbrella: 1,000."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    api = Reading(app)
    with acting(app):
        use(api.acme, api.meter, 10, at=DAY.replace(hour=1), region="fra", event_id="one", machine="m1")
        use(api.acme, api.meter, 2, at=DAY.replace(hour=9, minute=30), region="fra", event_id="two")
        use(api.acme, api.meter, 5, at=DAY.replace(hour=9), region="ams", event_id="three")
        use(api.umbrella, api.meter, 1000, at=DAY, region="fra", event_id="foreign")
        peak = make_meter("peak", dimensions=(), counting=Counting(Aggregation.MAX))
        use(api.acme, peak, 70, at=DAY - timedelta(days=2))
        fold_by_clock()
    return api


def quantities(answer: dict[str, Any]) -> list[tuple[str, dict[str, str], str, int]]:
    return [(each["meter"], each["dimensions"], each["quantity"], each["events"]) for each in answer["data"]]


def test_a_month_by_meter_is_the_default(api):
    answer = api.usage("")
    assert (answer["from"], answer["to"], answer["resolution"]) == (
        "2026-11-01T00:00:00Z",
        "2026-12-01T00:00:00Z",
        "day",
    )
    assert quantities(answer) == [("machine_seconds", {}, "17", 3), ("peak", {}, "70", 1)]
    seconds, peak = answer["data"]
    assert seconds["points"] == [{"start": "2026-11-20T00:00:00Z", "quantity": "17", "events": 3}]
    assert [(each["start"][:10], each["quantity"]) for each in peak["points"]] == [
        (f"2026-11-{day}", "70") for day in range(18, 23)
    ]
    assert peak["counted"] == "the largest value of a month counts"


def test_groups_by_a_dimension_and_a_filter_by_its_value(api):
    assert quantities(api.usage("meter=machine_seconds&group_by=region")) == [
        ("machine_seconds", {"region": "fra"}, "12", 2),
        ("machine_seconds", {"region": "ams"}, "5", 1),
    ]
    assert quantities(api.usage("where=region:ams")) == [("machine_seconds", {}, "5", 1)]
    assert ("peak", {"region": None}, "70", 1) in quantities(api.usage("group_by=region"))


def test_hours_come_with_their_freshness_and_sources(app, api):
    answer = api.usage("from=2026-11-20&to=2026-11-21&resolution=hour&group_by=region")
    assert [(each["start"], each["quantity"]) for each in answer["data"][0]["points"]] == [
        ("2026-11-20T01:00:00Z", "10"),
        ("2026-11-20T09:00:00Z", "2"),
    ]
    assert answer["hours_complete_up_to"] == "2026-11-22T12:00:00Z"
    [source] = answer["sources"]
    assert (source["source"], source["complete_up_to"], source["events"]) == ("api", "2026-11-20T09:30:00Z", 3)
    with acting(app):
        use(api.umbrella, api.meter, 1, at=NOW, now=NOW - timedelta(minutes=4))
    assert api.usage("")["hours_complete_up_to"] == "2026-11-22T11:56:00Z"


def test_part_of_a_day_by_the_hour(api):
    answer = api.usage("from=2026-11-20T09:00Z&to=2026-11-20T10:00Z&resolution=hour")
    assert quantities(answer) == [("machine_seconds", {}, "7", 2)]


def test_a_running_value_counts_its_month_from_the_beginning(api):
    answer = api.usage("from=2026-11-20&to=2026-11-22&meter=peak")
    assert quantities(answer) == [("peak", {}, "70", 0)]
    assert [each["quantity"] for each in answer["data"][0]["points"]] == ["70", "70"]


def test_months_of_a_year(api):
    answer = api.usage("from=2026-01-01&to=2027-01-01&resolution=month")
    assert [each["points"] for each in answer["data"]] == [
        [{"start": "2026-11-01T00:00:00Z", "quantity": "17", "events": 3}],
        [{"start": "2026-11-01T00:00:00Z", "quantity": "70", "events": 1}],
    ]


def test_a_key_of_the_platform_names_the_organization_and_others_cannot(api):
    assert quantities(api.usage("organization=umbrella", key="platform")) == [("machine_seconds", {}, "1000", 1)]
    for path in ("usage", "usage/events"):
        for query, key in (("", "platform"), ("?organization=nobody", "platform"), ("?organization=umbrella", "acme")):
            status, problem = api.get(f"{path}{query}", key=key)
            assert (status, problem["field"]) == (422, "organization")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("resolution=minute", "resolution"),
        ("from=yesterday", "from"),
        ("from=2026-11-20T10:00Z", "from"),
        ("from=2026-11-20T10:30Z&resolution=hour", "from"),
        ("from=2026-11-20T99:00Z&resolution=hour", "from"),
        ("to=2026-11-15&resolution=month", "to"),
        ("from=2026-11-20&to=2026-11-20", "to"),
        ("from=1999-12-31", "to"),
        ("to=9999-12-31", "to"),
        ("from=2026-09-01&to=2026-11-01&resolution=hour", "resolution"),
        ("from=2024-01-01&to=2026-11-01", "resolution"),
        ("meter=nothing", "meter"),
        ("where=region", "where"),
        ("where=colour:red", "where"),
        ("group_by=colour", "group_by"),
    ],
)
def test_what_does_not_fit_is_named(api, query, field):
    status, problem = api.get(f"usage?{query}")
    assert (status, problem.get("field")) == (422, field)
    assert problem["detail"].endswith(".")


def test_the_scope_read_is_needed(api):
    with acting(api.app):
        key = api.key(api.acme, scopes=("ingest",))
    for path in ("usage", "usage/events"):
        assert api.get(path, key=key)[0] == 403
        assert api.get(path, key="blk_test_nobody")[0] == 401


def test_more_points_than_an_answer_holds_are_refused_with_a_way_out(api, monkeypatch):
    monkeypatch.setattr("portal.api.usage.MOST_POINTS", 30)
    status, problem = api.get("usage?group_by=region")
    assert (status, problem["field"]) == (422, "resolution")


# Events


def test_events_of_the_newest_day_newest_first(api):
    status, answer = api.get("usage/events")
    assert (status, answer["day"], answer["next"]) == (200, "2026-11-20", None)
    assert [each["id"] for each in answer["data"]] == ["two", "three", "one"]
    assert answer["data"][2] | {"series": ""} == {
        "id": "one",
        "source": "api",
        "meter": "machine_seconds",
        "quantity": "10",
        "time": "2026-11-20T01:00:00Z",
        "heard_at": "2026-11-22T12:00:00Z",
        "dimensions": {"region": "fra"},
        "properties": {"machine": "m1"},
        "series": "",
        "state": "counts",
        "corrects": None,
        "corrected_by": None,
    }


def test_pages_of_any_size_show_every_event_once_also_those_of_one_moment(app, api):
    with acting(app):
        for number in range(9):
            use(api.acme, api.meter, 1, at=DAY.replace(hour=9), region="fra", event_id=f"same-{number}")
    for size in (1, 2, 5, 12):
        seen, after = [], ""
        while after is not None:
            _, answer = api.get(f"usage/events?day=2026-11-20&limit={size}&after={after}")
            assert len(answer["data"]) <= size
            seen += [each["id"] for each in answer["data"]]
            after = answer["next"]
        assert len(seen) == len(set(seen)) == 12


def test_events_are_filtered_and_corrections_name_each_other(app, api):
    with acting(app):
        use(api.acme, api.meter, 4, at=DAY, region="ams", event_id="better", amends="three")
        cancel_usage(api.acme, "two")
    _, answer = api.get("usage/events?day=2026-11-20&meter=machine_seconds&source=api")
    states = {each["id"]: (each["state"], each["corrects"], each["corrected_by"]) for each in answer["data"]}
    [cancelling] = states.keys() - {"one", "two", "three", "better"}
    assert states == {
        "one": ("counts", None, None),
        "two": ("cancelled", None, cancelling),
        "three": ("amended", None, "better"),
        "better": ("counts", "three", None),
        cancelling: ("cancels", "two", None),
    }
    series = next(each["series"] for each in answer["data"] if each["id"] == "one")
    assert [each["id"] for each in api.get(f"usage/events?series={series}")[1]["data"]][-1] == "one"
    assert api.get("usage/events?meter=peak&day=2026-11-20")[1]["data"] == []
    assert api.get("usage/events?source=other")[1]["data"] == []


def test_one_event_by_its_id_and_nobody_elses(api):
    assert [each["id"] for each in api.get("usage/events?id=one&day=2020-01-01")[1]["data"]] == ["one"]
    assert api.get("usage/events?id=foreign")[1]["data"] == []
    assert [each["id"] for each in api.get("usage/events?id=foreign", key="umbrella")[1]["data"]] == ["foreign"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("day=today", "day"),
        ("day=1999-01-01", "day"),
        ("limit=0", "limit"),
        ("after=x", "after"),
        ("series=a", "series"),
    ],
)
def test_a_filter_of_events_that_does_not_fit_is_named(api, query, field):
    status, problem = api.get(f"usage/events?{query}")
    assert (status, problem.get("field")) == (422, field)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_one_that_the_description_knows(app, api, label, mode):
    operation = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app).find_operation_by_label(label)

    @FUZZING
    @given(
        case=operation.as_strategy(generation_mode=mode),
        key=st.sampled_from(["acme", "acme", "platform", "reader", "nobody"]),
    )
    def fuzz(case, key):
        case.call_and_validate(headers={"Authorization": f"Bearer {api.keys.get(key, key)}"}, checks=CHECKS)

    fuzz()


# Plans: 300,000 events of two months and 20 organizations, one of which has most of them.

SEED = """
    INSERT INTO usage_events (organization_id, event_key, meter_id, series_id, occurred_at, recorded_at, correction,
                              quantity, event_id, source)
    SELECT CASE WHEN n %% 3 = 0 THEN n %% 20 + 100 ELSE %(acme)s END,
           (lpad(to_hex(1700000000000 + n), 12, '0') || substr(md5(n::text), 1, 20))::uuid, %(meter)s, 1,
           CAST('2026-09-01' AS timestamptz) + n * interval '17 seconds', now(), false, 1, 'event-' || n, 'api'
    FROM generate_series(1, 300000) AS n
"""


@pytest.fixture
def many_events(api: Reading, owner_connection: Any) -> Reading:
    with owner_connection.transaction():
        owner_connection.execute("SET LOCAL ROLE portal_system")
        owner_connection.execute(SEED, {"acme": api.acme.id, "meter": api.meter.id})
        owner_connection.execute("INSERT INTO usage_series VALUES (%s, 1, %s, '{}')", (api.acme.id, api.meter.id))
        owner_connection.execute(
            "INSERT INTO usage_daily SELECT organization_id, (occurred_at AT TIME ZONE 'UTC')::date, '2026-11-22',"
            " series_id, meter_id, sum(quantity), count(*), now() FROM usage_events WHERE series_id = 1"
            " GROUP BY 1, 2, 4, 5"
        )
    owner_connection.execute("VACUUM ANALYZE usage_events")
    return api


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database, with its values."""
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        sent.append((statement, values))

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


PATHS = (
    "usage/events?day=2026-10-05",
    "usage/events?day=2026-10-05&source=api&meter=machine_seconds&limit=1000",
    "usage/events?id=one",
    "usage?from=2026-10-01&to=2026-11-01&group_by=region",
    "usage?from=2026-10-05&to=2026-10-06&resolution=hour",
)


def test_no_read_scans_all_events(app, many_events, statements):
    """Days are found by the summary of block ranges or by the key; usage reads no events at all."""
    plans = {}
    for path in PATHS:
        statements.clear()
        status, answer = many_events.get(path)
        assert status == 200
        assert answer["data"] or "resolution=hour" in path
        sent = [
            each
            for each in statements
            if "usage_daily" in each[0] or "usage_hourly" in each[0] or "usage_ev" in each[0]
        ]
        plans[path] = "\n".join(_plan(app, many_events.acme.id, *each) for each in sent)
    for path, plan in plans.items():
        assert "Seq Scan on usage_events" not in plan, plan
        assert ("usage_events" in plan) == path.startswith("usage/events"), plan
    assert "ix_usage_events_occurred_at" in plans[PATHS[0]]
    assert "pk_usage_events" in plans[PATHS[2]]


def _plan(app: Flask, organization_id: int, statement: str, values: Any) -> str:
    with acting(app, tenant(organization_id)):
        cursor = db.session.connection().connection.cursor()
        cursor.execute(f"EXPLAIN (COSTS OFF) {statement}", values)
        return "\n".join(row[0] for row in cursor.fetchall())


def test_the_file_of_a_day_scans_no_events_either(app, many_events, statements):
    from portal.usage.raw_events import MOST_IN_A_FILE, EventFilter, events_of_day

    with acting(app, tenant(many_events.acme.id)):
        chosen = EventFilter(datetime(2026, 10, 5, tzinfo=UTC).date())
        assert len(list(events_of_day(many_events.acme.id, chosen, most=MOST_IN_A_FILE + 1))) > 3_000
    [(statement, values)] = [each for each in statements if "AS found" in each[0]]
    assert "Seq Scan on usage_events" not in _plan(app, many_events.acme.id, statement, values)
