"""Secrets that must be readable again: encrypted with a key that is derived from the portal's own secret."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_KEY_BYTES = 32


def seal(text: str, *, keys: Sequence[str], purpose: bytes) -> bytes:
    """Encrypt with the first key. What is sealed for one purpose cannot be read for another."""
    return _box(keys, purpose).encrypt(text.encode())


def unseal(sealed: bytes, *, keys: Sequence[str], purpose: bytes) -> str | None:
    """Decrypt with whichever key fits; None if none does, or it was tampered with."""
    try:
        return _box(keys, purpose).decrypt(sealed).decode()
    except InvalidToken:
        return None


def _box(keys: Sequence[str], purpose: bytes) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(_derived(key, purpose))) for key in keys])


def _derived(key: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(key.encode())
