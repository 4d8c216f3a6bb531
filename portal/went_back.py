"""What went back of a payment, in words: a sentence for the invoice, and the lines of its history."""

from dataclasses import dataclass
from datetime import datetime

from portal.infra.formats import day, money
from portal.infra.languages import _
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
        return _("The bank gave %(amount)s back to the customer.", amount=money(lost, invoice.currency))
    if not refunded:
        return None
    amount = money(refunded, invoice.currency)
    whole = money(invoice.amount_paid, invoice.currency)
    return (
        _("Refunded: %(amount)s.", amount=amount)
        if refunded >= invoice.amount_paid
        else _("Partly refunded: %(amount)s of %(whole)s.", amount=amount, whole=whole)
    )


def _refund_words(refund: Refund, currency: str) -> str:
    amount = money(refund.amount, currency)
    return {
        "pending": _("Refund of %(amount)s is on its way", amount=amount),
        "succeeded": _("Refunded %(amount)s", amount=amount),
        "failed": _("Refund of %(amount)s failed: the bank did not take it", amount=amount),
        "dead": _("Refund of %(amount)s was not made: %(message)s", amount=amount, message=refund.message),
    }[refund.state]


def _dispute_words(dispute: Dispute, currency: str) -> str:
    amount = money(dispute.amount, currency)
    if dispute.status == "won":
        return _("Dispute over %(amount)s won: the payment stays", amount=amount)
    if dispute.status == "lost":
        return _("Dispute over %(amount)s lost: it went back to the customer", amount=amount)
    if not dispute.is_open:
        return _("The bank asked about %(amount)s", amount=amount)
    if dispute.due_by and dispute.status == "needs_response":
        until = day(dispute.due_by.date())
        return _("Disputed at the bank: %(amount)s, to be answered until %(day)s", amount=amount, day=until)
    return _("Disputed at the bank: %(amount)s", amount=amount)
