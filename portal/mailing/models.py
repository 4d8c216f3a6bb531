"""Tables of mails and of who wants them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import Integer, Text

from portal.infra.db import Model, Public
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization


class MailKind(StrEnum):
    """What a mail is about."""

    ISSUED = "issued"
    RECEIPT = "receipt"
    FAILED_PAYMENT = "failed_payment"
    REMINDER = "reminder"
    CREDITED = "credited"
    VOIDED = "voided"
    BUDGET = "budget"
    WEBHOOK = "webhook"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


class MailState(StrEnum):
    """How far a mail is; `not_sent` was never handed to a server, and `last_error` says why."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"
    NOT_SENT = "not_sent"


class Mail(Public, Model):
    """One mail, as it was written.

    `recipients` are whom it goes to, found anew at every attempt; `delivered` are those for whom a server has taken it.
    Texts and addresses are empty once their time is over (retention.py).
    """

    __tablename__ = "mails"
    __table_args__ = (
        UniqueConstraint("organization_id", "dedupe_key"),
        Index("ix_mails_state_id", "state", "id"),
        Index("ix_mails_invoice_id", "invoice_id"),
        Index("ix_mails_with_text", "created_at", postgresql_where=text("body_text <> ''")),
        CheckConstraint(
            "kind IN ('issued', 'receipt', 'failed_payment', 'reminder', 'credited', 'voided', 'budget', 'webhook',"
            " 'refunded', 'disputed')",
            name="kind_known",
        ),
        CheckConstraint("state IN ('queued', 'sent', 'failed', 'not_sent')", name="state_known"),
        CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent_at_when_sent"),
        CheckConstraint("state = 'sent' OR state = 'queued' OR last_error IS NOT NULL", name="unsent_with_an_error"),
    )

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"))
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    kind: Mapped[MailKind] = mapped_column(Text)
    dedupe_key: Mapped[str]
    subject: Mapped[str]
    body_text: Mapped[str]
    body_html: Mapped[str]
    has_pdf: Mapped[bool] = mapped_column(server_default=text("false"))
    # Of a mail that somebody has asked for again.
    reason: Mapped[str | None]
    asked_by: Mapped[str | None]

    state: Mapped[MailState] = mapped_column(Text, server_default="queued")
    recipients: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    delivered: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship()
    invoice: Mapped[Invoice | None] = relationship()


class MailChoice(Model):
    """Whether a member wants mails about invoices; without a row, owners and billing do and others do not."""

    __tablename__ = "mail_choices"
    __table_args__ = (Index("ix_mail_choices_user_id", "user_id"),)

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id"), primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, autoincrement=False)
    about_invoices: Mapped[bool]


# What reminders look for: unpaid invoices by the day on which they are due.
Index(
    "ix_invoices_unpaid_due_date",
    Invoice.due_date,
    postgresql_where=text("state = 'finalized' AND payment_state IN ('open', 'action_required', 'failed')"),
)
