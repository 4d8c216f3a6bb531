"""What the portal holds about one person, as one JSON document.

Secrets are left out: hashes of passwords, tokens and codes, and keys. Each part names its columns, so that a column
that is added later is in no export until somebody has decided it.
"""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select

from portal.infra.audit import AuditEntry
from portal.infra.db import db
from portal.mailing.models import Mail
from portal.organizations.models import (
    AccountLetter,
    Invitation,
    Membership,
    Organization,
    Passkey,
    ProviderLink,
    RecoveryCode,
    SavedFilter,
    SecondFactor,
    User,
    UserSession,
)

ROWS_AT_ONCE = 500


def personal_json(user: User) -> Iterator[str]:
    """The document in pieces: an object with an array for each part. Times are ISO 8601 in UTC."""
    between = "{"
    for name, rows in _parts(user):
        yield f"{between}\n{json.dumps(name)}: ["
        yield from _rows(rows)
        yield "]"
        between = ","
    yield "\n}\n"


def _rows(rows: Select[*tuple[Any, ...]]) -> Iterator[str]:
    between = "\n"
    for row in db.session.execute(rows.execution_options(yield_per=ROWS_AT_ONCE)).mappings():
        yield between + json.dumps(dict(row), default=_text, ensure_ascii=False)
        between = ",\n"


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _parts(user: User) -> Iterator[tuple[str, Select[*tuple[Any, ...]]]]:
    yield (
        "account",
        select(
            *(User.public_id, User.email, User.name, User.staff_role, User.theme, User.language),
            *(User.created_at, User.disabled_at),
        ).where(User.id == user.id),
    )
    yield (
        "memberships",
        select(Organization.slug, Organization.name, Membership.role, Membership.created_at)
        .join(Organization, Organization.id == Membership.organization_id)
        .where(Membership.user_id == user.id)
        .order_by(Membership.id),
    )
    yield (
        "sessions",
        select(
            UserSession.public_id,
            UserSession.created_at,
            UserSession.last_seen_at,
            UserSession.expires_at,
            UserSession.address,
            UserSession.user_agent,
        )
        .where(UserSession.user_id == user.id)
        .order_by(UserSession.id),
    )
    yield (
        "passkeys",
        select(Passkey.public_id, Passkey.name, Passkey.created_at, Passkey.used_at)
        .where(Passkey.user_id == user.id)
        .order_by(Passkey.id),
    )
    yield (
        "second_factors",
        select(SecondFactor.created_at, SecondFactor.confirmed_at).where(SecondFactor.user_id == user.id),
    )
    yield (
        "recovery_codes",
        select(RecoveryCode.used_at).where(RecoveryCode.user_id == user.id).order_by(RecoveryCode.id),
    )
    yield (
        "provider_links",
        select(ProviderLink.issuer, ProviderLink.subject, ProviderLink.created_at)
        .where(ProviderLink.user_id == user.id)
        .order_by(ProviderLink.id),
    )
    yield (
        "saved_filters",
        select(SavedFilter.page, SavedFilter.name, SavedFilter.query)
        .where(SavedFilter.user_id == user.id)
        .order_by(SavedFilter.page, SavedFilter.name),
    )
    yield (
        "invitations",
        select(Invitation.public_id, Invitation.email, Invitation.role, Invitation.created_at, Invitation.ended_at)
        .where(func.lower(Invitation.email) == user.email.lower())
        .order_by(Invitation.id),
    )
    yield (
        "account_mails",
        select(
            AccountLetter.kind,
            AccountLetter.address,
            AccountLetter.new_email,
            AccountLetter.created_at,
            AccountLetter.sent_at,
        )
        .where(AccountLetter.user_id == user.id)
        .order_by(AccountLetter.id),
    )
    yield (
        "mails",
        select(Mail.subject, Mail.body_text, Mail.state, Mail.created_at, Mail.sent_at)
        .where(_sent_to(user))
        .order_by(Mail.id),
    )
    yield (
        "actions",
        select(
            AuditEntry.at,
            AuditEntry.action,
            AuditEntry.subject_kind,
            AuditEntry.subject_id,
            AuditEntry.before,
            AuditEntry.after,
            AuditEntry.reason,
            AuditEntry.address,
        )
        .where(AuditEntry.actor_kind == "user", AuditEntry.actor_id == user.id)
        .order_by(AuditEntry.id),
    )
    # Without addresses: they are those of whoever did it.
    yield (
        "about_the_account",
        select(AuditEntry.at, AuditEntry.action, AuditEntry.before, AuditEntry.after)
        .where(AuditEntry.subject_kind == "user", AuditEntry.subject_id == user.id)
        .order_by(AuditEntry.id),
    )


def _sent_to(user: User) -> ColumnElement[bool]:
    return or_(Mail.recipients.contains([user.email]), Mail.delivered.contains([user.email]))
