"""What went back of a payment, in words: a sentence for the invoice, and the lines of its history."""

from dataclasses import dataclass
from datetime import datetime

from portal.infra.formats import day, money
from portal.invoicing.models import Invoice
from portal.payments.reversal_models import Dispute, Refund
from portal.payments.reversing import disputes_on, refunds_on


@dataclass(frozen=True, slots=True)
class WentBack:
    """`summary` is None while nothing did; `history` holds moments and what happened, oldest first."""

    summary: str | None
    history: list[tuple[datetime, str]]


def went_back_of(invoice: Invoice, *, for_staff: bool = False) -> WentBack:
    """What became of the payment of an invoice. What Stripe refused to refund is for staff only."""
    refunds = [each for each in refunds_on(invoice.id) if for_staff or each.state != "dead"]
    disputes = disputes_on(invoice.id)
    history = [(each.created_at, _refund_words(each, invoice.currency)) for each in refunds]
    history += [(each.opened_at, _dispute_words(each, invoice.currency)) for each in disputes]
    return WentBack(_summary(invoice, refunds, disputes), sorted(history))


def _summary(invoice: Invoice, refunds: list[Refund], disputes: list[Dispute]) -> str | None:
    if any(each.is_open for each in disputes):
        return _dispute_words(next(each for each in disputes if each.is_open), invoice.currency) + "."
    refunded = sum(each.amount for each in refunds if each.state == "succeeded")
    lost = sum(each.amount for each in disputes if each.status == "lost")
    if lost:
        return f"The bank gave {money(lost, invoice.currency)} back to the customer."
    if not refunded:
        return None
    amount = money(refunded, invoice.currency)
    whole = money(invoice.amount_paid, invoice.currency)
    return f"Refunded: {amount}." if refunded >= invoice.amount_paid else f"Partly refunded: {amount} of {whole}."


def _refund_words(refund: Refund, currency: str) -> str:
    amount = money(refund.amount, currency)
    return {
        "pending": f"Refund of {amount} is on its way",
        "succeeded": f"Refunded {amount}",
        "failed": f"Refund of {amount} failed: the bank did not take it",
        "dead": f"Refund of {amount} was not made: {refund.message}",
    }[refund.state]


def _dispute_words(dispute: Dispute, currency: str) -> str:
    amount = money(dispute.amount, currency)
    if dispute.status == "won":
        return f"Dispute over {amount} won: the payment stays"
    if dispute.status == "lost":
        return f"Dispute over {amount} lost: it went back to the customer"
    if not dispute.is_open:
        return f"The bank asked about {amount}"
    until = f" until {day(dispute.due_by.date())}" if dispute.due_by and dispute.status == "needs_response" else ""
    return f"Disputed at the bank: {amount}, to be answered{until}" if until else f"Disputed at the bank: {amount}"
