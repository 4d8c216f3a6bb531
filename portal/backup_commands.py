"""`flask backup drill`: whether a backup of today could be restored, tried in earnest beside the living database."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import psycopg
from flask import current_app
from flask.cli import AppGroup, with_appcontext
from psycopg import sql
from rich.console import Console

console = Console()
_TABLES = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
_LONGEST_SECONDS = 6 * 3600

backup_group = AppGroup("backup", help="Backups, and whether they can be restored.")


@backup_group.command("drill")
@click.option(
    "--as",
    "superuser",
    required=True,
    envvar="BACKUP_SUPERUSER_URL",
    metavar="URL",
    help="The same database as a superuser: row level security binds everybody else.",
)
@click.option("--keep", type=click.Path(path_type=Path, dir_okay=False), help="Keep the dump as this file.")
@with_appcontext
def drill(superuser: str, keep: Path | None) -> None:
    """Dump the database, restore it beside itself under another name, compare every table, and ask the doctor.

    The living database is only read; the copy is dropped in the end. Exits with 1 if anything differs or is broken.
    """
    for program in ("pg_dump", "pg_restore"):
        if shutil.which(program) is None:
            raise click.ClickException(f"{program} is not on the PATH; it comes with PostgreSQL's client programs.")
    with tempfile.TemporaryDirectory() as folder:
        file = keep or Path(folder) / "portal.dump"
        try:
            with psycopg.connect(superuser) as living:
                counted = _dump(living, superuser, file)
            with _copy_of(superuser) as copy:
                broken = _restore_and_compare(copy, file, counted)
        except (psycopg.Error, subprocess.CalledProcessError) as error:
            raise click.ClickException(f"The drill broke off: {_words_of(error)}") from error
    sys.exit(1 if broken else 0)


def _dump(living: psycopg.Connection, url: str, file: Path) -> dict[str, int]:
    """Write the dump, and count the rows of the same moment; rows that come meanwhile are in neither."""
    started = time.monotonic()
    living.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    [snapshot] = living.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
    _run("pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={file}", url)
    counted = _rows(living)
    size = file.stat().st_size // 1024
    console.print(f"Dumped {sum(counted.values()):,} rows of {len(counted)} tables: {size:,} kB, {_since(started)}.")
    return counted


def _restore_and_compare(copy: str, file: Path, counted: dict[str, int]) -> bool:
    started = time.monotonic()
    _run("pg_restore", "--exit-on-error", f"--dbname={copy}", str(file))
    console.print(f"Restored in {_since(started)}.")
    with psycopg.connect(copy) as connection:
        restored = _rows(connection)
    differing = sorted(table for table in counted.keys() | restored.keys() if counted.get(table) != restored.get(table))
    for table in differing:
        console.print(f"{table}: {counted.get(table)} rows here, {restored.get(table)} in the copy.")
    if not differing:
        console.print("Every table has as many rows as here.")
    return bool(differing) | _is_ill(copy)


def _is_ill(copy: str) -> bool:
    """What the doctor says of the copy, asked as the portal's own user."""
    own = urlsplit(current_app.config["SETTINGS"].database_url)._replace(path=urlsplit(copy).path).geturl()
    environment = {**os.environ, "DATABASE_URL": own.replace("postgresql+psycopg://", "postgresql://")}
    asked = subprocess.run(
        [sys.executable, "-m", "flask", "billing", "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LONGEST_SECONDS,
    )
    console.print((asked.stdout or asked.stderr).strip().splitlines()[-1], markup=False)
    if asked.returncode:
        console.print(asked.stdout, markup=False)
    return asked.returncode != 0


@contextmanager
def _copy_of(url: str) -> Iterator[str]:
    """An empty database beside this one, owned like it, until the block ends."""
    name = f"{urlsplit(url).path.lstrip('/')}_drill_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
        [owner] = connection.execute(query).fetchone() or ("",)
        create = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(owner)))
        try:
            yield urlsplit(url)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _rows(connection: psycopg.Connection) -> dict[str, int]:
    tables = [table for (table,) in connection.execute(_TABLES).fetchall()]
    return {
        table: (connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone() or [0])[
            0
        ]
        for table in tables
    }


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=_LONGEST_SECONDS)


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


def _words_of(error: Exception) -> str:
    """The last line of what went wrong; never an address, which may hold a password."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return (said or "it said nothing").strip().splitlines()[-1][:300]
