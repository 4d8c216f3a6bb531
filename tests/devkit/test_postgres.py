"""The PostgreSQL launcher: starts, answers, stops, and keeps what was committed."""

import stat
from pathlib import Path

import psycopg
import pytest

from devkit.binaries import open_to_others
from devkit.folder import DataFolder, throw_away_folder
from devkit.postgres import Postgres, start_postgres


@pytest.fixture
def folder():
    with throw_away_folder("devkit-tests") as folder:
        yield folder


def start(folder: DataFolder) -> Postgres:
    return start_postgres(folder.path, folder.processes, folder.passwords, throw_away=True)


def test_it_answers_as_an_owner_who_is_no_superuser(folder):
    postgres = start(folder)
    with psycopg.connect(postgres.database_url) as connection:
        role = connection.execute(
            "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert role == ("portal", False, True, True)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    with psycopg.connect(postgres.superuser_url) as connection:
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)


def test_a_wrong_password_is_refused(folder):
    postgres = start(folder)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.database_url, password="wrong")


def test_a_second_start_keeps_the_data(folder):
    with psycopg.connect(start(folder).database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    folder.processes.stop("postgres")
    with psycopg.connect(start(folder).database_url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_nothing_listens_after_a_stop(folder):
    postgres = start(folder)
    folder.processes.stop("postgres")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.database_url, connect_timeout=2)


def test_a_folder_that_others_cannot_enter_stays_closed(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = DataFolder.take(closed / "data")
    try:
        with psycopg.connect(start(folder).database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert not open_to_others(closed)
    finally:
        folder.processes.stop_all()
        folder.remove()
    assert not (closed / "data").exists()
