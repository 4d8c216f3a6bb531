"""Sending a mail: to whom it concerns now, if it is still true, until the server takes it.

The server is called between two transactions. If the worker dies after the server has taken a mail and before that is
written down, the mail is sent once more with the same Message-ID; nothing else is ever sent twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from portal.config import Settings
from portal.core.errors import PortalError
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.infra import audit, clock, outbox
from portal.infra.mail import File, Letter, NotNow, Refused, Server, deliver, domain_of, server_of
from portal.infra.outbox import LONGEST_BACKOFF_SECONDS, Lease, RetryLater
from portal.invoicing.credit_note_queries import corrections_of
from portal.invoicing.exporting.files import File as Printed
from portal.invoicing.exporting.files import Paper, pdf_file
from portal.invoicing.jobs import terms_of
from portal.invoicing.models import Invoice
from portal.mailing.choosing import recipients_about_disputes, recipients_about_webhooks, recipients_of
from portal.mailing.models import Mail, MailKind, MailState
from portal.mailing.queries import lock_mail
from portal.mailing.writing import SEND, settings_now
from portal.standing import is_payable

# As long as mail servers keep what they cannot hand on.
KEEP_TRYING_FOR = timedelta(days=2)
NO_SERVER = "Not sent: no mail server is set."
NOBODY = "Not sent: nobody of the organization gets mails about invoices."
NOBODY_OF_STAFF = "Not sent: nobody of staff may give money back."
NOBODY_WITH_WEBHOOKS = "Not sent: nobody of the organization manages webhooks."
PERMANENT = 500


@dataclass(frozen=True, slots=True)
class Parcel:
    """A letter that is ready to go, the invoice that is printed for it, and the server that takes it."""

    letter: Letter
    printed: Printed | None
    server: Server


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt: who was refused (code and words by address), or why nobody got it."""

    refused: Mapping[str, tuple[int, str]]
    error: str = ""
    is_final: bool = False

    @property
    def later(self) -> bool:
        """Whether trying again can help."""
        return not self.is_final and (bool(self.error) or any(code < PERMANENT for code, _ in self.refused.values()))


@outbox.handles(SEND)
def send_mail(lease: Lease, *, mail_id: int) -> None:
    """Send one mail. Idempotent: one that is sent, or will never be, is left alone."""
    with lease.transaction():
        mail = lock_mail(mail_id)
        if mail.state != MailState.QUEUED:
            return
        parcel = _prepare(mail, settings_now(), now=clock.now())
        if isinstance(parcel, str):
            _close(mail, MailState.NOT_SENT, parcel)
            return
        mail.attempts += 1
    outcome = _attempt(parcel)
    with lease.transaction():
        mail = lock_mail(mail_id)
        now = clock.now()
        if not outcome.error:
            mail.delivered = [*mail.delivered, *(each for each in parcel.letter.to if each not in outcome.refused)]
        mail.last_error = _sentence(outcome)
        wait = outcome.later and now - mail.created_at < KEEP_TRYING_FOR
        if not wait:
            _close(mail, MailState.SENT if mail.delivered else MailState.FAILED, mail.last_error, sent_at=now)
        attempts = mail.attempts
    if wait:
        # Its tries are counted here, by time: a server may be away for longer than a job's tries last.
        raise RetryLater(_sentence(outcome) or "", seconds=min(LONGEST_BACKOFF_SECONDS, 2 ** min(attempts, 16)))


def _prepare(mail: Mail, settings: Settings, *, now: datetime) -> Parcel | str:
    """The letter as it would go out now, or why it does not."""
    mail.recipients, nobody = _recipients(mail)
    why_not = mail.invoice and no_longer_true(MailKind(mail.kind), mail.invoice)
    if why_not:
        return why_not
    to = [each for each in mail.recipients if each not in mail.delivered]
    if not to:
        return nobody
    if settings.smtp_url is None or settings.mail_from is None:
        return NO_SERVER
    letter = Letter(
        message_id=f"{mail.public_id}@{domain_of(settings.mail_from)}",
        sent_at=now,
        sender=settings.mail_from,
        reply_to=settings.mail_reply_to,
        to=to,
        subject=mail.subject,
        text=mail.body_text,
        html=mail.body_html,
    )
    paper = Paper(terms_of(settings).seller, settings.portal_url)
    printed = pdf_file(mail.invoice, paper, now=now) if mail.has_pdf and mail.invoice else None
    return Parcel(letter, printed, server_of(settings.smtp_url))


def _recipients(mail: Mail) -> tuple[list[str], str]:
    """Whom it concerns now, and what to say if that is nobody."""
    if mail.kind == MailKind.WEBHOOK:
        return recipients_about_webhooks(mail.organization_id), NOBODY_WITH_WEBHOOKS
    if mail.kind == MailKind.DISPUTED:
        return recipients_about_disputes(), NOBODY_OF_STAFF
    return recipients_of(mail.organization), NOBODY


def no_longer_true(kind: MailKind, invoice: Invoice) -> str | None:
    """Why a mail about this invoice should not go out any more; a sentence. None if it should."""
    if kind is MailKind.ISSUED and invoice.state == InvoiceState.VOID:
        return "Not sent: the invoice was voided before."
    if kind is MailKind.REMINDER and not (is_payable(invoice) and corrections_of(invoice).still_due):
        return "Not sent: there is nothing to remind of any more."
    asks = invoice.payment_state in (PaymentState.FAILED, PaymentState.ACTION_REQUIRED)
    if kind is MailKind.FAILED_PAYMENT and not (asks and invoice.state == InvoiceState.FINALIZED):
        return "Not sent: it is paid, or need not be paid any more."
    return None


def _attempt(parcel: Parcel) -> Outcome:
    try:
        letter = parcel.letter
        if parcel.printed is not None:
            printed = parcel.printed
            letter = replace(letter, files=(File(printed.name, printed.mimetype, printed.make()),))
        return Outcome(deliver(letter, parcel.server))
    except (NotNow, PortalError) as trouble:
        return Outcome({}, error=str(trouble))
    except Refused as refusal:
        return Outcome({}, error=str(refusal), is_final=True)


def _sentence(outcome: Outcome) -> str | None:
    refusals = "; ".join(f"{address}: {code} {words}" for address, (code, words) in outcome.refused.items())
    return outcome.error or (f"The mail server refused {refusals}" if refusals else None)


def _close(mail: Mail, state: MailState, error: str | None, *, sent_at: datetime | None = None) -> None:
    mail.state, mail.last_error = state, error
    mail.sent_at = sent_at if state is MailState.SENT else None
    audit.record(
        f"mail {state.replace('_', ' ')}",
        subject="mail",
        subject_id=mail.id,
        organization_id=mail.organization_id,
        after={"kind": mail.kind, "recipients": len(mail.recipients)},
        reason=error if state is MailState.NOT_SENT else None,
    )
