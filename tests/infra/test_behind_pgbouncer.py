"""Behind PgBouncer in transaction mode: one connection of the server serves many, and nobody sees another's rows.

Where the program is not installed this is skipped: nothing else of the portal needs it.
"""

import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from flask import Flask, g

from devkit.binaries import PUBLIC_FOLDER, server_account
from devkit.ports import HOST, free_port
from portal import clock, create_app, doctor
from portal.infra import outbox
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, tenant, transaction
from tests.factories import acting, add, finalize_now, make_draft, make_meter, make_organization, make_price, sql, use

PROGRAM = shutil.which("pgbouncer")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed")
READERS, READS = 8, 40
STARTS_WITHIN_SECONDS = 20


@pytest.fixture(scope="module")
def pooled(app: Flask, database_url: str) -> Iterator[Flask]:
    """The portal on the test's database, through a pooler with two connections to it."""
    port, parts = free_port(), urlsplit(database_url)
    configuration = (
        f"[databases]\ntest = host={parts.hostname} port={parts.port} dbname={parts.path[1:]} user={parts.username}"
        f" password={parts.password}\n"
        f"[pgbouncer]\nlisten_addr = {HOST}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nserver_reset_query =\n"
    )
    # It does not run as root, and an account without rights has to find its file.
    user, group = server_account() or (None, None)
    with tempfile.TemporaryDirectory(dir=PUBLIC_FOLDER) as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        file.write_text(configuration)
        process = subprocess.Popen([str(PROGRAM), "-q", str(file)], user=user, group=group, stderr=subprocess.DEVNULL)
        try:
            url = f"postgresql+psycopg://anybody@{HOST}:{port}/test"
            _wait_for(url.replace("+psycopg", ""))
            settings = replace(app.config["SETTINGS"], database_url=url, database_prepared_statements=False)
            portal = create_app(settings)
            yield portal
            with portal.app_context():
                db.engine.dispose()
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            psycopg.connect(url, connect_timeout=2, prepare_threshold=None).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@pytest.mark.usefixtures("clean_database")
def test_nobody_sees_rows_of_others_though_all_share_two_connections(pooled: Flask) -> None:
    with acting(pooled):
        organizations = [make_organization(f"organization-{number}") for number in range(3)]
        meter = make_meter()
        make_price(meter)
        for each in organizations:
            use(each, meter, 10)
        ids = [each.id for each in organizations]

    def read(seed: int) -> set[tuple[int, frozenset[int]]]:
        dice, seen = random.Random(seed), set()
        with pooled.app_context():
            for _ in range(READS):
                mine = dice.choice(ids)
                act_as(tenant(mine))
                seen.add((mine, frozenset(row[0] for row in sql("SELECT organization_id FROM usage_daily"))))
            db.session.remove()
        return seen

    with ThreadPoolExecutor(READERS) as pool:
        seen = set().union(*pool.map(read, range(READERS)))
    assert seen == {(mine, frozenset({mine})) for mine in ids}


@pytest.mark.usefixtures("clean_database")
def test_a_month_goes_its_way_and_the_clock_turns(pooled: Flask) -> None:
    with acting(pooled):
        organization, meter = make_organization(), make_meter()
        make_price(meter)
        use(organization, meter, 250)
        invoice = make_draft(organization)
        add(invoice, "25", "Migration assistance")
        finalize_now(invoice)
        outbox.drain()
        assert sql("SELECT state, total FROM invoices WHERE id = :id", id=invoice.id) == [("finalized", 2750)]
    # Every recurring job twice, each under its lock: none is left behind that would stop the next turn.
    done = [clock.tick(pooled, job) for _ in range(2) for job in clock.RECURRING]
    assert done == [True] * len(done)
    with pooled.app_context():
        act_as(SYSTEM)
        g.actor = Actor("test", "pooler")
        with transaction():
            assert [each.rule for each in doctor.examine() if each.broken] == []
