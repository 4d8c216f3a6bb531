"""Bodies and signatures, pure: the header form of the Standard Webhooks specification, HMAC-SHA256.

Source: standardwebhooks.com, "Webhook metadata" and "Signature scheme": what is signed is id.timestamp.body.
"""

import base64
import hmac
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from portal.core.keys import canonical_json

VERSION = 1
SECRET_PREFIX = "whsec_"


def body_of(event_type: str, data: Mapping[str, Any], *, created_at: datetime) -> bytes:
    """The body of an event: the same bytes at every attempt. It is thin: ids to ask the API by, and no amounts."""
    moment = created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return canonical_json({"type": event_type, "version": VERSION, "timestamp": moment, "data": dict(data)}).encode()


def secret_text(secret: bytes) -> str:
    """A secret as people copy it."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def headers_of(event_id: str, body: bytes, secrets: Iterable[str], *, now: datetime) -> dict[str, str]:
    """The three headers of an attempt; with a signature for every secret that is in force, the newest first."""
    timestamp = str(int(now.timestamp()))
    return {
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signature_of(event_id, timestamp, body, secret) for secret in secrets),
    }


def signature_of(event_id: str, timestamp: str, body: bytes, secret: str) -> str:
    """One signature with the version of its scheme."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
