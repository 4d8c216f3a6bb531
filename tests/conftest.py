"""Real servers for every test that asks for one; tests that do not ask need none.

The controller of a run (or its only process) owns a throw-away folder; whichever process first needs a server
boots PostgreSQL and Redis there, and the controller stops them at the end. See devkit/testservers.py.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner

from devkit.folder import DataFolder, new_throw_away_folder
from devkit.testservers import (
    TEMPLATE,
    TEST_SETTINGS,
    CrashableServers,
    TestRun,
    crashable_servers,
    drop_database,
    empty_tables,
    end_run,
    join_run,
    make_database,
    not_ours_to_crash,
    redis_database,
)

RUN_FOLDER = pytest.StashKey[DataFolder]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the run's folder, in the controller only. Nothing is booted yet."""
    if not hasattr(config, "workerinput"):
        config.stash[RUN_FOLDER] = new_throw_away_folder("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each xdist worker where the folder is."""
    node.workerinput["run_folder"] = str(node.config.stash[RUN_FOLDER].path)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop whatever was booted, by us or by a worker, and delete the folder."""
    folder = config.stash.get(RUN_FOLDER, None)
    if folder is not None:
        end_run(folder)


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0 in a run of one process; 1, 2, … in the workers of xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return 0 if worker is None else int(worker.removeprefix("gw")) + 1


@pytest.fixture(scope="session")
def test_run(request: pytest.FixtureRequest) -> TestRun:
    """The run's servers, booted at first use."""
    workerinput = getattr(request.config, "workerinput", None)
    return join_run(Path(workerinput["run_folder"]) if workerinput else request.config.stash[RUN_FOLDER].path)


@pytest.fixture(scope="session")
def database_url(test_run: TestRun, worker_number: int) -> Iterator[str]:
    """A migrated database of this process alone."""
    name = f"portal_{worker_number}_test"
    yield make_database(test_run.servers.database_url, name, template=TEMPLATE)
    drop_database(test_run.servers.dropping_url, name)


@pytest.fixture(scope="session")
def redis_url(test_run: TestRun, worker_number: int) -> Iterator[str]:
    """A Redis database of this process alone; 0 is left alone, because other programs use it by default."""
    url = redis_database(test_run, worker_number + 1)
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def portal_environment(database_url: str, redis_url: str) -> dict[str, str]:
    """The settings of a portal under test, as environment variables: for `app` and for child processes."""
    return TEST_SETTINGS | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


@pytest.fixture(scope="session")
def app(portal_environment: dict[str, str]) -> Iterator[Flask]:
    """The portal on this process' database."""
    from portal import create_app
    from portal.config import settings_from_env
    from portal.infra.db import db
    from portal.organizations import passwords

    portal = create_app(settings_from_env(portal_environment))
    # A password costs on purpose; with every sign-in of every test that would be most of the suite's time.
    real, passwords._hasher = passwords._hasher, PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    yield portal
    passwords._hasher = real
    with portal.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser without JavaScript, signed in as nobody."""
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    """The command line."""
    return app.test_cli_runner()


@pytest.fixture(scope="session")
def owner_connection(database_url: str) -> Iterator[psycopg.Connection]:
    """A session of the database's owner, outside any transaction of the portal."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def clean_database(owner_connection: psycopg.Connection, test_run: TestRun) -> None:
    """Start with empty tables, but for what the migrations themselves put in."""
    empty_tables(owner_connection, keep=test_run.filled_by_migrations)


@pytest.fixture
def clean_redis(redis_url: str) -> Iterator[redis.Redis]:
    """Start with an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def crashable() -> Iterator[CrashableServers]:
    """Servers that this test may kill; it skips where the servers are somebody else's."""
    reason = not_ours_to_crash()
    if reason:
        pytest.skip(reason)
    with crashable_servers() as servers:
        yield servers


@pytest.fixture
def books(app: Flask, clean_database: None, clean_redis: redis.Redis) -> Iterator[None]:
    """Empty books, and a context that acts as the system."""
    from tests.factories import acting

    with acting(app):
        yield
