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

    Idempotent by organization and `key`: what has been written once is not written again, whatever it says now.
    """
    settings = settings_now()
    facts = facts_of(invoice, settings, now=now)
    subject = one_line(f"{facts.organization}: {_SUBJECTS[kind](facts, more)}")
    has_pdf = kind is MailKind.ISSUED and settings.mail_attach_pdf
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
    """Write a mail that is about no invoice and queue it, in the current transaction. Idempotent as `write` is."""
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


def _issued(facts: Facts, _: dict[str, Any]) -> str:
    if facts.nothing_to_pay:
        return f"invoice {facts.number}, nothing to pay"
    return f"invoice {facts.number}, {facts.amount}, {'paid' if facts.is_settled else f'due {facts.due}'}"


def _receipt(facts: Facts, _: dict[str, Any]) -> str:
    return f"receipt for invoice {facts.number}, {facts.amount}"


def _failed_payment(facts: Facts, more: dict[str, Any]) -> str:
    what = "wants your confirmation" if more["wants_confirmation"] else "failed"
    return f"the payment of invoice {facts.number}, {facts.amount}, {what}"


def _reminder(facts: Facts, _: dict[str, Any]) -> str:
    when = f"overdue since {facts.overdue}" if facts.overdue else days_until(facts.days_left, facts.due)
    return f"invoice {facts.number}, {facts.amount}, {when}"


def _credited(facts: Facts, more: dict[str, Any]) -> str:
    return f"credit note {more['note_number']}, {more['credited']}, for invoice {facts.number}"


def _voided(facts: Facts, _: dict[str, Any]) -> str:
    return f"invoice {facts.number}, {facts.amount}, is void"


def _refunded(facts: Facts, more: dict[str, Any]) -> str:
    return f"{more['refunded']} of invoice {facts.number} refunded"


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
