"""Writing an announcement, taking it back, and putting it away."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from portal.announcements.models import Announcement, AnnouncementDismissal, Severity
from portal.core.errors import InvalidInput, NotFound
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.models import Organization

LONGEST_TEXT = 500


def announce(
    public_id: UUID,
    *,
    text: str,
    severity: str,
    starts_at: datetime,
    ends_at: datetime,
    organization: Organization | None,
    by: str,
    now: datetime,
) -> None:
    """Show a text to the customers of an organization, or of all. Idempotent by its id, which its form has brought.

    Raises InvalidInput for a text that is missing or too long, a severity that is none, and an end that is not after
    its start or is over.
    """
    text = text.strip()
    if not 0 < len(text) <= LONGEST_TEXT:
        raise InvalidInput(f"Write a text of up to {LONGEST_TEXT} characters.", field="text")
    if severity not in list(Severity):
        raise InvalidInput("Choose how urgent it is.", field="severity")
    if ends_at <= starts_at:
        raise InvalidInput("It ends after it begins.", field="ends_at")
    if ends_at <= now:
        raise InvalidInput("It ends at a moment to come.", field="ends_at")
    organization_id = organization.id if organization else None
    announcement_id = db.session.scalar(
        insert(Announcement)
        .values(
            public_id=public_id,
            organization_id=organization_id,
            text=text,
            severity=severity,
            starts_at=starts_at,
            ends_at=ends_at,
            created_by=by,
        )
        .on_conflict_do_nothing(index_elements=["public_id"])
        .returning(Announcement.id)
    )
    if announcement_id is not None:
        audit.record(
            "announced to customers",
            subject="announcement",
            subject_id=announcement_id,
            organization_id=organization_id,
            after={
                "text": text,
                "severity": severity,
                "starts_at": starts_at.isoformat(),
                "ends_at": ends_at.isoformat(),
            },
        )


def take_back(public_id: UUID, *, now: datetime) -> None:
    """Show an announcement no more, or never if it has not begun. Idempotent. Raises NotFound."""
    query = select(Announcement).where(Announcement.public_id == public_id).with_for_update()
    announcement = db.session.scalar(query.execution_options(populate_existing=True))
    if announcement is None:
        raise NotFound("There is no such announcement.")
    before = announcement.ends_at
    after = max(announcement.starts_at, now)
    if after >= before:
        return
    announcement.ends_at = after
    db.session.flush()
    audit.record(
        "took back an announcement",
        subject="announcement",
        subject_id=announcement.id,
        organization_id=announcement.organization_id,
        before={"ends_at": before.isoformat()},
        after={"ends_at": after.isoformat()},
    )


def put_away(announcement_id: int, user_id: int, *, now: datetime) -> None:
    """Show somebody an announcement no more. Idempotent."""
    db.session.execute(
        insert(AnnouncementDismissal)
        .values(announcement_id=announcement_id, user_id=user_id, dismissed_at=now)
        .on_conflict_do_nothing()
    )
