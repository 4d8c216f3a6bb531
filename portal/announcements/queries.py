"""Reads of announcements."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from portal.announcements.models import Announcement, AnnouncementDismissal
from portal.core.errors import NotFound
from portal.infra.db import among, db

MOST_LISTED = 200


def list_announcements() -> list[Announcement]:
    """The latest announcements with their organizations, those that end last first."""
    query = (
        select(Announcement)
        .options(joinedload(Announcement.organization))
        .order_by(Announcement.ends_at.desc(), Announcement.id.desc())
        .limit(MOST_LISTED)
    )
    return list(db.session.scalars(query))


def shown_now(*, now: datetime) -> list[Announcement]:
    """What is announced at this moment, the newest first; a tenant reads its own and what is for all."""
    query = select(Announcement).where(Announcement.starts_at <= now, Announcement.ends_at > now)
    return list(db.session.scalars(query.order_by(Announcement.starts_at.desc(), Announcement.id.desc())))


def put_away_by(user_id: int, announcement_ids: Collection[int]) -> set[int]:
    """Which of these announcements somebody has put away."""
    query = select(AnnouncementDismissal.announcement_id).where(
        AnnouncementDismissal.user_id == user_id, among(AnnouncementDismissal.announcement_id, announcement_ids)
    )
    return set(db.session.scalars(query))


def announcement_of(public_id: UUID) -> Announcement:
    """The announcement with this public id that whoever asks may see. Raises NotFound."""
    announcement = db.session.scalar(select(Announcement).where(Announcement.public_id == public_id))
    if announcement is None:
        raise NotFound("There is no such announcement.")
    return announcement
