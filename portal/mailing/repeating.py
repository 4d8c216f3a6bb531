"""Sending a mail again: a new one with the same words, because somebody asked for it."""

from uuid import UUID

from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra import audit
from portal.mailing.models import Mail, MailKind, MailState
from portal.mailing.queries import mail_of
from portal.mailing.sending import no_longer_true
from portal.mailing.writing import add

LONGEST_REASON = 500


def send_again(public_id: UUID, *, reason: str, by: str, form_token: UUID) -> Mail:
    """Queue a copy of a mail, in the current transaction; returns the first one. Idempotent by `form_token`.

    Raises NotFound, InvalidInput without a reason, and InvalidTransition for one that is still queued or no longer
    true, or whose text is gone.
    """
    mail = mail_of(public_id)
    if not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise InvalidInput(f"Say why, in up to {LONGEST_REASON} characters; the audit log keeps it.", field="reason")
    if mail.state == MailState.QUEUED:
        raise InvalidTransition("This mail is still queued; it goes out by itself as soon as the mail server takes it.")
    if not mail.body_text:
        raise InvalidTransition("The text of this mail has been deleted, because it is old.")
    why_not = mail.invoice and no_longer_true(MailKind(mail.kind), mail.invoice)
    if why_not:
        raise InvalidTransition(why_not)
    is_new = add(
        organization_id=mail.organization_id,
        invoice_id=mail.invoice_id,
        kind=mail.kind,
        dedupe_key=f"again:{form_token}",
        subject=mail.subject,
        body_text=mail.body_text,
        body_html=mail.body_html,
        has_pdf=mail.has_pdf,
        reason=reason.strip(),
        asked_by=by,
    )
    if is_new:
        audit.record(
            "sent a mail again",
            subject="mail",
            subject_id=mail.id,
            organization_id=mail.organization_id,
            after={"kind": mail.kind},
            reason=reason.strip(),
        )
    return mail
