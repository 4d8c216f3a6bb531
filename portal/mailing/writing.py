"""Writing a mail: its subject, its text and its HTML from one template, kept as they are, and queued."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flask import current_app
from markupsafe import Markup
from sqlalchemy.dialects.postgresql import insert

from portal.config import Settings
from portal.infra import outbox
from portal.infra.db import db
from portal.infra.ids import uuid7
from portal.infra.languages import _, speaking
from portal.infra.mail import one_line
from portal.invoicing.models import Invoice
from portal.mailing.facts import Facts, days_until, facts_of
from portal.mailing.models import Mail, MailKind
from portal.organizations.models import Organization

SEND = "send_mail"
_EMPTY_LINES = re.compile(r"\n{3,}")


def settings_now() -> Settings:
    """The settings of the running portal."""
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def write(kind: MailKind, invoice: Invoice, *, key: str, now: datetime, **more: Any) -> None:
    """Write a mail about an invoice and queue it, in the current transaction; `more` is for its template.

    It is in the language of the organization's mails; staff get theirs in English.
    Idempotent by organization and `key`: what has been written once is not written again, whatever it says now.
    """
    settings = settings_now()
    has_pdf = kind is MailKind.ISSUED and settings.mail_attach_pdf
    with speaking(None if kind is MailKind.DISPUTED else invoice.organization.language):
        facts = facts_of(invoice, settings, now=now)
        subject = one_line(f"{facts.organization}: {_SUBJECTS[kind](facts, more)}")
        body_text, body_html = _render(kind, subject, {**more, "facts": facts, "has_pdf": has_pdf})
    add(
        organization_id=invoice.organization_id,
        invoice_id=invoice.id,
        kind=kind,
        dedupe_key=key,
        subject=subject,
        body_text=body_text,
        body_html=body_html,
        has_pdf=has_pdf,
        created_at=now,
    )


def write_about(kind: MailKind, of: Organization, subject: str, *, key: str, now: datetime, **values: Any) -> None:
    """Write a mail that is about no invoice and queue it, in the current transaction. Idempotent as `write` is.

    The caller speaks the language of the organization's mails, because it makes the subject.
    """
    settings = settings_now()
    line = one_line(f"{of.name}: {subject}")
    choice_url = f"{settings.portal_url}/settings/mail"
    body_text, body_html = _render(kind, line, {**values, "seller": settings.seller_name, "choice_url": choice_url})
    add(
        organization_id=of.id,
        kind=kind,
        dedupe_key=key,
        subject=line,
        body_text=body_text,
        body_html=body_html,
        created_at=now,
    )


def add(*, organization_id: int, **values: Any) -> bool:
    """Keep a mail and queue it, in the current transaction. False if there is one with its key already."""
    mail_id = db.session.scalar(
        insert(Mail)
        .values(public_id=uuid7(), organization_id=organization_id, **values)
        .on_conflict_do_nothing()
        .returning(Mail.id)
    )
    if mail_id is not None:
        outbox.enqueue(SEND, dedupe_key=str(mail_id), organization_id=organization_id, mail_id=mail_id)
    return mail_id is not None


def _render(kind: MailKind, subject: str, values: dict[str, Any]) -> tuple[str, str]:
    """The template once as plain text and once as HTML: the same words in the same order."""
    template = current_app.jinja_env.get_template(f"mail/{kind}.txt")
    text = template.render(**values, layout="mail/_as_text.txt")
    body = template.render(**values, layout="mail/_as_html.html")
    page = current_app.jinja_env.get_template("mail/_page.html").render(subject=subject, body=Markup(body))  # nosec B704
    return _EMPTY_LINES.sub("\n\n", text).strip() + "\n", page


def _issued(facts: Facts, _more: dict[str, Any]) -> str:
    if facts.nothing_to_pay:
        return _("invoice %(number)s, nothing to pay", number=facts.number)
    if facts.is_settled:
        return _("invoice %(number)s, %(amount)s, paid", number=facts.number, amount=facts.amount)
    return _("invoice %(number)s, %(amount)s, due %(day)s", number=facts.number, amount=facts.amount, day=facts.due)


def _receipt(facts: Facts, _more: dict[str, Any]) -> str:
    return _("receipt for invoice %(number)s, %(amount)s", number=facts.number, amount=facts.amount)


def _failed_payment(facts: Facts, more: dict[str, Any]) -> str:
    about = {"number": facts.number, "amount": facts.amount}
    if more["wants_confirmation"]:
        return _("the payment of invoice %(number)s, %(amount)s, wants your confirmation", **about)
    return _("the payment of invoice %(number)s, %(amount)s, failed", **about)


def _reminder(facts: Facts, _more: dict[str, Any]) -> str:
    when = _("overdue since %(day)s", day=facts.overdue) if facts.overdue else days_until(facts.days_left, facts.due)
    return _("invoice %(number)s, %(amount)s, %(when)s", number=facts.number, amount=facts.amount, when=when)


def _credited(facts: Facts, more: dict[str, Any]) -> str:
    return _(
        "credit note %(number)s, %(amount)s, for invoice %(invoice)s",
        number=more["note_number"],
        amount=more["credited"],
        invoice=facts.number,
    )


def _voided(facts: Facts, _more: dict[str, Any]) -> str:
    return _("invoice %(number)s, %(amount)s, is void", number=facts.number, amount=facts.amount)


def _refunded(facts: Facts, more: dict[str, Any]) -> str:
    return _("%(amount)s of invoice %(number)s refunded", amount=more["refunded"], number=facts.number)


def _disputed(facts: Facts, more: dict[str, Any]) -> str:
    return f"{more['disputed']} of invoice {facts.number} disputed"


_SUBJECTS: dict[MailKind, Callable[[Facts, dict[str, Any]], str]] = {
    MailKind.ISSUED: _issued,
    MailKind.RECEIPT: _receipt,
    MailKind.FAILED_PAYMENT: _failed_payment,
    MailKind.REMINDER: _reminder,
    MailKind.CREDITED: _credited,
    MailKind.VOIDED: _voided,
    MailKind.REFUNDED: _refunded,
    MailKind.DISPUTED: _disputed,
}
