"""Reads of mails."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import defer, joinedload

from portal.core.errors import NotFound
from portal.infra.db import db
from portal.mailing.models import Mail, MailKind, MailState

_WITH_SUBJECTS = (joinedload(Mail.organization), joinedload(Mail.invoice), defer(Mail.body_text), defer(Mail.body_html))


def mail_of(public_id: UUID) -> Mail:
    """The mail with this public id. Raises NotFound."""
    query = select(Mail).where(Mail.public_id == public_id)
    mail: Mail | None = db.session.scalar(query.options(joinedload(Mail.organization), joinedload(Mail.invoice)))
    if mail is None:
        raise NotFound("There is no such mail.")
    return mail


def lock_mail(mail_id: int) -> Mail:
    """The mail, fresh from the database and locked until the transaction ends."""
    return db.session.get_one(Mail, mail_id, with_for_update=True, populate_existing=True)


def mails_about(invoice_id: int) -> list[Mail]:
    """The mails about an invoice, newest first, without their texts."""
    query = select(Mail).where(Mail.invoice_id == invoice_id).options(*_WITH_SUBJECTS).order_by(Mail.id.desc())
    return list(db.session.scalars(query))


def list_mails(
    *,
    state: MailState | None = None,
    organization_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Mail]:
    """One page of mails, newest first, without their texts; `before` is the last id of the page before."""
    query = select(Mail).options(*_WITH_SUBJECTS).order_by(Mail.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Mail.state == state)
    if organization_id is not None:
        query = query.where(Mail.organization_id == organization_id)
    if before is not None:
        query = query.where(Mail.id < before)
    return list(db.session.scalars(query))


def counts_by_mail_state(organization_id: int | None = None) -> dict[str, int]:
    """How many mails are in each state."""
    query = select(Mail.state, func.count()).group_by(Mail.state)
    if organization_id is not None:
        query = query.where(Mail.organization_id == organization_id)
    return {row[0]: row[1] for row in db.session.execute(query)}


def mails_with(invoice_id: int, kind: MailKind, state: MailState) -> int:
    """How many mails of this kind about an invoice are in this state."""
    query = select(func.count()).where(Mail.invoice_id == invoice_id, Mail.kind == kind, Mail.state == state)
    return db.session.scalar(query) or 0
