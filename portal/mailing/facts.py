"""What a mail says of an invoice, written out: from the view of the printed invoice and of the page's status panel."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from portal.config import Settings
from portal.core.lifecycle import InvoiceState, PaymentState
from portal.infra.formats import day, money, month_name
from portal.infra.languages import _
from portal.invoicing.credit_note_models import CreditNote
from portal.invoicing.credit_note_queries import corrections_of
from portal.invoicing.exporting.printed import printed_invoice
from portal.invoicing.models import Invoice
from portal.payments.reversal_models import Dispute, Refund
from portal.standing import Standing, overdue_since, standing_of

_PAID = (PaymentState.PAID, PaymentState.REFUNDED, PaymentState.DISPUTED)


@dataclass(frozen=True, slots=True)
class Facts:
    """Texts for subjects and templates. `amount` is what is to be paid, or was; after credit notes.

    `sentence` is how it stands, "" where the `notes` of the printed invoice say it; `overdue` is since when it is late,
    "" while it is not; `days_left` counts to the due date.
    """

    organization: str
    seller: str
    number: str
    month: str
    amount: str
    nothing_to_pay: bool
    is_settled: bool
    still_due: str
    due: str
    days_left: int
    overdue: str
    sentence: str
    rows: list[list[str]]
    notes: list[str]
    page_url: str
    pay_url: str | None
    choice_url: str


def facts_of(invoice: Invoice, settings: Settings, *, now: datetime) -> Facts:
    """What there is to say of a final or void invoice, as its page says it now."""
    assert invoice.document is not None, invoice.id
    assert invoice.due_date is not None, invoice.id
    today = now.astimezone(UTC).date()
    corrections = corrections_of(invoice)
    standing = standing_of(invoice, now=now, settings=settings)
    printed = printed_invoice(invoice, portal_url=settings.portal_url)
    to_pay = invoice.amount_due - corrections.lowered
    late_from = overdue_since(invoice, today)
    return Facts(
        organization=invoice.organization.name,
        seller=invoice.document["seller"]["name"],
        number=str(invoice.number),
        month=month_name(invoice.period_start),
        amount=money(to_pay, invoice.currency),
        nothing_to_pay=not to_pay,
        is_settled=invoice.payment_state in _PAID,
        still_due=money(corrections.still_due, invoice.currency) if corrections.still_due else "",
        due=day(invoice.due_date),
        days_left=(invoice.due_date - today).days,
        overdue=day(late_from) if late_from else "",
        sentence=_sentence(invoice, to_pay, standing),
        rows=[[_(label), value] for label, value in _rows(printed)],
        notes=printed["notes"],
        page_url=f"{settings.portal_url}/invoices/{invoice.public_id}",
        pay_url=standing.pay_url if corrections.still_due else None,
        choice_url=f"{settings.portal_url}/settings/mail",
    )


def _rows(printed: dict[str, Any]) -> list[list[str]]:
    return [*printed["details"], *([row["label"], row["amount"]] for row in printed["sums"])]


def _sentence(invoice: Invoice, to_pay: int, standing: Standing) -> str:
    if invoice.state == InvoiceState.VOID or to_pay:
        return standing.sentence
    return _("There is nothing to pay.") if invoice.amount_due else ""


def credit_facts(note: CreditNote, settings: Settings) -> dict[str, Any]:
    """What there is to say of a credit note, in the words of its page."""
    rows = [[_("Reason"), note.reason], [_("Credited"), money(note.total, note.currency)]]
    uses = (
        (_("Taken off what was due"), note.off_due - note.overpaid),
        (_("Refunded") if note.sync_state == "synced" else _("Being refunded"), note.to_refund),
        (_("Put on the account balance"), note.to_balance + note.overpaid),
    )
    return {
        "note_number": str(note.number),
        "credited": money(note.total, note.currency),
        "rows": rows + [[label, money(amount, note.currency)] for label, amount in uses if amount],
        "note_url": f"{settings.portal_url}/credit-notes/{note.public_id}",
    }


def refund_facts(refund: Refund, invoice: Invoice) -> dict[str, Any]:
    """What there is to say of a refund; the reason is for staff."""
    rows = [
        [_("Refunded"), money(refund.amount, invoice.currency)],
        [_("On"), day(refund.created_at.astimezone(UTC).date())],
        [_("Paid"), money(invoice.amount_paid, invoice.currency)],
        [_("Gone back in all"), money(invoice.amount_refunded, invoice.currency)],
    ]
    return {"refunded": money(refund.amount, invoice.currency), "rows": rows}


def dispute_facts(dispute: Dispute, invoice: Invoice, settings: Settings) -> dict[str, Any]:
    """What there is to say of a dispute, to staff."""
    return {
        "disputed": money(dispute.amount, invoice.currency),
        "due_by": day(dispute.due_by.astimezone(UTC).date()) if dispute.due_by else "",
        "staff_url": f"{settings.portal_url}/admin/invoices/{invoice.public_id}",
    }


def days_until(days_left: int, due: str) -> str:
    """When an invoice is due, as a subject says it: "is due in 3 days, on 6 Dec 2026"."""
    if days_left == 0:
        return _("is due today, %(day)s", day=due)
    if days_left == 1:
        return _("is due tomorrow, on %(day)s", day=due)
    return _("is due in %(days)s days, on %(day)s", days=days_left, day=due)
