"""API keys for machines: shown once, kept as a hash, found by it."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from portal.core.keys import secret_hash
from portal.infra import audit
from portal.infra.audit import Actor
from portal.infra.db import db
from portal.organizations.models import ApiKey, Organization

SCOPES = ("ingest", "read")
_SHOWN_CHARACTERS = 12
_USE_IS_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a key speaks for. Without an organization it is the platform, which may name any."""

    key_id: int
    name: str
    organization_id: int | None
    scopes: tuple[str, ...]

    @property
    def actor(self) -> Actor:
        """The name under which this key's changes are audited."""
        return Actor("api key", self.name, self.key_id)


def create_key(
    *,
    name: str,
    organization_id: int | None,
    scopes: tuple[str, ...],
    live: bool,
    created_by_id: int | None = None,
    secret: str | None = None,
) -> str:
    """Make a key and return its text, the only time that it can be seen.

    A `secret` (of at least 128 random bits) is given only by the seed, so that its keys stay the same.
    """
    text = f"blk_{'live' if live else 'test'}_{secret or secrets.token_urlsafe(32)}"
    key = ApiKey(
        name=name,
        organization_id=organization_id,
        prefix=text[:_SHOWN_CHARACTERS],
        secret_sha256=secret_hash(text),
        scopes=list(scopes),
        created_by_id=created_by_id,
    )
    db.session.add(key)
    db.session.flush()
    audit.record(
        "created API key",
        subject="api key",
        subject_id=key.id,
        organization_id=organization_id,
        after={"name": name, "scopes": list(scopes), "prefix": key.prefix},
    )
    return text


def holder_of(text: str, *, now: datetime) -> KeyHolder | None:
    """Whom this key speaks for; None if it is unknown, revoked or expired, or its organization is not active.

    Read from the database: whoever remembers it does so for a second at most, for a revoked key has to stop everywhere.
    """
    found = db.session.execute(
        select(ApiKey, Organization.status)
        .outerjoin(Organization, Organization.id == ApiKey.organization_id)
        .where(
            ApiKey.secret_sha256 == secret_hash(text),
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now),
        )
    ).one_or_none()
    if found is None:
        return None
    key, status = found
    if key.organization_id is not None and status != "active":
        return None
    return KeyHolder(key.id, key.name, key.organization_id, tuple(key.scopes))


def note_use(key_id: int, *, now: datetime) -> None:
    """Remember when a key was last used, to the minute: a write per request would make one hot row."""
    db.session.execute(
        update(ApiKey)
        .where(
            ApiKey.id == key_id,
            or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - _USE_IS_NOTED_EVERY),
        )
        .values(last_used_at=now)
    )
