"""The codes of a second factor: six digits from a clock (TOTP, RFC 6238), and recovery codes. No database here."""

import base64
import hmac
import re
import secrets
from datetime import datetime

import pyotp

RECOVERY_CODES = 10
# 80 random bits, 16 letters: too many to find from a plain hash, few enough to type.
_RECOVERY_BYTES = 10
_SECONDS_A_STEP = 30
_STEPS_OF_DRIFT = 1


def new_secret() -> str:
    """A random secret of 160 bits in base32, as apps take it."""
    return pyotp.random_base32()


def uri_of(secret: str, *, account: str, issuer: str) -> str:
    """What the QR code holds: otpauth://totp/…"""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def step_of(secret: str, code: str, *, now: datetime) -> int | None:
    """The 30-second step that a code belongs to, at most one away from now; None if it is of none of them."""
    this = int(now.timestamp()) // _SECONDS_A_STEP
    totp = pyotp.TOTP(secret)
    near = range(this - _STEPS_OF_DRIFT, this + _STEPS_OF_DRIFT + 1)
    typed = squeezed(code).encode()
    return next((step for step in near if hmac.compare_digest(totp.generate_otp(step).encode(), typed)), None)


def new_recovery_codes() -> list[str]:
    """Ten codes in four groups of four letters and digits, none like another."""
    return [_grouped(base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode()) for _ in range(RECOVERY_CODES)]


def squeezed(code: str) -> str:
    """A code without the spaces and dashes in which people type it, in small letters."""
    return re.sub(r"[\s-]", "", code).lower()


def _grouped(code: str) -> str:
    return "-".join(code.lower()[start : start + 4] for start in range(0, len(code), 4))
