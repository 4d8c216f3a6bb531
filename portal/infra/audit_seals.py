"""The chain over the audit log: each seal is the hash of an entry and of the seal before it.

Entries are sealed a moment after their transaction, by one process at a time, so that no change waits for another
one's entry. Whoever keeps a copy of the last seal (it is in every export) notices if anything before it was changed,
taken out, put in or moved, whoever did it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, func, select, text
from sqlalchemy.orm import Mapped, mapped_column

from portal.core.keys import canonical_json
from portal.infra.audit import AuditEntry
from portal.infra.db import Model, db, transaction

MOST_AT_ONCE = 5_000
# Ids are given at the start of a change and seen at its end: of so many before the last sealed one some may be open.
OVERTAKEN = 100_000
BEFORE_THE_FIRST = bytes(32)
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('audit seals'))")
FIELDS = (
    *("id", "at", "organization_id", "actor_kind", "actor_id", "actor_name", "action", "subject_kind", "subject_id"),
    *("before", "after", "reason", "request_id", "address"),
)


class AuditSeal(Model):
    """One link: the entry at a position, and SHA-256 of the seal before it and of the entry's canonical JSON."""

    __tablename__ = "audit_seals"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("audit_entries.id"), unique=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry with its place in the chain, as exports hold it."""

    position: int
    entry: Mapping[str, Any]
    sha256: bytes

    def written(self) -> str:
        """One line of an export."""
        return json.dumps({"position": self.position, "sha256": self.sha256.hex(), "entry": self.entry})


def document_of(entry: AuditEntry) -> dict[str, Any]:
    """An entry as the chain covers it."""
    found = {name: getattr(entry, name) for name in FIELDS}
    return {**found, "at": entry.at.astimezone(UTC).isoformat()}


def seal_of(before: bytes, entry: Mapping[str, Any]) -> bytes:
    """The seal of an entry behind another one: SHA-256 of the 32 bytes of that, and the entry's canonical JSON."""
    return hashlib.sha256(before + canonical_json(entry).encode()).digest()


def seal_by_clock() -> int:
    """Seal what is not yet, oldest first, up to 5,000 entries; returns how many. Idempotent; two at once take turns."""
    with transaction() as session:
        session.execute(_ONE_AT_A_TIME)
        last = session.scalars(select(AuditSeal).order_by(AuditSeal.position.desc()).limit(1)).one_or_none()
        sealed, before = (last.position, last.sha256) if last else (0, BEFORE_THE_FIRST)
        highest = session.scalar(select(func.max(AuditSeal.entry_id))) or 0
        unsealed = session.scalars(
            select(AuditEntry)
            .outerjoin(AuditSeal, AuditSeal.entry_id == AuditEntry.id)
            .where(AuditEntry.id > highest - OVERTAKEN, AuditSeal.entry_id.is_(None))
            .order_by(AuditEntry.id)
            .limit(MOST_AT_ONCE)
        ).all()
        for position, entry in enumerate(unsealed, sealed + 1):
            before = seal_of(before, document_of(entry))
            session.add(AuditSeal(position=position, entry_id=entry.id, sha256=before))
    return len(unsealed)


def links() -> Iterator[Link]:
    """The chain as it stands, read in pieces."""
    query = select(AuditSeal, AuditEntry).outerjoin(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
    for seal, entry in db.session.execute(query.order_by(AuditSeal.position), execution_options={"yield_per": 1000}):
        yield Link(seal.position, document_of(entry) if entry else {}, seal.sha256)


def breaks(chain: Iterable[Link]) -> Iterator[str]:
    """What is wrong with a chain, in sentences; nothing if every seal is right."""
    before, expected = BEFORE_THE_FIRST, 1
    for link in chain:
        if link.position != expected:
            yield f"Seal {expected} is missing."
        if not link.entry:
            yield f"The entry of seal {link.position} is gone."
        elif link.position == expected and seal_of(before, link.entry) != link.sha256:
            yield f"Entry {link.entry['id']} (seal {link.position}) is not what was sealed, or not in its place."
        before, expected = link.sha256, link.position + 1


def late_unsealed() -> Iterator[str]:
    """Entries that nobody has sealed for ten minutes: the clock is gone, or somebody took their seals away.

    By the database's own time, as entries have it.
    """
    query = text("""
        SELECT e.id FROM audit_entries AS e LEFT JOIN audit_seals AS s ON s.entry_id = e.id
        WHERE s.entry_id IS NULL AND e.at < clock_timestamp() - interval '10 minutes'
        ORDER BY e.id
    """)
    for entry_id in db.session.scalars(query):
        yield f"Entry {entry_id} has no seal."
