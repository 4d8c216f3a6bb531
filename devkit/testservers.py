"""The servers of one test run, booted by whichever process first needs them, and the databases on them.

All processes of a run share one throw-away folder. The first test that asks for a server boots both and
migrates a template database, once; every process then copies the template, which takes some 60 ms.
With DATABASE_URL or REDIS_URL set, those servers are used, and only databases whose name ends with `_test`.
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg import sql

from devkit.folder import DataFolder, read_json, throw_away_folder, write_private_json
from devkit.portal import run_flask
from devkit.postgres import wait_for_postgres
from devkit.redis import wait_for_redis
from devkit.servers import Servers, start_servers
from devkit.words import Refusal

TEMPLATE = "portal_template_test"
SUFFIX = "_test"
LOCK_TIMEOUT_MILLISECONDS = 5_000
# What a test never sends anywhere; port 9 is where nothing listens.
TEST_SETTINGS = {
    "PORTAL_ENV": "testing",
    "SECRET_KEY": "only-for-tests-0123456789abcdef0123456789",
    "STRIPE_SECRET_KEY": "sk_test_sandbox",
    "STRIPE_WEBHOOK_SECRET": "whsec_only_for_tests",
    "STRIPE_API_BASE": "http://127.0.0.1:9",
    "PORTAL_URL": "http://127.0.0.1:5080",
    "FINALIZE_HOLD_SECONDS": "0",
    "FLASK_APP": "wsgi.py",
    "TZ": "UTC",
}


@dataclass(frozen=True)
class TestRun:
    """What every process of a run needs to know."""

    __test__ = False  # pytest takes every Test… for a test

    servers: Servers
    filled_by_migrations: list[str]  # tables that are never emptied between tests


def join_run(path: Path) -> TestRun:
    """The servers of the run that owns this folder; booted now if nobody did before."""
    with (path / "boot.lock").open("a") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        known = read_json(path / "run.json")
        if known is not None:
            return TestRun(Servers(**known["servers"]), known["filled_by_migrations"])
        folder = DataFolder(path)
        try:
            run = _boot(folder)
        finally:
            folder.processes.leave_running()
        write_private_json(path / "run.json", asdict(run))
        return run


def end_run(folder: DataFolder) -> None:
    """Stop whatever any process of the run booted, and leave no template on a server of the user's."""
    run = read_json(folder.path / "run.json")
    if run is not None and run["servers"]["superuser_url"] is None:
        drop_database(run["servers"]["database_url"], TEMPLATE)
    folder.processes.reap()
    folder.remove()


def migrate(folder: DataFolder, database_url: str, redis_url: str) -> None:
    """Bring a database to the newest migration, the way an operator does."""
    settings = TEST_SETTINGS | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    run_flask(folder.processes, "migrate", ["db", "upgrade"], settings)


def make_database(server_url: str, name: str, *, template: str = "template0") -> str:
    """Make a database anew and return its address."""
    drop_database(server_url, name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


def drop_database(server_url: str, name: str) -> None:
    """Forget a test database, whoever is still in it."""
    require_test_database(name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def require_test_database(name: str) -> None:
    """Raises Refusal for a name that could be somebody's real database."""
    if not name.endswith(SUFFIX):
        raise Refusal(f"Tests only touch databases whose name ends with {SUFFIX}; {name!r} does not.")


def empty_tables(connection: psycopg.Connection, *, keep: list[str]) -> None:
    """Empty the tables that tests have written to, and start their ids anew.

    TRUNCATE, because it is bound neither by row level security nor by the triggers that freeze invoices. A
    test that left a transaction open makes it fail within seconds instead of hanging.
    """
    require_test_database(connection.info.dbname)
    written = [table for table in _written_tables(connection) if table not in keep]
    if not written:
        return
    connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
    tables = sql.SQL(", ").join(map(sql.Identifier, written))
    connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))


def redis_database(run: TestRun, number: int) -> str:
    """The address of one numbered Redis database. Raises Refusal if it holds keys of somebody else."""
    url = urlsplit(run.servers.redis_url)._replace(path=f"/{number}").geturl()
    with redis.Redis.from_url(url) as client:
        if not run.servers.redis_is_ours and client.dbsize():
            raise Refusal(
                f"Tests would empty Redis database {number} of REDIS_URL, and it holds keys; "
                f"empty it (redis-cli -n {number} flushdb) or set REDIS_URL to another server."
            )
    return url


@dataclass(frozen=True)
class CrashableServers:
    """Servers of one test alone, which it may kill."""

    folder: DataFolder
    servers: Servers
    database_url: str

    def crash_postgres(self) -> None:
        """End it without a checkpoint, as a crash does; committed transactions must survive."""
        self._crash("postgres", signal.SIGQUIT)

    def start_postgres(self) -> None:
        """Start it again on the same port and wait until it has recovered."""
        child = self.folder.processes.start(self.folder.processes.children["postgres"].program)
        wait_for_postgres(self.database_url, child, self.folder.processes)

    def crash_redis(self) -> None:
        """Kill it; it forgets everything."""
        self._crash("redis", signal.SIGKILL)

    def start_redis(self) -> None:
        """Start it again on the same port."""
        child = self.folder.processes.start(self.folder.processes.children["redis"].program)
        wait_for_redis(self.servers.redis_url, child, self.folder.processes)

    def _crash(self, name: str, number: signal.Signals) -> None:
        child = self.folder.processes.children[name]
        child.popen.send_signal(number)
        child.popen.wait()


def not_ours_to_crash() -> str | None:
    """Why destructive tests must not run here, if so."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        if os.environ.get(name):
            return f"{name} names a server that these tests did not start, so they do not crash it"
    return None


@contextmanager
def crashable_servers() -> Iterator[CrashableServers]:
    """Fresh, migrated servers for one test."""
    with throw_away_folder("crash-tests") as folder:
        servers = start_servers(folder, throw_away=True)
        database_url = make_database(servers.database_url, "portal_crash_test")
        migrate(folder, database_url, servers.redis_url)
        yield CrashableServers(folder, servers, database_url)


def _boot(folder: DataFolder) -> TestRun:
    servers = start_servers(folder, throw_away=True)
    template_url = make_database(servers.database_url, TEMPLATE)
    migrate(folder, template_url, servers.redis_url)
    return TestRun(servers, sorted(_filled_tables(template_url)))


def _filled_tables(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        return _written_tables(connection)


def _written_tables(connection: psycopg.Connection) -> list[str]:
    """Tables that were written to since they were made or emptied; the size of their files tells."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        " AND pg_relation_size(oid) > 0"
    )
    return [name for (name,) in found]
