"""Passkeys (WebAuthn): a device that stands in for the code of an app, for people who have two factors on.

The device signs a challenge that is kept here as a hash, for one person or browser, one purpose and one use, and signs
too for which address; so neither a replay nor a page elsewhere gets anything. The device itself asks for a finger or a
PIN.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, select, true
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from portal.core.errors import InvalidInput, NotFound
from portal.core.keys import secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.letters import LetterKind, ask_for_letter, lock_user
from portal.organizations.models import Passkey, PasskeyChallenge, SecondFactor, User

ANSWER_WITHIN = timedelta(minutes=5)
MOST_PASSKEYS = 20
Purpose = Literal["register", "use", "sign in"]
# What comes from a browser may be any bytes at all.
_NOT_TAKEN = (WebAuthnException, ValueError, KeyError, TypeError)
_WRONG = Said("This passkey was not taken. Begin again, or use a code.")


@dataclass(frozen=True, slots=True)
class Site:
    """For which address devices sign: the origin, its host, and the name that devices show."""

    origin: str
    host: str
    name: str


def site_of(portal_url: str, name: str) -> Site:
    """The site of a portal's address."""
    parts = urlsplit(portal_url)
    return Site(f"{parts.scheme}://{parts.netloc}", parts.hostname or "", name)


def passkeys_of(user_id: int) -> list[Passkey]:
    """A person's passkeys, the oldest first."""
    return list(db.session.scalars(select(Passkey).where(Passkey.user_id == user_id).order_by(Passkey.id)))


def begin_registering(user_id: int, *, site: Site, now: datetime) -> str:
    """What to ask a device for a new passkey, as JSON for the browser. Raises InvalidInput."""
    user = lock_user(user_id)
    _require_room(user)
    options = generate_registration_options(
        rp_id=site.host,
        rp_name=site.name,
        user_id=user.public_id.bytes,
        user_name=user.email,
        user_display_name=user.name,
        exclude_credentials=_descriptors(user_id),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
    )
    _keep_challenge(options.challenge, "register", user_id=user_id, now=now)
    return options_to_json(options)


def register(user_id: int, name: str, credential: str, *, site: Site, now: datetime) -> None:
    """Keep the public half of a new passkey. Raises InvalidInput (field "name" or "credential")."""
    user, name = lock_user(user_id), name.strip()
    _require_room(user)
    if not name:
        raise InvalidInput("Give it a name.", field="name")
    challenge = _take_challenge(credential, "register", user_id=user_id, now=now)
    try:
        verified = verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except _NOT_TAKEN as error:
        raise InvalidInput(_WRONG, field="credential") from error
    if db.session.scalar(select(exists().where(Passkey.credential_id == verified.credential_id))):
        raise InvalidInput("This passkey is registered already.", field="credential")
    passkey = Passkey(
        user_id=user_id,
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        name=name,
        created_at=now,
    )
    db.session.add(passkey)
    db.session.flush()
    ask_for_letter(LetterKind.PASSKEY_ADDED, user, user.email, now=now, about=name)
    audit.record("added a passkey", subject="user", subject_id=user_id, organization_id=None, after={"name": name})


def begin_using(user_id: int, *, site: Site, now: datetime) -> str:
    """What to ask a person's devices, as JSON for the browser. Raises InvalidInput for somebody without passkeys."""
    known = _descriptors(user_id)
    if not known:
        raise InvalidInput("There is no passkey for this account. Use a code.", field="code")
    options = generate_authentication_options(
        rp_id=site.host, allow_credentials=known, user_verification=UserVerificationRequirement.REQUIRED
    )
    _keep_challenge(options.challenge, "use", user_id=user_id, now=now)
    return options_to_json(options)


def check_passkey(user_id: int, credential: str, *, site: Site, now: datetime) -> None:
    """Take what a passkey has signed, once. Raises InvalidInput (field "credential").

    A device that counts its signatures must count on: one that falls back may have been copied, and is refused.
    """
    challenge = _take_challenge(credential, "use", user_id=user_id, now=now)
    _check(credential, challenge, Passkey.user_id == user_id, site=site, now=now)


def begin_signing_in(token: str, *, site: Site, now: datetime) -> str:
    """What to ask a device whose person nobody knows yet, as JSON for the browser, which keeps `token` in a cookie."""
    options = generate_authentication_options(rp_id=site.host, user_verification=UserVerificationRequirement.REQUIRED)
    _keep_challenge(options.challenge, "sign in", token=token, now=now)
    return options_to_json(options)


