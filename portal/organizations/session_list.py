"""The places in which a person is signed in: a list, and ending them."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update

from portal.core.errors import NotFound
from portal.core.keys import secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import UserSession

SEEN_IS_NOTED_EVERY = timedelta(minutes=1)
# The first that fits: other browsers also say Chrome and Safari, and phones also say Linux and Mac OS X.
_BROWSERS = (
    (r"Edg(e|A|iOS)?/", "Edge"),
    (r"OPR/", "Opera"),
    (r"Firefox/|FxiOS/", "Firefox"),
    (r"Chrom(e|ium)/|CriOS/", "Chrome"),
    (r"Safari/", "Safari"),
)
_SYSTEMS = (
    (r"iPhone", "iPhone"),
    (r"iPad", "iPad"),
    (r"Android", "Android"),
    (r"Windows", "Windows"),
    (r"Mac OS X", "macOS"),
    (r"CrOS", "ChromeOS"),
    (r"Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One session, in words."""

    public_id: UUID
    device: str
    address: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_this: bool


def sessions_of(user_id: int, token: str, *, now: datetime) -> list[SignedIn]:
    """Where this person is signed in now: the session of `token` first, then the one seen last."""
    this = secret_hash(token)
    rows = db.session.scalars(
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.expires_at > now)
        .order_by(UserSession.last_seen_at.desc(), UserSession.id.desc())
    )
    found = [
        SignedIn(
            each.public_id,
            device_words(each.user_agent or ""),
            each.address,
            each.created_at,
            each.last_seen_at,
            each.expires_at,
            each.token_sha256 == this,
        )
        for each in rows
    ]
    return sorted(found, key=lambda each: not each.is_this)


def end_session(user_id: int, public_id: UUID) -> None:
    """End one of this person's sessions. Raises NotFound for one that has ended, or is somebody else's."""
    ended = db.session.scalar(
        delete(UserSession)
        .where(UserSession.user_id == user_id, UserSession.public_id == public_id)
        .returning(UserSession.id)
    )
    if ended is None:
        raise NotFound("This session has ended already.")
    _note("ended a session", user_id, 1)


def end_other_sessions(user_id: int, token: str) -> int:
    """End all of this person's sessions but the one of `token`; how many there were. Idempotent."""
    ended = db.session.scalars(
        delete(UserSession)
        .where(UserSession.user_id == user_id, UserSession.token_sha256 != secret_hash(token))
        .returning(UserSession.id)
    ).all()
    if ended:
        _note("ended all other sessions", user_id, len(ended))
    return len(ended)


def note_seen(token: str, *, now: datetime) -> None:
    """Remember when a session was last used, to the minute: a write per page would be much for little."""
    db.session.execute(
        update(UserSession)
        .where(UserSession.token_sha256 == secret_hash(token), UserSession.last_seen_at < now - SEEN_IS_NOTED_EVERY)
        .values(last_seen_at=now)
    )


def device_words(user_agent: str) -> str:
    """What a browser says of itself, in two words: "Firefox on Windows". It can say what it likes."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or Said("An unknown browser")


def _first(words: tuple[tuple[str, str], ...], user_agent: str) -> str | None:
    return next((word for pattern, word in words if re.search(pattern, user_agent)), None)


def _note(action: str, user_id: int, count: int) -> None:
    audit.record(action, subject="user", subject_id=user_id, organization_id=None, after={"sessions": count})
