"""Who did what to which record, before and after; written in the transaction of the change itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import g, has_request_context, request
from sqlalchemy import Index, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from portal.infra.db import Model, Numbered, db


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
    actor: Actor = g.get("actor") or Actor("system", "system")
    # Without RETURNING: a tenant may add entries and may not read them.
    db.session.execute(
        AuditEntry.__table__.insert()  # type: ignore[attr-defined]
        .inline()
        .values(
            organization_id=organization_id,
            actor_kind=actor.kind,
            actor_id=actor.id,
            actor_name=actor.name,
            action=action,
            subject_kind=subject,
            subject_id=subject_id,
            before=before,
            after=after,
            reason=reason,
            request_id=g.get("request_id"),
            address=request.remote_addr if has_request_context() else None,
        )
    )
