"""`flask preflight` against real servers: what is fine, and every trouble in a sentence that names no secret."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import text

from devkit.ports import free_port
from portal.infra.db import SYSTEM, act_as, db
from portal.preflight import Standing, examine
from tests.factories import sql
from tests.mailing.conftest import post
from tests.payments.conftest import sandbox, sandbox_process

__all__ = ["post", "sandbox", "sandbox_process"]


def found(app, *, now=lambda: datetime.now(UTC), **changes):
    """Findings by subject, as (standing, sentence)."""
    settings = replace(app.config["SETTINGS"], **changes)
    with app.app_context():
        return {finding.subject: (finding.standing, finding.says) for finding in examine(settings, now=now)}


def test_what_is_as_it_must_be_is_fine(app, clean_database, clean_redis, sandbox, post):
    seen = found(app, smtp_url=post.url, mail_from="billing@example.com")
    fine = {subject for subject, (standing, _) in seen.items() if standing is Standing.FINE}
    wanted = {"database", "database user", "database roles", "migrations", "database clock", "Redis", "Redis clock"}
    assert fine >= {*wanted, "mail"}
    assert seen["Stripe"] == (Standing.ODD, f"Invoices go to the sandbox at {sandbox.url}.")
    assert post.taken == []


def test_tables_of_another_release(app, clean_database, clean_redis):
    with app.app_context(), db.engine.begin() as connection:
        before = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        standing, says = found(app)["migrations"]
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :before"), {"before": before})
    assert standing is Standing.WRONG
    assert says == f"The tables are at 0001, this release wants {before}; run `flask db upgrade`."


@pytest.mark.parametrize(
    ("seconds", "standing"), [(1, Standing.FINE), (30, Standing.ODD), (200, Standing.WRONG), (-200, Standing.WRONG)]
)
def test_clocks_that_are_apart(app, clean_database, clean_redis, seconds, standing):
    seen = found(app, now=lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    assert seen["database clock"][0] is standing
    assert seen["Redis clock"][0] is standing


def test_a_redis_that_throws_wake_ups_away(app, clean_database, clean_redis, redis_url):
    server = redis.Redis.from_url(redis_url)
    server.config_set("maxmemory-policy", "allkeys-lru")
    sentence = "maxmemory-policy is allkeys-lru; with noeviction no wake-up is thrown away unseen."
    try:
        assert found(app)["Redis"] == (Standing.ODD, sentence)
        assert found(app, environment="production")["Redis"] == (Standing.WRONG, sentence)
    finally:
        server.config_set("maxmemory-policy", "noeviction")


def test_what_is_away_is_a_sentence(app, clean_database):
    nowhere = f"127.0.0.1:{free_port()}"
    seen = found(app, redis_url=f"redis://{nowhere}/0", smtp_url=f"smtp://{nowhere}", mail_from="billing@example.com")
    assert seen["Redis"][0] is Standing.WRONG
    assert "does not answer" in seen["Redis"][1]
    assert seen["mail"][0] is Standing.WRONG
    assert "cannot be used" in seen["mail"][1]


def test_without_a_mail_server_that_is_said(app, clean_database, clean_redis):
    assert found(app, smtp_url=None)["mail"][0] is Standing.ODD


def test_a_stripe_that_refuses(app, clean_database, clean_redis, sandbox):
    sandbox.fault("GET /v1/account", "400", sticky=True)
    standing, says = found(app)["Stripe"]
    assert standing is Standing.WRONG
    assert says == "Stripe refused: This request was refused on request."


def test_a_key_of_another_account(app, runner, clean_database, clean_redis, sandbox):
    assert found(app)["Stripe"][0] is Standing.ODD
    with app.app_context():
        act_as(SYSTEM)
        sql("DELETE FROM stripe_account")
        sql("INSERT INTO stripe_account (account_id) VALUES ('acct_before')")
    standing, says = found(app)["Stripe"]
    assert standing is Standing.WRONG
    assert "belongs to acct_sandbox, our invoices went to acct_before" in says
    assert runner.invoke(args=["preflight"]).exit_code == 1
    forgotten = runner.invoke(args=["stripe", "forget-account"])
    assert forgotten.exit_code == 0, forgotten.exception
    assert forgotten.output == "acct_before is forgotten.\n"
    assert found(app)["Stripe"][0] is Standing.ODD
    with app.app_context():
        act_as(SYSTEM)
        assert sql("SELECT account_id FROM stripe_account") == [("acct_sandbox",)]
        assert sql("SELECT action FROM audit_entries") == [("forgot the account at Stripe",)]


def test_the_command_counts_and_ends_with_1_if_anything_is_wrong(runner, clean_database, clean_redis, sandbox):
    result = runner.invoke(args=["preflight"])
    assert result.exit_code == 0, result.output
    assert "0 wrong" in result.output
    assert runner.invoke(args=["preflight", "--strict"]).exit_code == 1
    sandbox.fault("GET /v1/account", "400", sticky=True)
    assert runner.invoke(args=["preflight"]).exit_code == 1
