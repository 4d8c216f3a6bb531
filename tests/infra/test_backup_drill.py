"""`flask backup drill`: dump, restore beside it, compare, ask the doctor, and leave nothing behind."""

import os
from urllib.parse import urlsplit

import psycopg
import pytest

from devkit.binaries import postgres_programs
from devkit.testservers import TestRun
from tests.factories import acting, make_final, make_organization


@pytest.fixture
def superuser(test_run: TestRun, database_url: str) -> str:
    """The test database as a superuser; it skips where the server is somebody else's."""
    if test_run.servers.superuser_url is None:
        pytest.skip("the superuser of this server is not known")
    return urlsplit(test_run.servers.superuser_url)._replace(path=urlsplit(database_url).path).geturl()


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client programs of the very server, in front of whatever the machine has."""
    monkeypatch.setenv("PATH", f"{postgres_programs()}:{os.environ['PATH']}")


def databases(superuser: str) -> set[str]:
    with psycopg.connect(superuser) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}


def test_a_copy_has_every_row_and_the_doctor_finds_nothing(
    app, clean_database, superuser, tools, portal_environment, monkeypatch, tmp_path
):
    with acting(app):
        make_final(make_organization(), "12.00", "-2.00")
    for name, value in portal_environment.items():
        monkeypatch.setenv(name, value)
    before = databases(superuser)
    file = tmp_path / "portal.dump"
    done = app.test_cli_runner().invoke(args=["backup", "drill", "--as", superuser, "--keep", str(file)])
    assert done.exit_code == 0, done.output
    assert "Every table has as many rows as here." in done.output
    assert ", 0 broken." in done.output
    assert file.stat().st_size > 10_000
    assert databases(superuser) == before


def test_what_cannot_be_dumped_is_said_without_the_password(app, superuser, tools):
    wrong = superuser.replace(urlsplit(superuser).path, "/no_such_database")
    done = app.test_cli_runner().invoke(args=["backup", "drill", "--as", wrong])
    assert done.exit_code == 1
    assert "The drill broke off" in done.output
    assert urlsplit(superuser).password not in done.output
