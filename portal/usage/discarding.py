"""Discarding usage that waits for a meter that will never be: it stays stored, waits no more, and can be taken back."""

from datetime import datetime

from sqlalchemy import text

from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra import audit
from portal.infra.db import db
from portal.usage.correcting import lock_corrections

LONGEST_REASON = 500
_OF_METER = "organization_id = :organization_id AND meter_code = :meter"
_DISCARD = text(f"""
    UPDATE waiting_events SET discarded_at = :now, discarded_by = :by, discarded_reason = :reason
    WHERE {_OF_METER} AND discarded_at IS NULL
""")
_TAKE_BACK = text(f"""
    UPDATE waiting_events SET discarded_at = NULL, discarded_by = NULL, discarded_reason = NULL, looked_at = NULL
    WHERE {_OF_METER} AND discarded_at IS NOT NULL AND cancelled_by IS NULL
""")


def discard_waiting(organization_id: int, meter: str, *, reason: str, by: str, now: datetime) -> int:
    """Discard all events of an organization that wait for a meter code; returns how many.

    Raises InvalidInput without a reason, InvalidTransition if none waits (any more).
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInput(f"Say why, in at most {LONGEST_REASON} characters.", field="reason")
    # Before any row, as adoption and cancellations take it.
    lock_corrections({organization_id})
    values = {"organization_id": organization_id, "meter": meter, "now": now, "by": by, "reason": reason}
    events: int = db.session.execute(_DISCARD, values).rowcount  # type: ignore[attr-defined]
    if not events:
        raise InvalidTransition(f"No event waits for the meter “{meter}” any more. Nothing was changed.")
    _record("discarded waiting usage", organization_id, meter, events, reason)
    return events


def take_back_discarded(organization_id: int, meter: str) -> int:
    """Let discarded events of a meter code wait again, but for those that their sender cancelled; returns how many.

    Raises InvalidTransition if there are none.
    """
    lock_corrections({organization_id})
    values = {"organization_id": organization_id, "meter": meter}
    events: int = db.session.execute(_TAKE_BACK, values).rowcount  # type: ignore[attr-defined]
    if not events:
        raise InvalidTransition(f"No discarded event of “{meter}” can be taken back. Nothing was changed.")
    _record("took discarded usage back", organization_id, meter, events, None)
    return events


def _record(action: str, organization_id: int, meter: str, events: int, reason: str | None) -> None:
    audit.record(
        action,
        subject="waiting usage",
        subject_id=None,
        organization_id=organization_id,
        after={"meter": meter, "events": events},
        reason=reason,
    )
