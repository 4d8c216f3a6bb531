"""Reads of the audit log: what happened in an organization, and to one record."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from portal.infra.audit import AuditEntry
from portal.infra.blocks import blocks_of
from portal.infra.db import db


def entries_in(organization_id: int, *, limit: int = 20) -> list[AuditEntry]:
    """The latest entries of an organization, newest first."""
    query = select(AuditEntry).where(AuditEntry.organization_id == organization_id)
    return list(db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))


def entries_about(subject: str, subject_id: int, *, limit: int = 50) -> list[AuditEntry]:
    """The latest entries about one record, newest first."""
    query = select(AuditEntry).where(AuditEntry.subject_kind == subject, AuditEntry.subject_id == subject_id)
    return list(db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are asked for: of an organization, by somebody, of an action or a request; "" and None are all."""

    organization_id: int | None = None
    who: str = ""
    action: str = ""
    request_id: str = ""


def all_entries_wanted(wanted: Wanted) -> Iterator[Sequence[AuditEntry]]:
    """The same without a limit, for files: block after block."""

    def read(last: AuditEntry | None, limit: int) -> list[AuditEntry]:
        return entries_wanted(wanted, before=last.id if last else None, limit=limit)

    return blocks_of(read)


def entries_wanted(wanted: Wanted, *, before: int | None, limit: int) -> list[AuditEntry]:
    """Entries whose actor's name and action hold these words, in any case; newest first, from below an id on."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if wanted.organization_id is not None:
        query = query.where(AuditEntry.organization_id == wanted.organization_id)
    if wanted.who:
        query = query.where(AuditEntry.actor_name.icontains(wanted.who, autoescape=True))
    if wanted.action:
        query = query.where(AuditEntry.action.icontains(wanted.action, autoescape=True))
    if wanted.request_id:
        query = query.where(AuditEntry.request_id == wanted.request_id)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return list(db.session.scalars(query))
