"""The database: base class, naming convention, the role of a transaction, and the one place that commits.

Every transaction acts as somebody: a tenant (sees one organization), staff, or the system (workers, clock, CLI).
The role is set inside the transaction, so row level security holds whatever a query forgets, one DATABASE_URL is
enough, and a pooler in transaction mode works.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
from flask import g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Engine,
    Identity,
    Index,
    MetaData,
    Numeric,
    Text,
    Uuid,
    any_,
    event,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, Session, mapped_column, registry

from portal.infra.ids import uuid7

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
Moment = DateTime(timezone=True)
Quantity = Numeric(38, 12)


class Base(DeclarativeBase):
    """All tables: BIGINT keys inside, aware moments, constraints named after a convention."""

    registry = registry(
        metadata=MetaData(naming_convention=NAMING),
        type_annotation_map={datetime: Moment, int: BigInteger, str: Text, UUID: Uuid},
    )


class Numbered:
    """A table with a BIGINT key inside."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=False), primary_key=True)


class Public(Numbered):
    """A table whose rows have an address: a UUIDv7 for URLs and the API."""

    public_id: Mapped[UUID] = mapped_column(Uuid, unique=True, default=uuid7)


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
if TYPE_CHECKING:
    Model = Base
else:
    Model = db.Model


def words_index(name: str, *columns: str) -> Index:
    """An index of trigrams: finds any part of these texts, in any case."""
    return Index(name, *columns, postgresql_using="gin", postgresql_ops=dict.fromkeys(columns, "gin_trgm_ops"))


# A connection that was used so lately is not asked whether it still stands.
TRUSTED_FOR_NS = 1_000_000_000
TENANT_ROLE, STAFF_ROLE, SYSTEM_ROLE = "portal_tenant", "portal_staff", "portal_system"


@dataclass(frozen=True, slots=True)
class Scope:
    """As whom a transaction acts. Only a tenant has an organization; the others see all of them."""

    role: str
    organization_id: int | None = None
    statement_timeout_ms: int = 15_000


SYSTEM = Scope(SYSTEM_ROLE, statement_timeout_ms=600_000)
STAFF = Scope(STAFF_ROLE)


def tenant(organization_id: int) -> Scope:
    """The scope of one organization: rows of any other do not exist in it."""
    return Scope(TENANT_ROLE, organization_id)


def act_as(scope: Scope) -> None:
    """Set the scope for the rest of this request, command or job."""
    _end_reading()
    g.scope = scope


@contextmanager
def acting_as(scope: Scope) -> Iterator[None]:
    """Set the scope for a block, then take back the one before."""
    before = g.get("scope")
    act_as(scope)
    try:
        yield
    finally:
        _end_reading()
        g.scope = before


def _end_reading() -> None:
    """End a transaction that has only read, because a role belongs to a transaction."""
    session = db.session()
    assert not session.info.get("in_transaction_block"), "a transaction() block keeps its scope"
    assert not any((session.new, session.dirty, session.deleted)), "unsaved changes at a change of scope"
    if session.in_transaction():
        session.commit()


# Moments come back in the session's zone, and calendar periods are counted in UTC.
_TAKE_ROLE = """
    SELECT set_config('role', %s, true), set_config('app.organization_id', %s, true),
           set_config('statement_timeout', %s, true), set_config('lock_timeout', '5000', true),
           set_config('idle_in_transaction_session_timeout', '60000', true), set_config('TimeZone', 'UTC', true)
"""


@event.listens_for(Session, "after_begin")
def _take_role(session: Session, _transaction: Any, connection: Any) -> None:
    scope: Scope | None = g.get("scope")
    if scope is None:
        raise RuntimeError("No scope: say as whom this transaction acts (infra.db.act_as).")
    organization_id = "" if scope.organization_id is None else str(scope.organization_id)
    # Every transaction begins so: the driver alone takes a third of the time.
    with connection.connection.cursor() as cursor:
        cursor.execute(_TAKE_ROLE, (scope.role, organization_id, str(scope.statement_timeout_ms)))


def among(column: InstrumentedAttribute[Any] | ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Whether a column is one of many values: one parameter for them all, where IN has one for each."""
    return column == any_(literal(list(values), ARRAY(column.type)))


@contextmanager
def transaction() -> Iterator[Session]:
    """Commit once at the end or roll back; wake-ups asked for inside are sent only after the commit.

    The only place that commits. Blocks do not nest: a verb that needs a transaction is given one by its edge.
    """
    session = db.session()
    assert not session.info.get("in_transaction_block"), "transaction() blocks do not nest"
    session.info["in_transaction_block"] = True
    session.info["after_commit"] = []
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise
    finally:
        session.info["in_transaction_block"] = False
        after_commit: list[Callable[[], None]] = session.info.pop("after_commit")
    for action in after_commit:
        action()


def ping_idle_connections(engine: Engine) -> None:
    """Ask a pooled connection that has lain idle whether it still stands; one in use a moment ago is taken as it is.

    A connection that is gone is replaced, with all others that are as old (a restart of the server took them all).
    """

    @event.listens_for(engine, "checkin")
    def _note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic_ns()

    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic_ns() - idle_since < TRUSTED_FOR_NS:
            return
        try:
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            raise DisconnectionError from error


def after_commit(action: Callable[[], None]) -> None:
    """Do something outside the database once the current transaction has committed; never if it rolls back."""
    actions: list[Callable[[], None]] = db.session().info["after_commit"]
    actions.append(action)
