"""Who may call the API: the holder of a key, with a scope that the route's policy names."""

import time

from flask import current_app, g, request

from portal.core.errors import NotAllowed, PortalError
from portal.core.keys import secret_hash
from portal.infra import clock
from portal.infra.db import SYSTEM, act_as, acting_as, tenant, transaction
from portal.infra.pages import policy_of
from portal.organizations.api_keys import KeyHolder, holder_of, note_use

_NOTE_AGAIN_AFTER_SECONDS = 60
# When this process last wrote down the use of a key, by its hash: nearly every request is spared that transaction.
_noted: dict[bytes, int] = {}


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
    holder: KeyHolder | None = None
    if scheme.lower() == "bearer" and text:
        with acting_as(SYSTEM):
            holder = holder_of(text.strip(), now=clock.now())
            if holder is not None and _is_time_to_note(secret_hash(text.strip())):
                with transaction():
                    note_use(holder.key_id, now=clock.now())
    if holder is None:
        raise KeyRequired("Send a valid API key in the header “Authorization: Bearer …”.")
    g.key_holder, g.actor = holder, holder.actor
    act_as(SYSTEM if holder.organization_id is None else tenant(holder.organization_id))
    if not set(needed.split(" or ")) & set(holder.scopes):
        raise NotAllowed(f"This key does not have the scope “{needed}”.")


def _is_time_to_note(key: bytes) -> bool:
    now = int(time.monotonic())
    if now - _noted.get(key, -_NOTE_AGAIN_AFTER_SECONDS) < _NOTE_AGAIN_AFTER_SECONDS:
        return False
    _noted[key] = now
    return True
