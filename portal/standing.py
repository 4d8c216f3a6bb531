"""How an invoice stands, in words for the customer: what happens now, whether to pay, how soon to look again."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from portal.config import Settings
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState
from portal.core.saying import Said
from portal.infra.formats import day, moment, money
from portal.infra.languages import _
from portal.invoicing.models import Invoice

SOON_SECONDS, WATCHING_SECONDS = 2, 5
PAYABLE = {PaymentState.OPEN, PaymentState.ACTION_REQUIRED, PaymentState.FAILED}
_BEFORE_PAYMENT = {PaymentState.NONE, PaymentState.OPEN}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the status panel says. `state` is one word for programs; `look_again_seconds` is None when nothing moves."""

    state: str
    headline: str
    sentence: str
    overdue_since: date | None
    pay_url: str | None
    look_again_seconds: int | None

    @property
    def is_moving(self) -> bool:
        """Whether it changes by itself within seconds, so that a page without JavaScript reloads itself."""
        return self.look_again_seconds == SOON_SECONDS


def standing_of(invoice: Invoice, *, now: datetime, settings: Settings) -> Standing:
    """How a final or void invoice stands."""
    today = now.astimezone(UTC).date()
    return Standing(
        state=word_of(invoice),
        headline=_headline(invoice),
        sentence=_sentence(invoice, today),
        overdue_since=overdue_since(invoice, today),
        pay_url=_pay_url(invoice, settings) if is_payable(invoice) else None,
        look_again_seconds=_look_again(invoice),
    )


def is_payable(invoice: Invoice) -> bool:
    """Whether the customer is to pay it now.

    Only what both sides agree on: not before it has been sent, and not while something does not match.
    """
    agreed = invoice.state == InvoiceState.FINALIZED and invoice.sync_state == SyncState.SYNCED
    return agreed and invoice.payment_state in PAYABLE


def word_of(invoice: Invoice) -> str:
    """One word: what the document is, or, once there is something to pay, how the payment stands."""
    if invoice.state == InvoiceState.FINALIZED and invoice.payment_state != PaymentState.NONE:
        return invoice.payment_word
    return str(invoice.state)


def is_overdue(invoice: Invoice, today: date) -> bool:
    """Whether the due date has passed without a payment."""
    return overdue_since(invoice, today) is not None


def overdue_since(invoice: Invoice, today: date) -> date | None:
    """The first day on which it is late, the one after its due date; None while it is not, or need not be paid."""
    if invoice.state != InvoiceState.FINALIZED or invoice.payment_state not in PAYABLE or invoice.due_date is None:
        return None
    return invoice.due_date + timedelta(days=1) if invoice.due_date < today else None


def second_of(value: datetime) -> str:
    """A time of day to the second: 14:45:10 UTC."""
    return f"{value.astimezone(UTC):%H:%M:%S} UTC"


def _look_again(invoice: Invoice) -> int | None:
    if invoice.state != InvoiceState.FINALIZED:
        return None
    if invoice.sync_state == SyncState.PENDING:
        return SOON_SECONDS
    if invoice.sync_state == SyncState.UNKNOWN or invoice.payment_state in PAYABLE | {PaymentState.PROCESSING}:
        return WATCHING_SECONDS
    return None


def _headline(invoice: Invoice) -> str:
    if invoice.state == InvoiceState.VOID or not invoice.amount_due:
        return _("Nothing is due")
    amount = money(invoice.amount_due, invoice.currency)
    if invoice.payment_state in (PaymentState.PAID, PaymentState.REFUNDED):
        return (
            _("%(amount)s refunded", amount=amount)
            if invoice.payment_state == PaymentState.REFUNDED
            else _("%(amount)s paid", amount=amount)
        )
    return amount if invoice.payment_state == PaymentState.UNCOLLECTIBLE else _("%(amount)s due", amount=amount)


def _sentence(invoice: Invoice, today: date) -> str:
    if invoice.state == InvoiceState.VOID:
        return _("This invoice is void: it does not count, and there is nothing to pay.")
    if invoice.moved < 0:
        return _("There is nothing to pay here: %(payer)s is billed for it.", payer=invoice.payer_name)
    if not invoice.amount_due:
        return _("There is nothing to pay.")
    if invoice.payment_state in _BEFORE_PAYMENT and invoice.sync_state != SyncState.SYNCED:
        return _(_SENDING[SyncState(invoice.sync_state)])
    if invoice.payment_state == PaymentState.PAID:
        return (
            _("Paid on %(moment)s. Thank you.", moment=moment(invoice.paid_at))
            if invoice.paid_at
            else _("Paid. Thank you.")
        )
    due = _due(invoice, today)
    return {
        PaymentState.NONE: due,
        PaymentState.OPEN: due,
        PaymentState.FAILED: f"{invoice.payment_message or _('The payment failed.')} {due}".strip(),
        PaymentState.ACTION_REQUIRED: _(
            "Your bank wants the payment to be confirmed; the Pay link leads there. %(due)s", due=due
        ),
        PaymentState.PROCESSING: _("Your payment is on its way. With some banks this takes a few days."),
        PaymentState.UNCOLLECTIBLE: _("We no longer expect a payment for this invoice."),
        PaymentState.REFUNDED: _("The payment was refunded."),
        PaymentState.DISPUTED: _("The payment is disputed at the bank; we wait for the bank's decision."),
    }[PaymentState(invoice.payment_state)]


_SENDING = {
    SyncState.NONE: Said("The payment page is being prepared."),
    SyncState.PENDING: Said("The payment page is being prepared; the Pay link appears here in a moment."),
    SyncState.UNKNOWN: Said(
        "We do not know yet whether the payment page is ready. Nothing is billed twice; we look again."
    ),
    SyncState.MISMATCH: Said("We are checking this invoice. There is nothing that you have to do."),
    SyncState.DEAD: Said("We are checking this invoice. There is nothing that you have to do."),
}


def _due(invoice: Invoice, today: date) -> str:
    if invoice.due_date is None:
        return _("Please pay on receipt.")
    late_from = overdue_since(invoice, today)
    if late_from is not None:
        return _(
            "Overdue since %(since)s: payment was due on %(day)s.", since=day(late_from), day=day(invoice.due_date)
        )
    return _("Payment is due on %(day)s.", day=day(invoice.due_date))


def _pay_url(invoice: Invoice, settings: Settings) -> str | None:
    """Where to pay. The sandbox's page is told the way back; Stripe's own page knows it from its settings."""
    address = invoice.hosted_invoice_url
    if not address or not settings.stripe_api_base:
        return address
    parts = urlsplit(address)
    back = f"{settings.portal_url}/invoices/{invoice.public_id}"
    query = urlencode([*parse_qsl(parts.query), ("return_url", back)])
    return urlunsplit(parts._replace(query=query))
