"""Reads of the audit log: what happened in an organization, and to one record."""

from sqlalchemy import select

from portal.infra.audit import AuditEntry
from portal.infra.db import db


def entries_in(organization_id: int, *, limit: int | None = 20) -> list[AuditEntry]:
    """The latest entries of an organization, newest first; all of them without a limit, for files."""
    query = select(AuditEntry).where(AuditEntry.organization_id == organization_id)
    return list(db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))


def entries_about(subject: str, subject_id: int, *, limit: int = 50) -> list[AuditEntry]:
    """The latest entries about one record, newest first."""
    query = select(AuditEntry).where(AuditEntry.subject_kind == subject, AuditEntry.subject_id == subject_id)
    return list(db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))
