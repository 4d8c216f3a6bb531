"""Looking at an organization's pages as its customer: read-only, for a quarter of an hour, with a reason, by staff."""

from datetime import datetime, timedelta

from sqlalchemy import select, update

from portal.core.errors import InvalidInput
from portal.core.keys import secret_hash
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization, UserSession

LASTS = timedelta(minutes=15)
LONGEST_REASON = 500


def begin_viewing(token: str, organization: Organization, *, reason: str, now: datetime) -> datetime:
    """Look at an organization's pages from this session until the moment that is returned. Raises InvalidInput.

    Begun again for another organization, it ends for the first. Both sides find it in their logs.
    """
    reason = reason.strip()
    if not 0 < len(reason) <= LONGEST_REASON:
        raise InvalidInput(
            f"Say in up to {LONGEST_REASON} characters why you look; both sides keep it.", field="reason"
        )
    until = now + LASTS
    db.session.execute(
        update(UserSession)
        .where(UserSession.token_sha256 == secret_hash(token))
        .values(viewing_id=organization.id, viewing_until=until)
    )
    audit.record(
        "began to view as the customer",
        subject="organization",
        subject_id=organization.id,
        organization_id=organization.id,
        after={"until": until.isoformat()},
        reason=reason,
    )
    return until


def end_viewing(token: str) -> None:
    """Look as a customer no more. Idempotent."""
    session = db.session.scalar(
        select(UserSession).where(UserSession.token_sha256 == secret_hash(token)).with_for_update()
    )
    if session is None or session.viewing_id is None:
        return
    organization_id = session.viewing_id
    session.viewing_id = session.viewing_until = None
    audit.record(
        "ended to view as the customer",
        subject="organization",
        subject_id=organization_id,
        organization_id=organization_id,
    )
