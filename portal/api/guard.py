"""Who may call the API: the holder of a key, with a scope that the route's policy names."""

import time
from dataclasses import dataclass

from flask import current_app, g, request

from portal.core.errors import NotAllowed, PortalError
from portal.core.keys import secret_hash
from portal.infra import clock
from portal.infra.db import SYSTEM, act_as, acting_as, tenant, transaction
from portal.infra.pages import policy_of
from portal.organizations.api_keys import KeyHolder, holder_of, note_use
from portal.usage.known import NANOSECONDS

_NOTE_AGAIN_AFTER_SECONDS = 60
# A key that was revoked or has expired may be used for so long: a source sends many requests a second.
REMEMBERED_FOR_SECONDS = 1
MOST_REMEMBERED = 10_000


class KeyRequired(PortalError):
    """No key, or one that is unknown, revoked or expired; the three are never told apart."""

    code, status = "key_required", 401


def require_key() -> None:
    """Find the key's holder, check the scope, and act for its organization from here on."""
    assert request.endpoint is not None
    needed = (policy_of(current_app, request.endpoint) or "").removeprefix("api key: ")
    if "api_key" in request.args:
        raise KeyRequired("Send the key in the header “Authorization: Bearer …”, never in the address.")
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    holder = _holder_of(text.strip()) if scheme.lower() == "bearer" and text else None
    if holder is None:
        raise KeyRequired("Send a valid API key in the header “Authorization: Bearer …”.")
    g.key_holder, g.actor = holder, holder.actor
    act_as(SYSTEM if holder.organization_id is None else tenant(holder.organization_id))
    if not set(needed.split(" or ")) & set(holder.scopes):
        raise NotAllowed(f"This key does not have the scope “{needed}”.")


@dataclass(slots=True)
class _Remembered:
    """What this process knows of a key: its holder, until when, and from when its use is to be written down again."""

    holder: KeyHolder
    until_ns: int
    note_from_ns: int


def _holder_of(text: str) -> KeyHolder | None:
    """Whom a key speaks for, remembered for a moment; tests remember nothing, because each begins with other tables."""
    known: dict[bytes, _Remembered] = current_app.extensions.setdefault("known_keys", {})
    key, now_ns = secret_hash(text), time.monotonic_ns()
    found = known.get(key)
    if found is not None and now_ns < found.until_ns:
        return found.holder
    with acting_as(SYSTEM):
        holder = holder_of(text, now=clock.now())
        if holder is None:
            known.pop(key, None)
            return None
        note_from_ns = found.note_from_ns if found is not None else now_ns
        if now_ns >= note_from_ns:
            # Nearly every request is spared this transaction.
            with transaction():
                note_use(holder.key_id, now=clock.now())
            note_from_ns = now_ns + _NOTE_AGAIN_AFTER_SECONDS * NANOSECONDS
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    until_ns = now_ns if current_app.testing else now_ns + REMEMBERED_FOR_SECONDS * NANOSECONDS
    known[key] = _Remembered(holder, until_ns, note_from_ns)
    return holder
