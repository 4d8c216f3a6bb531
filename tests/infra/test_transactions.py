"""A transaction takes its role, commits once, and never nests."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from portal import create_app
from portal.infra.db import STAFF, SYSTEM, Scope, act_as, acting_as, after_commit, db, tenant, transaction
from tests.factories import acting, make_organization, sql


def test_blocks_do_not_nest(books):
    with pytest.raises(AssertionError, match="do not nest"), transaction(), transaction():
        pass
    assert sql("SELECT 1") == [(1,)]


def test_without_a_scope_nothing_is_asked(app, clean_database):
    with app.app_context(), pytest.raises(RuntimeError, match="say as whom"):
        db.session.execute(text("SELECT 1"))


def test_what_is_rolled_back_leaves_nothing_and_sends_nothing(books):
    sent = []
    with pytest.raises(ZeroDivisionError), transaction() as session:  # noqa: PT012
        session.execute(text("INSERT INTO number_series (series, last_number) VALUES ('INV-1', 1)"))
        after_commit(lambda: sent.append(1))
        raise ZeroDivisionError
    assert sql("SELECT count(*) FROM number_series") == [(0,)]
    assert sent == []
    with transaction():
        after_commit(lambda: sent.append(2))
        assert sent == []
    assert sent == [2]


def test_a_scope_cannot_change_within_a_block(books):
    with transaction():
        with pytest.raises(AssertionError, match="keeps its scope"):
            act_as(STAFF)
        assert db.session.scalar(text("SELECT current_user")) == "portal_system"


def test_a_block_that_acts_as_somebody_else_gives_the_role_back(books):
    organization = make_organization()
    with acting_as(tenant(organization.id)):
        assert sql("SELECT current_user, current_setting('app.organization_id')") == [
            ("portal_tenant", str(organization.id))
        ]
    assert sql("SELECT current_user, current_setting('app.organization_id')") == [("portal_system", "")]


def test_the_role_does_not_leak_over_a_pooled_connection(app, portal_environment, clean_database):
    """One connection for everybody: each transaction says anew who it is; a raw one is nobody's tenant."""
    single = create_app(replace(app.config["SETTINGS"]))
    with acting(app):
        ids = [make_organization(slug).id for slug in ("acme", "umbrella")]
    with single.app_context():
        db.engine.pool._pool.maxsize = 1
        db.engine.pool._max_overflow = 0
        backends = set()
        for scope in (tenant(ids[0]), SYSTEM, tenant(ids[1]), Scope("portal_tenant"), tenant(ids[0])):
            with acting_as(scope):
                seen = {row[0] for row in sql("SELECT id FROM organizations")}
                backends.add(sql("SELECT pg_backend_pid()")[0][0])
            expected = set(ids) if scope is SYSTEM else {scope.organization_id} - {None}
            assert seen == expected
        with db.engine.connect() as connection:
            backends.add(connection.scalar(text("SELECT pg_backend_pid()")))
            assert connection.scalar(text("SELECT current_user = session_user"))
            assert connection.scalar(text("SELECT coalesce(current_setting('app.organization_id', true), '')")) == ""
        assert len(backends) == 1
        db.engine.dispose()


def test_a_failed_tenants_transaction_leaves_no_role_behind(books):
    organization = make_organization()
    with acting_as(tenant(organization.id)), pytest.raises(DBAPIError, match="permission denied"):
        sql("SELECT * FROM outbox")
    assert sql("SELECT current_user") == [("portal_system",)]


def test_a_slow_statement_of_a_tenant_is_ended_by_its_timeout(books):
    with acting_as(Scope("portal_tenant", statement_timeout_ms=50)), pytest.raises(DBAPIError, match="timeout"):
        sql("SELECT pg_sleep(5)")
