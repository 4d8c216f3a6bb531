"""Who did what to which record, before and after; written in the transaction of the change itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from flask import g, has_request_context, request
from sqlalchemy import Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.infra.db import Model, Numbered
from portal.infra.many_rows import add_rows


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody or something that acts: a user, an API key, a job, a command, or Stripe."""

    kind: str
    name: str
    id: int | None = None


class AuditEntry(Numbered, Model):
    """One state change. Runtime roles may add entries and never change or delete them."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        Index("ix_audit_entries_organization_id_id", "organization_id", "id"),
        Index("ix_audit_entries_subject_kind_subject_id", "subject_kind", "subject_id"),
        Index("ix_audit_entries_request_id", "request_id"),
    )

    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    organization_id: Mapped[int | None]
    actor_kind: Mapped[str]
    actor_id: Mapped[int | None]
    actor_name: Mapped[str]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[int | None]
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    reason: Mapped[str | None]
    request_id: Mapped[str | None]
    address: Mapped[str | None]


class Entry(NamedTuple):
    """What an entry says, but for who did it; named as the columns are."""

    action: str
    subject_kind: str
    subject_id: int | None
    organization_id: int | None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    reason: str | None = None


def record(
    action: str,
    *,
    subject: str,
    subject_id: int | None,
    organization_id: int | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Add one entry to the current transaction, with the actor of this request, command or job."""
    record_many([Entry(action, subject, subject_id, organization_id, before, after, reason)])


def record_many(entries: Sequence[Entry]) -> None:
    """Add many entries, in their order, in one statement."""
    actor: Actor = g.get("actor") or Actor("system", "system")
    by = {
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "actor_name": actor.name,
        "request_id": g.get("request_id"),
        "address": request.remote_addr if has_request_context() else None,
    }
    # Without RETURNING: a tenant may add entries and may not read them.
    add_rows(AuditEntry.__table__, [each._asdict() | by for each in entries])  # type: ignore[arg-type]
