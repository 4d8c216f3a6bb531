"""A second factor: a secret that an app makes codes of, and recovery codes for when the app is gone.

The secret is sealed with `keys` (SECRET_KEY first, then those it replaced). Where no key opens it, no app's code is
right any more; recovery codes, which are kept only as hashes, still are.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.sql import ColumnElement

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.core.saying import Said
from portal.infra import audit
from portal.infra.db import db
from portal.infra.sealing import seal, unseal
from portal.organizations.codes import new_recovery_codes, new_secret, squeezed, step_of
from portal.organizations.letters import LetterKind, ask_for_letter, lock_user
from portal.organizations.models import Passkey, RecoveryCode, SecondFactor, User
from portal.organizations.passwords import require_password

_PURPOSE = b"second factors"
WRONG_CODE = Said("This code is not right, or was used already. Wait for the next one, or take a recovery code.")


def has_two_factors() -> ColumnElement[bool]:
    """In a query of users: whether the user has a second factor that is switched on."""
    return exists().where(SecondFactor.user_id == User.id, SecondFactor.confirmed_at.is_not(None))


def prepare(user_id: int, password: str, *, keys: Sequence[str], now: datetime) -> None:
    """Make a new secret that is not in force before `switch_on`; one that was made before and not confirmed goes.

    Raises InvalidInput for a wrong password (field "current"), or if there is a second factor already.
    """
    user = lock_user(user_id)
    require_password(user.password_hash, password)
    if _lock(user_id, is_on=True) is not None:
        raise InvalidInput("There is a second factor already. Switch it off first.", field="current")
    db.session.execute(delete(SecondFactor).where(SecondFactor.user_id == user.id))
    sealed = seal(new_secret(), keys=keys, purpose=_PURPOSE)
    db.session.add(SecondFactor(user_id=user.id, sealed_secret=sealed, created_at=now))
    db.session.flush()


def prepared_secret(user_id: int, *, keys: Sequence[str]) -> str | None:
    """The secret that waits for its first code; None if there is none."""
    factor = db.session.scalar(
        select(SecondFactor).where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_(None))
    )
    return unseal(factor.sealed_secret, keys=keys, purpose=_PURPOSE) if factor else None


def switch_on(user_id: int, code: str, *, keys: Sequence[str], now: datetime) -> list[str]:
    """Take the prepared secret into force, after a first right code; return the recovery codes, which nobody can
    read again. Raises InvalidInput (field "code").
    """
    user = lock_user(user_id)
    factor = _lock(user_id, is_on=False)
    if factor is None or not _takes_app_code(factor, code, keys=keys, now=now):
        raise InvalidInput("This code is not right. Check the clock of your phone, and try the next one.", field="code")
    factor.confirmed_at = now
    ask_for_letter(LetterKind.TWO_FACTORS_ON, user, user.email, now=now)
    audit.record("switched two factors on", subject="user", subject_id=user.id, organization_id=None)
    return _replace_recovery_codes(user)


def check_code(user_id: int, code: str, *, keys: Sequence[str], now: datetime) -> None:
    """Use up one code, of the app or for recovery; no code is taken twice. Raises InvalidInput (field "code")."""
    factor = _lock(user_id, is_on=True)
    if factor is not None and _takes_app_code(factor, code, keys=keys, now=now):
        return
    used = db.session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.user_id == user_id,
            RecoveryCode.code_sha256 == secret_hash(squeezed(code)),
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.id)
    )
    if factor is None or used is None:
        raise InvalidInput(WRONG_CODE, field="code")
    audit.record("used a recovery code", subject="user", subject_id=user_id, organization_id=None)


def switch_off(user_id: int, password: str, code: str, *, keys: Sequence[str], now: datetime) -> None:
    """Back to the password alone. Raises InvalidInput (field "current" or "code")."""
    user = lock_user(user_id)
    require_password(user.password_hash, password)
    check_code(user_id, code, keys=keys, now=now)
    _forget(user, "switched two factors off", now=now)


def reset_two_factors(user: User, *, reason: str, now: datetime) -> None:
    """Switch it off for somebody who has lost both app and recovery codes. Raises InvalidInput without need."""
    if not reason.strip():
        raise InvalidInput("Say why, for the audit log.", field="reason")
    lock_user(user.id)
    if _lock(user.id, is_on=True) is None:
        raise InvalidInput("This person has no second factor.", field="email")
    _forget(user, "reset two factors", now=now, reason=reason.strip())


def make_recovery_codes(user_id: int, code: str, *, keys: Sequence[str], now: datetime) -> list[str]:
    """Ten new recovery codes for a code; the old ones end. Raises InvalidInput (field "code")."""
    user = lock_user(user_id)
    check_code(user_id, code, keys=keys, now=now)
    ask_for_letter(LetterKind.NEW_RECOVERY_CODES, user, user.email, now=now)
    audit.record("made new recovery codes", subject="user", subject_id=user.id, organization_id=None)
    return _replace_recovery_codes(user)


def recovery_codes_left(user_id: int) -> int:
    """How many recovery codes are unused."""
    unused = RecoveryCode.user_id == user_id, RecoveryCode.used_at.is_(None)
    return db.session.scalar(select(func.count()).select_from(RecoveryCode).where(*unused)) or 0


def own_recovery_codes(user_id: int, codes: Iterable[str]) -> list[str]:
    """Those of the given codes that are this person's."""
    hashes = set(db.session.scalars(select(RecoveryCode.code_sha256).where(RecoveryCode.user_id == user_id)))
    return [code for code in codes if secret_hash(squeezed(code)) in hashes]


def _lock(user_id: int, *, is_on: bool) -> SecondFactor | None:
    return db.session.scalar(
        select(SecondFactor)
        .where(SecondFactor.user_id == user_id, SecondFactor.confirmed_at.is_not(None) == is_on)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _takes_app_code(factor: SecondFactor, code: str, *, keys: Sequence[str], now: datetime) -> bool:
    """Whether the code is right and of a later step than any that was taken; the row is locked."""
    secret = unseal(factor.sealed_secret, keys=keys, purpose=_PURPOSE)
    step = step_of(secret, code, now=now) if secret else None
    if step is None or step <= factor.last_step:
        return False
    factor.last_step = step
    return True


def _replace_recovery_codes(user: User) -> list[str]:
    db.session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
    codes = new_recovery_codes()
    db.session.add_all(RecoveryCode(user_id=user.id, code_sha256=secret_hash(squeezed(code))) for code in codes)
    return codes


def _forget(user: User, action: str, *, now: datetime, reason: str | None = None) -> None:
    for table in (RecoveryCode, Passkey, SecondFactor):
        db.session.execute(delete(table).where(table.user_id == user.id))
    ask_for_letter(LetterKind.TWO_FACTORS_OFF, user, user.email, now=now)
    audit.record(action, subject="user", subject_id=user.id, organization_id=None, reason=reason)
