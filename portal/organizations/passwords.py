"""Passwords: argon2id hashes, what is good enough to be one, and one hash's worth of work for unknown users too."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from portal.core.errors import InvalidInput
from portal.core.saying import Said

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 256
# zxcvbn's 2: found with fewer than 10^8 guesses, as common passwords, names, dates and keyboard rows are.
_WEAK_SCORE = 2
_LOOKED_AT = 72
_hasher = PasswordHasher()


def require_good_password(password: str, *, email: str, name: str) -> None:
    """Raises InvalidInput for a password that is too short, too long or easy to guess. Any characters will do."""
    if len(password) < SHORTEST_PASSWORD:
        raise InvalidInput(
            Said("A password has at least %(shortest)s characters.", shortest=SHORTEST_PASSWORD), field="password"
        )
    if len(password) > LONGEST_PASSWORD:
        raise InvalidInput(
            Said("A password has at most %(longest)s characters.", longest=LONGEST_PASSWORD), field="password"
        )
    about_them = [email.lower(), *email.lower().replace("@", ".").split("."), *name.lower().split()]
    if zxcvbn(password[:_LOOKED_AT], user_inputs=about_them)["score"] <= _WEAK_SCORE:
        raise InvalidInput(
            "This password is easy to guess: it is common, or made of names, dates or rows of keys."
            " Take a few unrelated words, or let your browser make one.",
            field="password",
        )


def hash_password(password: str) -> str:
    """An argon2id hash with its own salt and parameters."""
    return _hasher.hash(password)


def password_matches(password_hash: str | None, password: str) -> bool:
    """Whether the password is right. With no hash (unknown user) the same work is done, so time tells nothing."""
    try:
        return _hasher.verify(password_hash or _hash_of_nobody(), password) and password_hash is not None
    except (VerificationError, InvalidHashError):
        return False


def require_password(password_hash: str, current: str) -> None:
    """Raises InvalidInput (field "current") unless it is the password that somebody has now."""
    if not password_matches(password_hash, current):
        raise InvalidInput("This is not your password.", field="current")


@cache
def _hash_of_nobody() -> str:
    return _hasher.hash("nobody has this password")
