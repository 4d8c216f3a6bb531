"""Migrations: one line of history, up and down and up again, and nothing that the models do not say."""

from collections.abc import Iterator
from dataclasses import replace

import flask_migrate
import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask

from devkit.testservers import drop_database, make_database
from portal import ROOT, create_app
from portal.infra.db import db

DIRECTORY = str(ROOT / "migrations")


def script() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", DIRECTORY)
    return ScriptDirectory.from_config(config)


@pytest.fixture(scope="module")
def fresh(test_run, worker_number, app: Flask) -> Iterator[tuple[Flask, str]]:
    """The portal on an empty database of its own."""
    name = f"portal_migrations_{worker_number}_test"
    url = make_database(test_run.servers.database_url, name)
    scheme = "postgresql+psycopg://" + url.partition("://")[2]
    portal = create_app(replace(app.config["SETTINGS"], database_url=scheme))
    with portal.app_context():
        yield portal, url
        db.engine.dispose()
    drop_database(test_run.servers.dropping_url, name)


def shape(url: str) -> list[tuple]:
    """Everything that a migration makes: columns, constraints, indexes, triggers, policies, rights."""
    queries = [
        "SELECT table_name, column_name, data_type, is_nullable, column_default, is_identity"
        " FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        " AND tablename <> 'alembic_version'",
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
        "SELECT tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies",
        "SELECT relname, relrowsecurity, relforcerowsecurity, relacl::text FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ]
    with psycopg.connect(url) as connection:
        return [sorted(connection.execute(query).fetchall(), key=str) for query in queries]


def test_there_is_one_head_and_one_root():
    assert len(script().get_heads()) == 1
    assert len(script().get_bases()) == 1
    for revision in script().walk_revisions():
        assert not revision.is_merge_point
        assert not revision.is_branch_point


def test_revisions_are_numbered_without_a_gap():
    numbers = sorted(revision.revision for revision in script().walk_revisions())
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


@pytest.mark.usefixtures("fresh")
def test_up_down_and_up_again_is_the_same_as_up(fresh):
    _, url = fresh
    flask_migrate.upgrade(DIRECTORY)
    first = shape(url)
    assert len(first[0]) > 100
    assert first[3]
    assert first[4]
    flask_migrate.downgrade(DIRECTORY, revision="base")
    assert [len(rows) for rows in shape(url)] == [0] * len(first)
    flask_migrate.upgrade(DIRECTORY)
    assert shape(url) == first


def test_the_models_say_what_the_migrations_made(fresh):
    flask_migrate.upgrade(DIRECTORY)
    flask_migrate.check(DIRECTORY)  # leaves with an error where they differ


def test_each_step_goes_down_and_up_by_itself(fresh):
    _, url = fresh
    flask_migrate.upgrade(DIRECTORY)
    whole = shape(url)
    for revision in script().walk_revisions():
        if revision.down_revision is None:
            break
        flask_migrate.downgrade(DIRECTORY, revision=revision.down_revision)
        lower = shape(url)
        flask_migrate.upgrade(DIRECTORY, revision=revision.revision)
        flask_migrate.downgrade(DIRECTORY, revision=revision.down_revision)
        assert shape(url) == lower, revision.revision
    flask_migrate.upgrade(DIRECTORY)
    assert shape(url) == whole


def test_upgrading_twice_changes_nothing(fresh):
    _, url = fresh
    flask_migrate.upgrade(DIRECTORY)
    before = shape(url)
    flask_migrate.upgrade(DIRECTORY)
    assert shape(url) == before
