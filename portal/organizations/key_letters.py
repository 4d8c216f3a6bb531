"""Mails about API keys: to the owners of the organization, of a key of the platform to admins, and to who made it."""

from datetime import datetime

from sqlalchemy import exists, or_, select

from portal.infra.db import db
from portal.organizations.letters import LetterKind, ask_for_letter
from portal.organizations.models import ApiKey, Membership, Organization, User


def tell_of_key(kind: LetterKind, key: ApiKey, *, now: datetime) -> None:
    """Queue the mails in the current transaction, one for each person."""
    if key.organization_id is None:
        whose, answer_for_it = "the platform", User.staff_role == "admin"
    else:
        whose = db.session.get_one(Organization, key.organization_id).name
        answer_for_it = exists().where(
            Membership.user_id == User.id,
            Membership.organization_id == key.organization_id,
            Membership.role == "owner",
        )
    told = (
        select(User)
        .where(or_(answer_for_it, User.id == key.created_by_id), User.disabled_at.is_(None))
        .order_by(User.id)
    )
    for user in db.session.scalars(told).all():
        ask_for_letter(kind, user, user.email, now=now, about=f"“{key.name}” of {whose}")
