"""Migrations run while the portal does: none locks a large table for long, or takes away what the version before uses.

Each is run, and the very statements that PostgreSQL got are judged by squawk. Those of the first release ran on empty
databases. What is refused here is done in two steps; docs/operations.md says how.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import flask_migrate
import pytest
from flask import Flask
from sqlalchemy import event

from devkit.testservers import TEMPLATE, drop_database, make_database
from portal import create_app
from portal.infra.db import db
from tests.factories import acting
from tests.migrations.test_migrations import DIRECTORY, script

SQUAWK = Path(sys.executable).with_name("squawk")
FIRST_RELEASE = "0045"
# Matters of taste, and a limit for each statement, which would cut off an index that takes its time.
NOT_ASKED = ("require-statement-timeout", "prefer-robust-stmts", "prefer-bigint-over-int", "prefer-text-field")
# What is known to be harmless, by migration and rule, with the reason.
HARMLESS = {
    ("0047", "ban-drop-constraint"): "the next statement puts a wider one into its place, in the same transaction",
    ("0055", "ban-drop-constraint"): "the next statement puts one into its place that what it let through fulfils",
    ("0055", "constraint-missing-not-valid"): "they are validated after the transaction that adds them has ended",
    ("0047", "constraint-missing-not-valid"): "mails of a month at most: reading them takes milliseconds",
    ("0052", "ban-drop-constraint"): "the next statement puts a wider one into its place, in the same transaction",
    ("0052", "ban-drop-not-null"): "the version before always writes it, and never reads a row without it",
    ("0052", "constraint-missing-not-valid"): "challenges of the last minutes: reading them takes no time",
}


@pytest.fixture
def released(test_run, worker_number, app: Flask) -> Iterator[Flask]:
    """The portal on a database of its own, as it was at the first release."""
    name = f"portal_safe_{worker_number}_test"
    url = make_database(test_run.servers.database_url, name, template=TEMPLATE)
    portal = create_app(replace(app.config["SETTINGS"], database_url="postgresql+psycopg://" + url.partition("://")[2]))
    with acting(portal):
        flask_migrate.downgrade(DIRECTORY, revision=FIRST_RELEASE)
        yield portal
        db.session.remove()
        db.engine.dispose()
    drop_database(test_run.servers.dropping_url, name)


def test_no_migration_stops_a_running_portal(released: Flask, tmp_path: Path) -> None:
    newer = [each.revision for each in reversed(list(script().iterate_revisions("heads", FIRST_RELEASE)))]
    assert newer
    found = {}
    for revision in newer:
        file = tmp_path / f"{revision}.sql"
        file.write_text(";\n".join(statements_of(revision)) + ";\n")
        found |= {(revision, each["rule_name"]): each["message"] for each in judged(file)}
    assert {key: message for key, message in found.items() if key not in HARMLESS} == {}
    assert HARMLESS.keys() <= found.keys(), "an exception that nothing needs any more"


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX i ON invoices (total)", "require-concurrent-index-creation"),
        ("ALTER TABLE invoices ADD COLUMN x bigint NOT NULL", "adding-required-field"),
        ("ALTER TABLE invoices DROP COLUMN total", "ban-drop-column"),
        ("ALTER TABLE invoices RENAME COLUMN total TO whole", "renaming-column"),
        ("ALTER TABLE invoices ALTER COLUMN total TYPE numeric", "changing-column-type"),
        ("ALTER TABLE invoices ADD CONSTRAINT c CHECK (total > 0)", "constraint-missing-not-valid"),
    ],
)
def test_what_would_stop_one_is_refused(statement: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / "unsafe.sql"
    file.write_text(f"SET lock_timeout = '4s';\n{statement};\n")
    assert rule in [each["rule_name"] for each in judged(file)]


def statements_of(revision: str) -> list[str]:
    """What the upgrade to a revision sends to PostgreSQL."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "alembic_version" not in statement and not statement.startswith("SELECT"):
            seen.append(statement.strip().rstrip(";"))

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        flask_migrate.upgrade(DIRECTORY, revision=revision)
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    return seen


def judged(file: Path) -> list[dict[str, str]]:
    """What squawk finds in a file; an index that is made concurrently is outside of any transaction."""
    inside = [] if "CONCURRENTLY" in file.read_text() else ["--assume-in-transaction"]
    command = [SQUAWK, "--reporter", "json", f"--exclude={','.join(NOT_ASKED)}", *inside, str(file)]
    answer = subprocess.run(command, capture_output=True, text=True)
    rules: list[dict[str, str]] = json.loads(answer.stdout)
    return rules
