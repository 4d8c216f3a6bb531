"""Tables of announcements and of who has put them away."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Text

from portal.infra.db import Model, Public
from portal.organizations.models import Organization


class Severity(StrEnum):
    """How urgent an announcement is."""

    INFORMATION = "information"
    WARNING = "warning"
    PROBLEM = "problem"


class Announcement(Public, Model):
    """A text for the customers of one organization, or of all (no `organization_id`)."""

    __tablename__ = "announcements"
    __table_args__ = (
        CheckConstraint("severity IN ('information', 'warning', 'problem')", name="severity_known"),
        CheckConstraint("starts_at <= ends_at", name="ends_after_its_start"),
        Index("ix_announcements_ends_at", "ends_at"),
        Index("ix_announcements_organization_id", "organization_id"),
    )

    organization_id: Mapped[int | None] = mapped_column(ForeignKey("organizations.id"))
    text: Mapped[str]
    severity: Mapped[Severity] = mapped_column(Text)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    organization: Mapped[Organization | None] = relationship(viewonly=True)

    def is_shown(self, now: datetime) -> bool:
        """Whether customers see it at a moment."""
        return self.starts_at <= now < self.ends_at


class AnnouncementDismissal(Model):
    """Who has put an announcement away."""

    __tablename__ = "announcement_dismissals"
    __table_args__ = (Index("ix_announcement_dismissals_user_id", "user_id"),)

    announcement_id: Mapped[int] = mapped_column(ForeignKey("announcements.id"), primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    dismissed_at: Mapped[datetime]