def check_signing_in(token: str, credential: str, *, site: Site, now: datetime) -> int:
    """Whose passkey has signed what this browser was asked, once. Raises InvalidInput (field "credential").

    The device has asked for a finger, a face or a PIN, so it is two factors in one.
    """
    challenge = _take_challenge(credential, "sign in", token=token, now=now)
    return _check(credential, challenge, true(), site=site, now=now)


def _check(credential: str, challenge: bytes, whose: ColumnElement[bool], *, site: Site, now: datetime) -> int:
    """Whose passkey it is that has signed."""
    passkey = db.session.scalar(
        select(Passkey)
        .where(whose, Passkey.credential_id == _bytes(_parsed(credential).get("id")))
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if passkey is None:
        raise InvalidInput(_WRONG, field="credential")
    try:
        verified = verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except _NOT_TAKEN as error:
        raise InvalidInput(_WRONG, field="credential") from error
    passkey.sign_count, passkey.used_at = verified.new_sign_count, now
    audit.record(
        "used a passkey", subject="user", subject_id=passkey.user_id, organization_id=None, after={"name": passkey.name}
    )
    return passkey.user_id


def remove_passkey(user_id: int, public_id: UUID, *, now: datetime) -> None:
    """Forget a passkey of one's own. Raises NotFound for any other."""
    user = lock_user(user_id)
    name = db.session.scalar(
        delete(Passkey).where(Passkey.user_id == user_id, Passkey.public_id == public_id).returning(Passkey.name)
    )
    if name is None:
        raise NotFound("There is no such passkey.")
    ask_for_letter(LetterKind.PASSKEY_REMOVED, user, user.email, now=now, about=name)
    audit.record("removed a passkey", subject="user", subject_id=user_id, organization_id=None, before={"name": name})


def forget_old_challenges(*, now: datetime) -> None:
    """Drop those that nobody answered; run by the clock."""
    db.session.execute(delete(PasskeyChallenge).where(PasskeyChallenge.expires_at <= now))


def _require_room(user: User) -> None:
    is_on = exists().where(SecondFactor.user_id == user.id, SecondFactor.confirmed_at.is_not(None))
    if not db.session.scalar(select(is_on)):
        raise InvalidInput(
            "Set up two factors first: their recovery codes let you in without the device.", field="name"
        )
    count = db.session.scalar(select(func.count()).select_from(Passkey).where(Passkey.user_id == user.id)) or 0
    if count >= MOST_PASSKEYS:
        raise InvalidInput(
            Said("There are %(most)s passkeys already. Remove one first.", most=MOST_PASSKEYS), field="name"
        )


def _descriptors(user_id: int) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=each.credential_id) for each in passkeys_of(user_id)]


def _keep_challenge(
    challenge: bytes, purpose: Purpose, *, user_id: int | None = None, token: str | None = None, now: datetime
) -> None:
    kept = PasskeyChallenge(
        challenge_sha256=secret_hash(bytes_to_base64url(challenge)),
        user_id=user_id,
        token_sha256=None if token is None else secret_hash(token),
        purpose=purpose,
        expires_at=now + ANSWER_WITHIN,
    )
    db.session.add(kept)


def _take_challenge(
    credential: str, purpose: Purpose, *, user_id: int | None = None, token: str | None = None, now: datetime
) -> bytes:
    """The challenge that the device says it signed, if this person or browser was given it for this; it ends here."""
    response = _parsed(credential).get("response")
    signed = _parsed(_bytes(response.get("clientDataJSON") if isinstance(response, dict) else None))
    challenge = signed.get("challenge")
    if not isinstance(challenge, str):
        raise InvalidInput(_WRONG, field="credential")
    taken = db.session.scalar(
        delete(PasskeyChallenge)
        .where(
            PasskeyChallenge.challenge_sha256 == secret_hash(challenge),
            PasskeyChallenge.user_id.is_not_distinct_from(user_id),
            PasskeyChallenge.token_sha256.is_not_distinct_from(None if token is None else secret_hash(token)),
            PasskeyChallenge.purpose == purpose,
            PasskeyChallenge.expires_at > now,
        )
        .returning(PasskeyChallenge.challenge_sha256)
    )
    if taken is None:
        raise InvalidInput("This took too long, or was used already. Begin again, or use a code.", field="credential")
    return base64url_to_bytes(challenge)


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(_WRONG, field="credential") from error
    if not isinstance(found, dict):
        raise InvalidInput(_WRONG, field="credential")
    return found


def _bytes(text: object) -> bytes:
    try:
        return base64url_to_bytes(str(text))
    except ValueError as error:
        raise InvalidInput(_WRONG, field="credential") from error
