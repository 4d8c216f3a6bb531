"""Usage of meters that do not exist is kept exactly once, counts nowhere, and becomes usage when they do."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy.exc import DBAPIError, ProgrammingError

from portal.catalog.models import Meter
from portal.catalog.publishing import archive, restore
from portal.core.errors import InvalidInput, InvalidTransition
from portal.core.periods import Month
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import db, tenant, transaction
from portal.organizations.queries import organization_by_id
from portal.usage import adopting
from portal.usage.adopting import AGAIN_AFTER, adopt_some, adopt_waiting
from portal.usage.batches import Stored, store_documents
from portal.usage.discarding import discard_waiting, take_back_discarded
from portal.usage.queries import late_months, usage_by_series
from portal.usage.recounting import recount_differences
from portal.usage.waiting import CANCELLED
from portal.usage.waiting_queries import count_waiting, discarded_usage, waiting_sentences, waiting_usage
from tests.factories import NOW, acting, at_once, make_meter, make_organization, sql, use
from tests.statements import statements

NOVEMBER, OCTOBER = Month(2026, 11), Month(2026, 10)
ODD_TEXTS = ('"', "\\", '\\"', "a,b", "{x}", "NULL", " ", "ü🦀", "\x7f\u2028", "'; --", "\t\n")


@pytest.fixture
def acme(app: Flask, clean_database: None) -> Iterator[int]:
    with acting(app):
        yield make_organization("acme").id


def event(event_id: str = "e", **change: object) -> dict[str, Any]:
    changed = {"id": event_id, "meter": "tape", "quantity": "1", "time": "2026-11-20T08:00:00Z"} | change
    return {name: value for name, value in changed.items() if value is not None}


def send(*items: dict[str, Any], organization_id: int | None, now: datetime = NOW) -> Stored:
    stored = store_documents(items, organization_id=organization_id, now=now, and_then=lambda _: None)
    assert sum(stored.counts.values()) == len(items)
    for status, count in stored.counts.items():
        assert [result["status"] for result in stored.results].count(status) == count
    return stored


def statuses(*items: dict[str, Any], organization_id: int) -> list[str]:
    return [result["status"] for result in send(*items, organization_id=organization_id).results]


def rows() -> list[str]:
    """The ids of all rows that wait or were discarded, whether they still count for anything or not."""
    return [row[0] for row in sql("SELECT event_id FROM waiting_events ORDER BY event_id")]


def usage() -> dict[str, Decimal]:
    assert recount_differences() == []
    return {row[0]: row[1] for row in sql("SELECT event_id, quantity FROM usage_events WHERE counts")}


def billed(organization_id: int, month: Month = NOVEMBER) -> dict[str, Decimal]:
    """What was used, by meter."""
    found: dict[str, Decimal] = {}
    with transaction():
        for each in usage_by_series(organization_id, month):
            found[each.meter_code] = found.get(each.meter_code, Decimal(0)) + each.quantity
    return found


def test_an_event_of_an_unknown_meter_waits_and_says_so(acme: int):
    make_meter("disk")
    first, second = send(event("a"), event("b", meter="disk"), organization_id=acme).results
    assert first == {
        "index": 0,
        "id": "a",
        "status": "waiting",
        "field": "meter",
        "message": "There is no meter “tape” yet. The event is kept, and counts as soon as there is one.",
    }
    assert second == {"index": 1, "id": "b", "status": "accepted"}
    assert usage() == {"b": 1}
    assert billed(acme) == {"disk": 1}
    [found] = waiting_usage()
    assert (found.slug, found.meter, found.events, found.quantity, found.reason) == ("acme", "tape", 1, 1, None)


def test_what_waits_is_kept_once_and_the_first_stays(acme: int):
    sent = event("a", quantity="1.50", properties={"region": "fra"}, time="2026-11-20T10:00:00+02:00")
    assert statuses(sent, sent, sent | {"quantity": "2"}, organization_id=acme) == ["waiting", "duplicate", "conflict"]
    same = event("a", quantity=Decimal("1.5"), properties={"region": "fra"}, source="api", correction=False)
    assert statuses(same, organization_id=acme) == ["duplicate"]
    for change in ({"meter": "tap"}, {"quantity": "2"}, {"time": "2026-11-20T08:00:01Z"}, {"properties": {}}):
        [refused] = send(sent | change, organization_id=acme).results
        assert (refused["status"], "the first one stays" in refused["message"]) == ("conflict", True)
    # Another source has ids of its own.
    assert statuses(sent | {"source": "probe"}, organization_id=acme) == ["waiting"]
    assert rows() == ["a", "a"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"quantity": "ten"}, "quantity"),
        ({"quantity": "-1"}, "quantity"),
        ({"time": "yesterday"}, "time"),
        ({"properties": {"region": 5}}, "region"),
        ({"correction": "yes"}, "correction"),
        ({"organization": "umbrella"}, "organization"),
        ({"amends": ""}, "amends"),
        ({"meter": "x" * 256}, "meter"),
        ({"meter": 7}, "meter"),
        ({"amount": "1"}, "amount"),
    ],
)
def test_what_is_malformed_is_rejected_as_ever(acme: int, change: dict[str, Any], field: str):
    [rejected] = send(event(**change), organization_id=acme).results
    assert (rejected["status"], rejected["field"]) == ("rejected", field)
    assert rows() == []


def test_any_text_is_kept_as_it_was_sent_and_adopted_so(acme: int):
    items = [event(f"{text}!", meter=text, source=text, properties={text: text}) for text in ODD_TEXTS]
    assert set(statuses(*items, organization_id=acme)) == {"waiting"}
    assert set(statuses(*items, organization_id=acme)) == {"duplicate"}
    for text in ODD_TEXTS:
        make_meter(text, dimensions=())
    assert adopt_waiting(now=NOW) == len(ODD_TEXTS)
    stored = sql("SELECT event_id, source, properties FROM usage_events")
    assert {row[0]: (row[1], row[2]) for row in stored} == {f"{text}!": (text, {text: text}) for text in ODD_TEXTS}
    assert set(statuses(*items, organization_id=acme)) == {"duplicate"}


def test_ordinary_batches_cost_no_statement_more(app: Flask, acme: int):
    make_meter("disk")
    for items in ([event("a", meter="disk")], [event("a", meter="disk")], [event("b", meter="disk", amends="a")]):
        with statements(app) as seen:
            send(*items, organization_id=acme)
        assert seen
        assert not [each for each in seen if "waiting_events" in each]
    with statements(app) as seen:
        send(event("c"), organization_id=acme)
    assert len([each for each in seen if "waiting_events" in each]) == 1


def test_an_id_that_is_sent_again_with_a_meter_that_exists_is_simply_usage(acme: int):
    make_meter("disk")
    send(event("a", meter="dsik"), event("b", meter="dsik"), organization_id=acme)
    assert statuses(event("a", meter="disk"), organization_id=acme) == ["accepted"]
    assert usage() == {"a": 1}
    assert count_waiting() == 1
    assert waiting_sentences(acme, NOVEMBER) == [
        "Usage of meters that do not exist waits: “dsik” (1 event).",
    ]
    assert adopt_waiting(now=NOW) == 0
    assert rows() == ["b"]


def test_an_id_that_is_usage_already_never_waits(acme: int):
    meter = make_meter("disk")
    sent = event("a", meter="disk", properties={"region": "fra", "app": "web"})
    send(sent, event("b", meter="disk", amends="a"), organization_id=acme)
    assert statuses(sent | {"meter": "tape"}, sent | {"meter": "tape"}, organization_id=acme) == ["conflict"] * 2
    with transaction():
        archive(db.session.merge(meter), now=NOW)
    again = statuses(sent, event("b", meter="disk", amends="a"), sent | {"quantity": "2"}, organization_id=acme)
    assert again == ["duplicate", "duplicate", "conflict"]
    assert rows() == []


def test_a_batch_that_has_an_id_twice_with_a_meter_and_without_one_keeps_the_usage(acme: int):
    make_meter("disk")
    assert statuses(event("a"), event("a", meter="disk"), organization_id=acme) == ["conflict", "accepted"]
    assert (usage(), rows()) == ({"a": 1}, [])


def test_a_meter_that_appears_takes_what_waited_for_it(acme: int):
    umbrella = make_organization("umbrella").id
    send(event("a"), event("b", quantity="2.5", properties={"region": "fra"}), organization_id=acme)
    send(event("a", quantity="4"), event("c", meter="other"), organization_id=umbrella)
    assert adopt_waiting(now=NOW) == 0
    make_meter("tape")
    assert adopt_waiting(now=NOW) == 3
    assert billed(acme) == {"tape": Decimal("3.5")}
    assert billed(umbrella) == {"tape": 4}
    assert rows() == ["c"]
    assert adopt_waiting(now=NOW) == 0
    assert recount_differences() == []
    audited = sql("SELECT organization_id, after FROM audit_entries WHERE action = 'counted waiting usage' ORDER BY id")
    assert audited == [(acme, {"meter": "tape", "events": 2}), (umbrella, {"meter": "tape", "events": 1})]


def test_a_meter_that_was_archived_takes_it_when_it_is_restored(acme: int):
    meter = make_meter("tape")
    with transaction():
        archive(db.session.merge(meter), now=NOW)
    assert statuses(event("a"), organization_id=acme) == ["waiting"]
    assert adopt_waiting(now=NOW) == 0
    with transaction():
        restore(db.session.get_one(Meter, meter.id), open_from=None)
    assert adopt_waiting(now=NOW) == 1
    assert usage() == {"a": 1}


def test_usage_of_a_month_that_is_over_is_late_once_it_is_adopted(acme: int):
    send(event("a", time="2026-10-31T23:59:59Z"), organization_id=acme)
    assert late_months(acme) == []
    make_meter("tape")
    adopt_waiting(now=NOW)
    assert late_months(acme) == [OCTOBER]
    assert billed(acme, OCTOBER) == {"tape": 1}
    assert sql("SELECT recorded_day FROM usage_daily") == [(NOW.date(),)]


def test_what_the_meter_does_not_take_stays_with_the_reason(acme: int):
    send(
        event("a", properties={"user": "u1"}, quantity=None),
        event("b"),
        event("c", quantity="-1", correction=True, properties={"user": "u2"}),
        organization_id=acme,
    )
    assert waiting_usage()[0].quantity == 0
    make_meter("tape", counting=Counting(Aggregation.UNIQUE, subject="user"))
    assert adopt_waiting(now=NOW) == 1
    assert billed(acme) == {"tape": 1}
    reasons = sorted(each.reason or "" for each in waiting_usage())
    assert [reason.partition(";")[0] for reason in reasons] == [
        "Only what is summed up is corrected by a difference",
        "The meter “tape” counts the different values of “user”",
    ]
    assert waiting_sentences(acme, NOVEMBER) == ["Usage waits that its meter does not take: “tape” (2 events)."]


def test_a_quantity_that_was_left_out_is_one_where_the_meter_counts_events_and_missing_elsewhere(acme: int):
    send(event("a", quantity=None), event("b", meter="disk", quantity=None), organization_id=acme)
    make_meter("tape", counting=Counting(Aggregation.COUNT))
    make_meter("disk")
    assert adopt_waiting(now=NOW) == 1
    assert usage() == {"a": 1}
    [left] = waiting_usage()
    assert (left.meter, left.quantity) == ("disk", None)
    assert "quantity" in (left.reason or "")


def test_corrections_wait_too_and_correct_once_their_meter_is_there(acme: int):
    organization, disk = organization_by_id(acme), make_meter("disk")
    use(organization, disk, 5, event_id="first", at=datetime(2026, 11, 19, tzinfo=UTC))
    send(
        event("a", amends="first", quantity="7"),
        event("b", amends="a", quantity="8"),
        event("lost", amends="nothing"),
        organization_id=acme,
    )
    assert billed(acme) == {"disk": 5}
    make_meter("tape")
    assert adopt_waiting(now=NOW) == 1
    assert {code: quantity for code, quantity in billed(acme).items() if quantity} == {"tape": 7}
    # A correction of a correction wants that one stored before its batch, as ever.
    [left] = waiting_usage()
    assert (left.events, "There is no event with the id" in (left.reason or "")) == (2, True)
    # They are looked at again an hour later, not every minute.
    use(organization, disk, 1, event_id="nothing", at=datetime(2026, 11, 19, tzinfo=UTC))
    assert adopt_waiting(now=NOW + AGAIN_AFTER) == 0
    assert adopt_waiting(now=NOW + AGAIN_AFTER + timedelta(seconds=1)) == 2
    assert {code: quantity for code, quantity in billed(acme).items() if quantity} == {"tape": 9}
    assert recount_differences() == []
    assert rows() == []


def test_a_cancellation_takes_a_waiting_event_away(acme: int):
    make_meter("disk")
    send(event("a"), event("b"), event("c"), organization_id=acme)
    cancel = {"id": "x", "cancels": "a"}
    assert statuses(cancel, cancel, {"id": "y", "cancels": "a"}, organization_id=acme) == [
        "accepted",
        "duplicate",
        "conflict",
    ]
    assert statuses(cancel, {"id": "y", "cancels": "a"}, organization_id=acme) == ["duplicate", "conflict"]
    assert statuses({"id": "z", "cancels": "nothing"}, {"id": "b", "cancels": "b"}, organization_id=acme) == [
        "rejected",
        "rejected",
    ]
    # In one batch with the event itself; and an amendment has nothing that it could take the place of.
    assert statuses(event("d"), {"id": "w", "cancels": "d"}, organization_id=acme) == ["waiting", "accepted"]
    assert statuses(event("v", meter="disk", amends="b"), organization_id=acme) == ["rejected"]
    assert statuses(event("a"), organization_id=acme) == ["duplicate"]
    assert count_waiting() == 2
    make_meter("tape")
    assert adopt_waiting(now=NOW) == 2
    assert usage() == {"b": 1, "c": 1}
    [gone] = discarded_usage()
    assert (gone.events, gone.cancelled, gone.discarded_reason, gone.discarded_by) == (2, True, CANCELLED, None)
    with pytest.raises(InvalidTransition), transaction():
        take_back_discarded(acme, "tape")


def test_a_cancellation_beside_adoption_always_wins(app: Flask, acme: int):
    """Whoever comes first: the event was discarded, or it was usage for a moment and is cancelled as such."""
    make_meter("tape")
    for number in range(10):
        with pytest.MonkeyPatch.context() as patch:
            # As a process does that has not heard of the meter yet.
            patch.setattr("portal.usage.batches.known_meters", dict)
            assert statuses(event(f"a{number}"), organization_id=acme) == ["waiting"]
        cancel = {"id": f"x{number}", "cancels": f"a{number}"}
        adopted, cancelled = at_once(
            app,
            lambda: adopt_waiting(now=NOW),
            lambda cancel=cancel: statuses(cancel, organization_id=acme),
        )
        assert cancelled == ["accepted"]
        assert adopted in (0, 1)
    assert count_waiting() == 0
    assert sum(billed(acme).values()) == 0
    assert recount_differences() == []


def test_discarding_keeps_the_events_and_can_be_taken_back(acme: int):
    umbrella = make_organization("umbrella").id
    send(event("a"), event("b", quantity="2"), event("c", meter="other"), organization_id=acme)
    send(event("a"), organization_id=umbrella)
    with pytest.raises(InvalidInput), transaction():
        discard_waiting(acme, "tape", reason=" ", by="Ada", now=NOW)
    with transaction():
        assert discard_waiting(acme, "tape", reason=" a test ", by="Ada", now=NOW) == 2
    with pytest.raises(InvalidTransition), transaction():
        discard_waiting(acme, "tape", reason="a test", by="Ada", now=NOW)
    assert [(each.slug, each.meter) for each in waiting_usage()] == [("acme", "other"), ("umbrella", "tape")]
    assert waiting_sentences(acme, NOVEMBER) == ["Usage of meters that do not exist waits: “other” (1 event)."]
    [gone] = discarded_usage()
    assert (gone.events, gone.quantity, gone.discarded_reason, gone.discarded_by) == (2, 3, "a test", "Ada")
    assert statuses(event("a"), organization_id=acme) == ["duplicate"]
    make_meter("tape")
    assert adopt_waiting(now=NOW) == 1
    assert billed(acme) == {}
    with transaction():
        assert take_back_discarded(acme, "tape") == 2
    assert adopt_waiting(now=NOW) == 2
    assert billed(acme) == {"tape": 3}
    actions = sql("SELECT action, reason, after ->> 'events' FROM audit_entries WHERE subject_kind = 'waiting usage'")
    assert actions == [
        ("discarded waiting usage", "a test", "2"),
        ("counted waiting usage", None, "1"),
        ("took discarded usage back", None, "2"),
        ("counted waiting usage", None, "2"),
    ]


def test_many_adopt_at_once_while_events_come_in_and_each_counts_once(
    app: Flask, acme: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(adopting, "AT_ONCE", 40)
    umbrella = make_organization("umbrella").id
    everything = [event(f"{number:04d}", quantity=str(number % 7)) for number in range(600)]
    for organization_id in (acme, umbrella):
        for start in range(0, 400, 100):
            send(*everything[start : start + 100], organization_id=organization_id)
    make_meter("tape", dimensions=())

    def adopt() -> int:
        return sum(adopt_waiting(now=NOW) for _ in range(3))

    def report(organization_id: int, chosen: list[dict[str, Any]]) -> int:
        """New events, and some that wait or are being adopted at this moment."""
        stored = [
            send(*chosen[start : start + 25], organization_id=organization_id) for start in range(0, len(chosen), 25)
        ]
        assert not sum(each.counts["conflict"] + each.counts["rejected"] for each in stored)
        return sum(each.counts["accepted"] + each.counts["waiting"] for each in stored)

    results = at_once(
        app,
        adopt,
        adopt,
        adopt,
        lambda: report(acme, everything[300:]),
        lambda: report(umbrella, everything[350:][::-1]),
    )
    assert all(isinstance(result, int) for result in results), results
    adopt_waiting(now=NOW)
    total = sum(number % 7 for number in range(600))
    assert billed(acme) == {"tape": total}
    assert billed(umbrella) == {"tape": total}
    assert sql("SELECT organization_id, count(*) FROM usage_events GROUP BY 1 ORDER BY 1") == [
        (acme, 600),
        (umbrella, 600),
    ]
    assert rows() == []
    assert recount_differences() == []


def test_adoption_that_dies_in_the_middle_goes_on_where_it_was(
    acme: int, owner_connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(adopting, "AT_ONCE", 10)
    send(*[event(f"{number:02d}") for number in range(25)], organization_id=acme)
    make_meter("tape")
    with transaction():
        assert adopt_some(acme, now=NOW) == 10

    def die() -> None:
        with transaction() as session:
            assert adopt_some(acme, now=NOW) == 10
            [(process,)] = session.execute(db.text("SELECT pg_backend_pid()"))
            owner_connection.execute("SELECT pg_terminate_backend(%s)", (process,))
            session.execute(db.text("SELECT 1"))

    with pytest.raises(DBAPIError):
        die()
    db.session.remove()
    assert len(usage()) == 10
    assert len(rows()) == 15
    assert adopt_waiting(now=NOW) == 15
    assert len(usage()) == 25
    assert billed(acme) == {"tape": 25}


def test_a_clock_without_time_begins_nothing(acme: int):
    send(event("a"), organization_id=acme)
    make_meter("tape")
    assert adopt_waiting(now=NOW, seconds=0) == 0
    assert count_waiting() == 1
    adopting.adopt_by_clock(now=NOW)
    assert count_waiting() == 0


def test_a_tenant_sees_and_writes_its_own_only(app: Flask, acme: int):
    umbrella = make_organization("umbrella").id
    send(event("theirs"), organization_id=umbrella)
    with acting(app, tenant(acme)):
        assert statuses(event("mine"), event("mine"), organization_id=acme) == ["waiting", "duplicate"]
        assert [(each.slug, each.meter, each.events) for each in waiting_usage()] == [("acme", "tape", 1)]
        assert waiting_usage(organization_id=umbrella) == []
        assert waiting_sentences(umbrella, NOVEMBER) == []
        assert rows() == ["mine"]
        assert statuses({"id": "x", "cancels": "theirs"}, organization_id=acme) == ["rejected"]
        assert statuses({"id": "x", "cancels": "mine"}, organization_id=acme) == ["accepted"]
        with pytest.raises(ProgrammingError, match="row-level security"):
            send(event("smuggled"), organization_id=umbrella)
        for statement in ("DELETE FROM waiting_events", "UPDATE waiting_events SET document = '{}'"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                sql(statement)
    with acting(app):
        assert sql("SELECT event_id, discarded_at IS NULL FROM waiting_events ORDER BY 1") == [
            ("mine", False),
            ("theirs", True),
        ]


def test_sentences_name_the_largest_meters_of_the_month(acme: int):
    items = [event(f"{code}{n}", meter=f"meter-{code}") for code in range(7) for n in range(8 - code)]
    send(*items, event("old", time="2026-10-31T23:59:59Z"), organization_id=acme)
    assert waiting_sentences(acme, NOVEMBER) == [
        "Usage of meters that do not exist waits: “meter-0” (8 events), “meter-1” (7 events), “meter-2” (6 events),"
        " “meter-3” (5 events), “meter-4” (4 events) and 2 more."
    ]
    assert waiting_sentences(acme, OCTOBER) == ["Usage of meters that do not exist waits: “tape” (1 event)."]
    assert waiting_sentences(acme, OCTOBER.previous) == []
