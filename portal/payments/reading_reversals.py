"""What Stripe has of an invoice's payment and of the money that went back: read whole, by the payment behind it."""

from dataclasses import dataclass
from typing import Any

from portal.infra.outbox import GiveUp
from portal.payments import gateway
from portal.payments.gateway import all_pages, client_of_app
from portal.payments.journal import read_now


@dataclass(frozen=True, slots=True)
class Reversals:
    """Stripe's refunds and disputes of one payment, but for the refunds that credit notes made: those count there."""

    refunds: list[dict[str, Any]]
    disputes: list[dict[str, Any]]


def payment_behind(stripe_invoice: str) -> str:
    """The payment intent that has paid an invoice. Raises GiveUp if none has, or several have."""
    paid = read_now(lambda: _payments({"invoice": stripe_invoice, "status": "paid"}))
    intents = {each["payment"].get("payment_intent") for each in paid if each["payment"].get("payment_intent")}
    if len(intents) != 1:
        how = "in several parts" if intents else "outside of Stripe"
        raise GiveUp(f"It was paid {how}, so it cannot be refunded from here. Do it where the payment is.")
    return str(intents.pop())


def invoice_paid_with(intent: str) -> str | None:
    """Stripe's id of the invoice that a payment intent pays; None if it pays none."""
    found = read_now(lambda: _payments({"payment": {"type": "payment_intent", "payment_intent": intent}}))
    return str(found[0]["invoice"]) if found else None


def reversals_of(stripe_invoice: str, intent: str) -> Reversals:
    """All refunds and disputes of a payment, as Stripe has them now."""
    client, wanted = client_of_app(), {"payment_intent": intent}
    notes = read_now(lambda: gateway.credit_notes_on(stripe_invoice))
    by_notes = {each.get("refund") for note in notes for each in note.get("refunds") or ()}
    refunds = read_now(lambda: all_pages(lambda page: client.v1.refunds.list(wanted | page)))
    disputes = read_now(lambda: all_pages(lambda page: client.v1.disputes.list(wanted | page)))
    return Reversals([each for each in refunds if each["id"] not in by_notes], disputes)


def _payments(wanted: Any) -> list[dict[str, Any]]:
    client = client_of_app()
    return all_pages(lambda page: client.v1.invoice_payments.list(wanted | page))
