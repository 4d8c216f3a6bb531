"""Confirming in the middle of a session that it is still the same person: before what cannot be taken back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import update

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.letters import lock_user
from portal.organizations.models import UserSession
from portal.organizations.passkeys import Site, check_passkey
from portal.organizations.passwords import password_matches
from portal.organizations.sessions import Identity
from portal.organizations.two_factors import check_code

CONFIRMED_FOR = timedelta(minutes=10)


def is_confirmed(identity: Identity, *, now: datetime) -> bool:
    """Whether this session's person has shown who they are within the last 10 minutes; signing in counts."""
    return identity.confirmed_at is not None and identity.confirmed_at > now - CONFIRMED_FOR


def confirm(identity: Identity, token: str, typed: str, *, keys: Sequence[str], now: datetime) -> None:
    """Remember that it is them, for the session of `token`: a code where there are two factors, else the password.

    Raises InvalidInput (field "confirm").
    """
    user = lock_user(identity.user_id)
    if identity.has_two_factors:
        try:
            check_code(user.id, typed, keys=keys, now=now)
        except InvalidInput as refusal:
            raise InvalidInput(refusal.sentence, field="confirm") from refusal
    elif not password_matches(user.password_hash, typed):
        raise InvalidInput("This is not your password.", field="confirm")
    _remember(identity, token, now)


def confirm_by_passkey(identity: Identity, token: str, credential: str, *, site: Site, now: datetime) -> None:
    """The same for what a passkey of theirs has signed. Raises InvalidInput (field "confirm")."""
    lock_user(identity.user_id)
    try:
        check_passkey(identity.user_id, credential, site=site, now=now)
    except InvalidInput as refusal:
        raise InvalidInput(refusal.sentence, field="confirm") from refusal
    _remember(identity, token, now)


def _remember(identity: Identity, token: str, now: datetime) -> None:
    db.session.execute(
        update(UserSession).where(UserSession.token_sha256 == secret_hash(token)).values(confirmed_at=now)
    )
    audit.record("confirmed that it is them", subject="user", subject_id=identity.user_id, organization_id=None)
