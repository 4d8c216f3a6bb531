"""Migration 0021 makes hours and sources out of the events that are there already."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import flask_migrate
import pytest
from flask import Flask

from devkit.testservers import TEMPLATE, drop_database, make_database
from portal import create_app
from portal.core.quantities import Aggregation, Counting
from portal.infra.db import db, transaction
from portal.usage.folding import fold_by_clock
from portal.usage.recounting_hours import hourly_differences
from tests.factories import acting, cancel_usage, make_meter, make_organization, sql, use
from tests.migrations.test_migrations import DIRECTORY

START = datetime(2026, 10, 31, 22, 30, tzinfo=UTC)


@pytest.fixture
def older(test_run, worker_number, app: Flask) -> Iterator[Flask]:
    """The portal on a database of its own."""
    name = f"portal_hours_{worker_number}_test"
    url = make_database(test_run.servers.database_url, name, template=TEMPLATE)
    portal = create_app(replace(app.config["SETTINGS"], database_url="postgresql+psycopg://" + url.partition("://")[2]))
    with acting(portal):
        yield portal
        db.session.remove()
        db.engine.dispose()
    drop_database(test_run.servers.dropping_url, name)


def test_events_that_are_there_become_hours_and_sources(older):
    organizations = [make_organization(slug) for slug in ("acme", "umbrella")]
    countings = {"sum": Counting(), "count": Counting(Aggregation.COUNT), "max": Counting(Aggregation.MAX)}
    for organization in organizations:
        for name, counting in countings.items():
            for number in range(6):
                moment = START + timedelta(minutes=25 * number)
                meter = make_meter(name, counting=counting)
                use(organization, meter, number + 1, at=moment, event_id=f"{name}-{number}")
        cancel_usage(organization, "sum-2")
        use(organization, make_meter("count"), 1, at=START, event_id="again", amends="count-1")
    fold_by_clock()
    hours = "SELECT * FROM usage_hourly WHERE events <> 0 ORDER BY organization_id, hour, series_id"
    heard = "SELECT * FROM usage_heard ORDER BY organization_id, source, hour"
    before = sql(hours), sql(heard)
    assert len(before[0]) > 8
    db.session.remove()
    flask_migrate.downgrade(DIRECTORY, revision="0020")
    flask_migrate.upgrade(DIRECTORY)
    assert (sql(hours), sql(heard)) == before
    with transaction():
        assert hourly_differences() == []
