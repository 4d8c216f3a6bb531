"""Background work as the database has it, whatever Redis has forgotten; dead jobs are done again or put aside."""

from dataclasses import replace

import pytest

from portal.infra import clock
from portal.infra.outbox import GiveUp, handles, run
from portal.infra.outbox_health import count_dead_jobs
from portal.infra.processes import heartbeat_of, processes
from tests.factories import acting, sql

PAGE = "/admin/jobs"
done: list[int] = []
stubborn = True


@handles("test_stubborn")
def _stubborn(_lease, *, number: int) -> None:
    if stubborn:
        raise GiveUp("The printer is on fire.")
    done.append(number)


@pytest.fixture
def dead(app, world, clean_redis):
    """Three jobs that were given up for the same cause."""
    global stubborn
    stubborn = True
    done.clear()
    with acting(app):
        for number in range(3):
            sql(
                "INSERT INTO outbox (kind, dedupe_key, arguments) VALUES ('test_stubborn', :key, :arguments)",
                key=str(number),
                arguments=f'{{"number": {number}}}',
            )
        for (outbox_id,) in sql("SELECT id FROM outbox WHERE kind = 'test_stubborn' ORDER BY id"):
            run(outbox_id)
        assert count_dead_jobs() == 3
    yield
    stubborn = True


def press(browser, button: str, **values: str):
    [form] = [each for each in browser.open(PAGE).forms if each.button(button)]
    return browser.submit(form, values, button=button)


def test_a_worker_is_known_though_redis_has_forgotten_it(app, admin, clean_redis):
    with acting(app):
        heartbeat_of("worker").beat()
    clean_redis.flushdb()
    page = admin.open(PAGE)
    assert "Worker" in page.text
    assert "Rings in Redis: 0." in page.text
    with acting(app):
        [(each, alive)] = processes(now=clock.now())
        assert (each.kind, alive) == ("worker", True)
        sql("UPDATE processes SET seen_at = seen_at - interval '2 minutes'")
    assert "gone" in admin.open(PAGE).text


def test_it_speaks_without_redis(app, admin, monkeypatch):
    away = replace(app.config["SETTINGS"], redis_url="redis://127.0.0.1:1/0")
    monkeypatch.setitem(app.config, "SETTINGS", away)
    page = admin.open(PAGE)
    assert page.status == 200
    assert "Redis does not answer." in page.text


def test_dead_jobs_of_one_cause_are_done_again_together(app, admin, dead):
    page = admin.open(PAGE)
    assert "3 × test_stubborn" in page.text
    assert "The printer is on fire." in page.text
    global stubborn
    stubborn = False
    assert "3 jobs are under way again." in press(admin, "Do them again: test_stubborn").text
    with acting(app):
        again = sql("SELECT id FROM outbox WHERE kind = 'test_stubborn' AND dead_at IS NULL AND finished_at IS NULL")
        assert len(again) == 3
        for (outbox_id,) in again:
            run(outbox_id)
        assert sorted(done) == [0, 1, 2]
        assert count_dead_jobs() == 0


def test_they_are_put_aside_with_a_reason_only(app, admin, dead):
    refused = press(admin, "Put aside: test_stubborn", reason=" ")
    assert refused.status == 422
    assert "Say why nothing is to be done" in refused.text
    assert "3 jobs are put aside." in press(admin, "Put aside: test_stubborn", reason="The printer was sold").text
    with acting(app):
        assert count_dead_jobs() == 0
        assert sql("SELECT count(*), min(reason) FROM audit_entries WHERE action = 'put a dead job aside'") == [
            (3, "The printer was sold")
        ]


def test_support_may_look_only(admin, as_staff, dead):
    support = as_staff("support")
    page = support.open(PAGE)
    assert "3 × test_stubborn" in page.text
    assert not any(form.button("Put aside: test_stubborn") for form in page.forms)
    assert "The printer is on fire." in support.client.get(f"{PAGE}.csv").text


def test_a_job_that_needs_nobody_is_not_there(admin):
    token = admin.open(PAGE).forms[0].fields["csrf_token"]
    assert admin.client.post(f"{PAGE}/12345/again", data={"csrf_token": token}).status_code == 404
