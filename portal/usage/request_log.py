"""The log of the last requests that brought usage: what came of each, and the first reasons; never what was sent.

It is for whoever connects a source and asks why something is missing. Exactly-once does not rest on it.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Index, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Integer

from portal.core.keys import canonical_json
from portal.infra.db import Model, Numbered, db, transaction
from portal.organizations.models import ApiKey
from portal.usage.fields import LONGEST_TEXT, storable

KEPT_PER_KEY = 1_000
MOST_REJECTIONS = 5
log = logging.getLogger(__name__)


class IngestRequest(Numbered, Model):
    """One request to store events. No foreign keys: checking them would lock the key's row in every request."""

    __tablename__ = "ingest_requests"
    __table_args__ = (
        Index("ix_ingest_requests_organization_id_at", "organization_id", "at"),
        Index("ix_ingest_requests_api_key_id_at", "api_key_id", "at"),
    )

    organization_id: Mapped[int | None] = mapped_column(BigInteger)
    api_key_id: Mapped[int]
    at: Mapped[datetime]
    request_id: Mapped[str]
    status: Mapped[int] = mapped_column(Integer)
    accepted: Mapped[int] = mapped_column(Integer)
    duplicate: Mapped[int] = mapped_column(Integer)
    conflict: Mapped[int] = mapped_column(Integer)
    rejected: Mapped[int] = mapped_column(Integer)
    bytes: Mapped[int]
    format: Mapped[str]
    rejections: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRequest:
    """One line of the log. Refused as a whole: no counts, and one rejection without an index."""

    at: datetime
    request_id: str
    key_name: str
    key_prefix: str
    status: int
    accepted: int
    duplicate: int
    conflict: int
    rejected: int
    bytes: int
    format: str
    rejections: Sequence[Mapping[str, Any]]


_INSERT = """
    INSERT INTO ingest_requests (organization_id, api_key_id, at, request_id, status, accepted, duplicate, conflict,
                                 rejected, bytes, format, rejections)
    VALUES (%(organization_id)s, %(api_key_id)s, %(at)s, %(request_id)s, %(status)s, %(accepted)s, %(duplicate)s,
            %(conflict)s, %(rejected)s, %(bytes)s, %(format)s, %(rejections)s)
"""


def line_of(
    *,
    organization_id: int | None,
    api_key_id: int,
    at: datetime,
    request_id: str,
    status: int,
    counts: Mapping[str, int],
    bytes_sent: int,
    sent_as: str,
    rejections: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """One line of the log, as it is written."""
    return {
        "organization_id": organization_id,
        "api_key_id": api_key_id,
        "at": at,
        "request_id": request_id,
        "status": status,
        **{outcome: counts.get(outcome, 0) for outcome in ("accepted", "duplicate", "conflict", "rejected")},
        "bytes": bytes_sent,
        "format": sent_as,
        "rejections": canonical_json([_storable(rejection) for rejection in rejections[:MOST_REJECTIONS]]),
    }


def log_request(line: Mapping[str, Any]) -> None:
    """Add one line in the current transaction: that of the events."""
    db.session.connection().exec_driver_sql(_INSERT, dict(line))


def log_refused(line: Mapping[str, Any]) -> None:
    """Add one line in a transaction of its own. It never fails a request: an error is a line of the portal's own log.

    The commit does not wait for the disk: a crash may take the last lines, and nothing else.
    """
    try:
        with transaction() as session:
            session.connection().exec_driver_sql("SET LOCAL synchronous_commit TO off")
            log_request(line)
    except SQLAlchemyError as error:
        log.warning("the request was not written to the ingest log", extra={"error": type(error).__name__})


def recent_requests(organization_id: int | None, limit: int) -> list[LoggedRequest]:
    """The last requests of an organization, newest first; without one, those of the platform's own keys."""
    whose = IngestRequest.organization_id
    rows = db.session.execute(
        select(IngestRequest, ApiKey.name, ApiKey.prefix)
        .join(ApiKey, ApiKey.id == IngestRequest.api_key_id)
        .where(whose.is_(None) if organization_id is None else whose == organization_id)
        .order_by(IngestRequest.at.desc(), IngestRequest.id.desc())
        .limit(limit)
    )
    return [
        LoggedRequest(
            at=line.at,
            request_id=line.request_id,
            key_name=name,
            key_prefix=prefix,
            status=line.status,
            accepted=line.accepted,
            duplicate=line.duplicate,
            conflict=line.conflict,
            rejected=line.rejected,
            bytes=line.bytes,
            format=line.format,
            rejections=line.rejections,
        )
        for line, name, prefix in rows
    ]


_TRIM = text("""
    DELETE FROM ingest_requests
    USING (
        SELECT api_keys.id AS api_key_id, greatest(:oldest, (
            SELECT line.at FROM ingest_requests AS line WHERE line.api_key_id = api_keys.id
            ORDER BY line.at DESC OFFSET :kept LIMIT 1
        )) AS first_kept
        FROM api_keys
    ) AS keys
    WHERE ingest_requests.api_key_id = keys.api_key_id AND ingest_requests.at < keys.first_kept
""")


def trim_request_log(*, now: datetime, keep_days: int) -> None:
    """Forget what is older or behind the last thousand of its key. Idempotent."""
    with transaction() as session:
        session.execute(_TRIM, {"oldest": now - timedelta(days=keep_days), "kept": KEPT_PER_KEY - 1})


def _storable(rejection: Mapping[str, Any]) -> dict[str, Any]:
    """What a sender wrote can stand in a field's name or in a sentence; a database cannot hold all of it."""
    return {name: _shortened(value) if isinstance(value, str) else value for name, value in rejection.items()}


def _shortened(value: str) -> str:
    return value[:LONGEST_TEXT] if storable(value) else ascii(value)[1:-1][:LONGEST_TEXT]
