"""Deterministic keys: the same thing always gets the same key, in every process and release."""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

DEFAULT_SOURCE = "api"
_CHECKSUM_DIGITS = 8
_API_KEY = re.compile(r"blk_(live|test)_[A-Za-z0-9_-]{43,64}[0-9a-f]{8}")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_CROCKFORD = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


def event_key(event_id: str, source: str) -> UUID:
    """The 16-byte key of a usage event: one per source and id.

    A UUID or ULID from the default source is taken as it is; from another source its first six bytes (the time of
    a UUIDv7 or ULID) stay, so that keys are time-ordered and the index stays small. Anything else is hashed.
    """
    digest = hashlib.sha256(f"{source}\0{event_id}".encode()).digest()
    ordered = _ordered_bytes(event_id)
    if ordered is None:
        return UUID(bytes=digest[:16])
    if source == DEFAULT_SOURCE:
        return UUID(bytes=ordered)
    return UUID(bytes=ordered[:6] + digest[:10])


def _ordered_bytes(event_id: str) -> bytes | None:
    """The bytes of a UUID (in its one canonical spelling) or a ULID; None for any other id."""
    if len(event_id) == 36:
        try:
            parsed = UUID(event_id)
        except ValueError:
            return None
        return parsed.bytes if str(parsed) == event_id else None
    if len(event_id) == 26 and event_id[0] in "01234567" and all(c in _CROCKFORD for c in event_id):
        number = 0
        for character in event_id:
            number = number * 32 + _CROCKFORD[character]
        return number.to_bytes(16, "big")
    return None


def series_key(meter_id: int, dimensions: Mapping[str, str]) -> int:
    """The 64-bit key of a series: a meter and the values of its declared dimensions."""
    text = canonical_json([meter_id, dict(dimensions)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def subject_key(value: str) -> bytes:
    """The 16 bytes under which a unique count remembers a value; `usage.deriving` makes the same in SQL."""
    return hashlib.sha256(value.encode()).digest()[:16]


def canonical_json(value: Any) -> str:
    """JSON with one spelling: sorted keys, no white space, UTF-8; numbers that matter are passed as strings."""
    return _CANONICAL.encode(value)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex: an invoice's fingerprint and document id."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def stripe_key(step: str, subject: UUID, generation: int) -> str:
    """The idempotency key of one call to Stripe: stored before the call, the same for every retry of it."""
    return f"portal:{step}:{subject}:g{generation}"


def key_text(kind: str, secret: str) -> str:
    """An API key: what a scanner knows it by, the secret, and a checksum that tells a mistyped key from an unknown one.

    `kind` is "live" or "test".
    """
    text = f"blk_{kind}_{secret}"
    return text + _checksum(text)


def is_key_text(text: str) -> bool:
    """Whether a text has the form of an API key and its checksum is right."""
    return bool(_API_KEY.fullmatch(text)) and _checksum(text[:-_CHECKSUM_DIGITS]) == text[-_CHECKSUM_DIGITS:]


def _checksum(text: str) -> str:
    # CRC-32 finds every wrong character; it protects nothing, the secret does.
    return f"{zlib.crc32(text.encode()):0{_CHECKSUM_DIGITS}x}"


def secret_hash(secret: str) -> bytes:
    """SHA-256 of a random secret of at least 128 bits (API key, session); plain hashing is enough for those."""
    return hashlib.sha256(secret.encode()).digest()
