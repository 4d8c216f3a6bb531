"""Whether everything that the portal leans on is as it must be: asked before a release takes traffic.

It only reads, but for one thing: it remembers the account at Stripe that it sees first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import current_app
from redis import RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from portal.config import Settings
from portal.infra import mail
from portal.infra.db import STAFF_ROLE, SYSTEM, SYSTEM_ROLE, TENANT_ROLE, act_as, db, transaction
from portal.infra.queue import connect
from portal.payments import gateway
from portal.payments.account import remember_account

OLDEST_POSTGRESQL = 150_000
# Stripe refuses signatures that are five minutes old; half of it is left for the way.
LARGEST_SKEW = timedelta(seconds=150)
NOTICED_SKEW = timedelta(seconds=2)


class Standing(StrEnum):
    """How one thing was found: `odd` works but should be looked at, `wrong` must be mended first."""

    FINE = "fine"
    ODD = "odd"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, how it was found, and a sentence about it that names no secret."""

    subject: str
    standing: Standing
    says: str


def examine(settings: Settings, *, now: Callable[[], datetime]) -> Iterator[Finding]:
    """Look at the database, Redis, Stripe and the mail server, one after the other. Never raises for what is away."""
    yield from _database(now)
    yield from _redis(settings, now)
    yield _stripe(settings)
    yield _mail(settings)


def _database(now: Callable[[], datetime]) -> Iterator[Finding]:
    try:
        with db.engine.connect() as connection:
            yield _version(connection)
            yield _user(connection)
            yield _roles(connection)
            yield _migrations(connection)
            yield _clock("database clock", connection.execute(text("SELECT clock_timestamp()")).scalar_one(), now())
    except DBAPIError as error:
        yield Finding("database", Standing.WRONG, f"It does not answer: {str(error.orig).strip()}")


def _version(connection: Connection) -> Finding:
    number, name = connection.execute(
        text("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
    ).one()
    if number < OLDEST_POSTGRESQL:
        return Finding("database", Standing.WRONG, f"It is PostgreSQL {name}; 15 or newer is needed.")
    return Finding("database", Standing.FINE, f"It is PostgreSQL {name}.")


def _user(connection: Connection) -> Finding:
    found = connection.execute(
        text("SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
    ).one()
    if found.rolsuper or found.rolbypassrls:
        passes = "is a superuser" if found.rolsuper else "has BYPASSRLS"
        return Finding(
            "database user", Standing.WRONG, f"{found.rolname} {passes} and passes row level security by; take another."
        )
    return Finding("database user", Standing.FINE, f"{found.rolname} is bound by row level security.")


def _roles(connection: Connection) -> Finding:
    wanted = (TENANT_ROLE, STAFF_ROLE, SYSTEM_ROLE)
    can = connection.scalars(
        text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:wanted) AND pg_has_role(current_user, oid, 'MEMBER')"),
        {"wanted": list(wanted)},
    ).all()
    if missing := sorted(set(wanted) - set(can)):
        return Finding("database roles", Standing.WRONG, f"{', '.join(missing)} cannot be taken; run `flask db roles`.")
    return Finding("database roles", Standing.FINE, "All three can be taken.")


def _migrations(connection: Connection) -> Finding:
    script = ScriptDirectory.from_config(_alembic())
    head = script.get_current_head()
    current = MigrationContext.configure(connection).get_current_revision()
    if current == head:
        return Finding("migrations", Standing.FINE, f"The tables are at {head}, as this release wants them.")
    return Finding(
        "migrations",
        Standing.WRONG,
        f"The tables are at {current or 'nothing'}, this release wants {head}; run `flask db upgrade`.",
    )


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", current_app.extensions["migrate"].directory)
    return config


def _redis(settings: Settings, now: Callable[[], datetime]) -> Iterator[Finding]:
    try:
        connection: Any = connect(settings.redis_url)
        seconds, microseconds = connection.time()
        yield _clock("Redis clock", datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds), now())
        policy = connection.info("memory").get("maxmemory_policy", "noeviction")
    except RedisError as error:
        yield Finding("Redis", Standing.WRONG, f"It does not answer: {error}")
        return
    if policy != "noeviction":
        says = f"maxmemory-policy is {policy}; with noeviction no wake-up is thrown away unseen."
        yield Finding("Redis", Standing.WRONG if settings.is_production else Standing.ODD, says)
    else:
        yield Finding("Redis", Standing.FINE, "It answers, and throws nothing away (noeviction).")


def _clock(subject: str, theirs: datetime, ours: datetime) -> Finding:
    apart = abs(theirs - ours)
    says = f"It is {apart.total_seconds():.1f} s from this machine's."
    if apart > LARGEST_SKEW:
        return Finding(subject, Standing.WRONG, f"{says} Webhooks would be refused; set the clocks by NTP.")
    if apart > NOTICED_SKEW:
        return Finding(subject, Standing.ODD, f"{says} Set the clocks by NTP.")
    return Finding(subject, Standing.FINE, says)


def _stripe(settings: Settings) -> Finding:
    try:
        account = gateway.read_account()
    except gateway.Refused as refusal:
        return Finding("Stripe", Standing.WRONG, str(refusal))
    except gateway.GatewayError as error:
        return Finding("Stripe", Standing.ODD, f"{error} Invoices are finalized all the same, and sent once it does.")
    if (ours := _account_seen_first(account["id"])) not in (None, account["id"]):
        return Finding(
            "Stripe",
            Standing.WRONG,
            f"The key belongs to {account['id']}, our invoices went to {ours}. Take the old key, or, to leave that"
            " account for good, `flask stripe forget-account`.",
        )
    mode = "a live key" if gateway.is_live() else "a test key"
    if settings.stripe_api_base:
        return Finding("Stripe", Standing.ODD, f"Invoices go to the sandbox at {settings.stripe_api_base}.")
    if not account.get("charges_enabled", True):
        return Finding("Stripe", Standing.ODD, f"The account {account['id']} cannot take payments yet.")
    return Finding("Stripe", Standing.FINE, f"It takes our key, {mode} of {account['id']}.")


def _account_seen_first(account_id: str) -> str | None:
    """The account that our invoices go to; None if the database cannot say, which is a finding of its own."""
    act_as(SYSTEM)
    try:
        with transaction():
            return remember_account(account_id).account_id
    except DBAPIError:
        return None


def _mail(settings: Settings) -> Finding:
    if settings.smtp_url is None or settings.mail_from is None:
        return Finding("mail", Standing.ODD, "SMTP_URL is not set: mails are written and kept, and never sent.")
    try:
        mail.greet(mail.server_of(settings.smtp_url), mail.domain_of(settings.mail_from))
    except mail.NotNow as error:
        return Finding("mail", Standing.WRONG, str(error))
    return Finding("mail", Standing.FINE, "The mail server greets us and takes our user name.")
