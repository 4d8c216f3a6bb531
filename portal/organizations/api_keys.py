"""API keys for machines: shown once, kept as a hash, found by it."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import or_, select, update

from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.keys import is_key_text, key_text, secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.audit import Actor
from portal.infra.db import db
from portal.organizations.key_letters import tell_of_key
from portal.organizations.letters import LetterKind
from portal.organizations.models import ApiKey, Organization

SCOPES = ("ingest", "read")
# What only keys of the platform can be given.
PLATFORM_SCOPES = (*SCOPES, "organizations", "items")
LONGEST_NAME = 100
MOST_KEYS = 50
# Long enough to bring the new key to every machine while the old one still works.
ROTATION_OVERLAP = timedelta(hours=24)
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
    expires_at: datetime | None = None,
    secret: str | None = None,
    now: datetime | None = None,
) -> str:
    """Make a key and return its text, the only time that it can be seen; those who answer for it are told by mail.

    A `secret` (of at least 128 random bits) is given only by the seed, so that its keys stay the same; it gives no
    `now`, for nobody is to be told.
    """
    text = key_text("live" if live else "test", secret or secrets.token_urlsafe(32))
    key = ApiKey(
        name=name,
        organization_id=organization_id,
        prefix=text[:_SHOWN_CHARACTERS],
        secret_sha256=secret_hash(text),
        scopes=list(scopes),
        created_by_id=created_by_id,
        expires_at=expires_at,
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
    if now is not None:
        tell_of_key(LetterKind.API_KEY_ADDED, key, now=now)
    return text


def keys_of(organization_id: int) -> list[ApiKey]:
    """All keys of an organization, the newest first; those that ended stay listed."""
    return list(
        db.session.scalars(select(ApiKey).where(ApiKey.organization_id == organization_id).order_by(ApiKey.id.desc()))
    )


def issue_key(
    organization_id: int,
    *,
    name: str,
    scopes: tuple[str, ...],
    live: bool,
    created_by_id: int,
    expires_at: datetime | None,
    now: datetime,
) -> str:
    """Make a key for one's own organization; what `create_key` does, within limits. Raises InvalidInput.

    Not idempotent: the text is shown once, so a form sent twice makes two keys, and both are listed.
    """
    if not name.strip() or len(name) > LONGEST_NAME:
        raise InvalidInput(Said("Name the key, in at most %(longest)s characters.", longest=LONGEST_NAME), field="name")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InvalidInput("Choose what the key may do.", field="scopes")
    # Held until the commit, so that two forms at once cannot both be the last that fits.
    db.session.execute(select(Organization.id).where(Organization.id == organization_id).with_for_update())
    if sum(is_usable(each, now=now) for each in keys_of(organization_id)) >= MOST_KEYS:
        raise InvalidInput(
            Said("An organization has at most %(most)s keys that work. Revoke one first.", most=MOST_KEYS), field="name"
        )
    return create_key(
        name=name.strip(),
        organization_id=organization_id,
        scopes=scopes,
        live=live,
        created_by_id=created_by_id,
        expires_at=expires_at,
        now=now,
    )


def rotate_key(organization_id: int, public_id: UUID, *, created_by_id: int, now: datetime) -> str:
    """A new key like this one, which itself works for 24 more hours. Raises NotFound, InvalidTransition.

    A key that is ending already is not rotated again, so a form sent twice makes one new key.
    """
    key = _locked(organization_id, public_id)
    ends_at = now + ROTATION_OVERLAP
    if not is_usable(key, now=now) or (key.expires_at is not None and key.expires_at <= ends_at):
        raise InvalidTransition("This key has ended or ends within a day. Make a new key instead.")
    text = create_key(
        name=key.name,
        organization_id=organization_id,
        scopes=tuple(key.scopes),
        live=key.prefix.startswith("blk_live"),
        created_by_id=created_by_id,
        expires_at=key.expires_at,
        now=now,
    )
    before = key.expires_at
    key.expires_at = ends_at
    _record("rotated API key", key, before={"expires_at": _iso(before)}, after={"expires_at": _iso(ends_at)})
    return text


def revoke_key(organization_id: int, public_id: UUID, *, now: datetime) -> None:
    """End a key for good; the API refuses it within a second. Idempotent. Raises NotFound."""
    key = _locked(organization_id, public_id)
    if key.revoked_at is None:
        key.revoked_at = now
        _record("revoked API key", key, before={"revoked_at": None}, after={"revoked_at": _iso(now)})
        tell_of_key(LetterKind.API_KEY_REMOVED, key, now=now)


def is_usable(key: ApiKey, *, now: datetime) -> bool:
    """Whether the API takes this key."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def _locked(organization_id: int, public_id: UUID) -> ApiKey:
    key: ApiKey | None = db.session.scalar(
        select(ApiKey)
        .where(ApiKey.public_id == public_id, ApiKey.organization_id == organization_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if key is None:
        raise NotFound("There is no such key.")
    return key


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _record(action: str, key: ApiKey, *, before: dict[str, str | None], after: dict[str, str | None]) -> None:
    audit.record(
        action,
        subject="api key",
        subject_id=key.id,
        organization_id=key.organization_id,
        before=before,
        after=after,
    )


def holder_of(text: str, *, now: datetime) -> KeyHolder | None:
    """Whom this key speaks for; None if it is unknown, revoked or expired, or its organization is not active.

    A text whose checksum is wrong is no key, and the database is not asked. Whoever remembers the answer
    does so for a second at most, for a revoked key has to stop everywhere.
    """
    if not is_key_text(text):
        return None
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
