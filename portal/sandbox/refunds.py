"""Refunds and disputes: money that goes back after an invoice was paid, by us or by the customer's bank."""

from typing import Any

from .errors import StripeError, no_such
from .events import emit
from .lists import newest_first, page
from .shapes import EXPAND, PAGE, Shape, integer, metadata, not_imitated, one_of, text
from .store import Json, Store, new_id

CREATE_SHAPE: Shape = {
    "amount": integer,
    "metadata": metadata,
    "payment_intent": text,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
    **EXPAND,
    **not_imitated("charge", "currency", "customer", "instructions_email", "origin"),
    **not_imitated("refund_application_fee", "reverse_transfer"),
}
LIST_SHAPE: Shape = {**PAGE, "payment_intent": text, **not_imitated("charge", "created")}
PAYMENTS_SHAPE: Shape = {
    **PAGE,
    "invoice": text,
    "payment": {
        "type": one_of("payment_intent", "payment_record"),
        "payment_intent": text,
        **not_imitated("payment_record"),
    },
    "status": one_of("open", "paid", "canceled"),
    **not_imitated("created"),
}
DAYS_FOR_EVIDENCE = 7
OUTCOMES = ("won", "lost")


def create(store: Store, params: dict[str, Any]) -> Json:
    """Give back what a payment intent has received, or a part of it."""
    intent = store.payment_intents.get(params["payment_intent"])
    if intent is None:
        raise no_such("payment_intent", params["payment_intent"], param="payment_intent")
    left = intent["amount_received"] - _given_back(store, intent)
    amount = params.get("amount", left)
    if not left:
        raise StripeError("This payment has no charge, or it has been refunded.", code="charge_already_refunded")
    if not 0 < amount <= left:
        raise StripeError(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).")
    refund: Json = {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "charge": _charge_id(intent),
        "created": store.clock.now(),
        "currency": intent["currency"],
        "failure_reason": None,
        "metadata": params.get("metadata", {}),
        "payment_intent": intent["id"],
        "reason": params.get("reason"),
        "status": "succeeded",
    }
    store.refunds[refund["id"]] = refund
    emit(store, "refund.created", refund)
    emit(store, "charge.refunded", _charge(store, intent))
    return refund


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One refund by its id."""
    if id not in store.refunds:
        raise no_such("refund", id)
    return store.refunds[id]


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Refunds, newest first; of one payment intent if it is named."""
    return page(_of_intent(store.refunds, params), params, "/v1/refunds", "refund")


def list_disputes(store: Store, params: dict[str, Any]) -> Json:
    """Disputes, newest first; of one payment intent if it is named."""
    return page(_of_intent(store.disputes, params), params, "/v1/disputes", "dispute")


def list_payments(store: Store, params: dict[str, Any]) -> Json:
    """The payments of invoices, found by the invoice or by the payment intent."""
    wanted = (params.get("payment") or {}).get("payment_intent")
    rows = [
        payment
        for payment in store.payments.values()
        if params.get("invoice") in (None, payment["invoice"])
        and params.get("status") in (None, payment["status"])
        and wanted in (None, payment["payment"]["payment_intent"])
    ]
    return page(newest_first(rows), params, "/v1/invoice_payments", "invoice_payment")


def of_invoice(store: Store, invoice: str, amount: int | None) -> Json:
    """Refund an invoice's payment, as the dashboard and credit notes do; all of it without an amount."""
    payment = store.payments.get(invoice)
    if payment is None:
        raise StripeError("This invoice was not paid with a card, so nothing can be refunded.")
    wanted = {} if amount is None else {"amount": amount}
    return create(store, {"payment_intent": payment["payment"]["payment_intent"], **wanted})


def fail(store: Store, id: str) -> Json:
    """The customer's bank does not take a refund: the money is back here."""
    refund = retrieve(store, {}, id)
    refund.update(status="failed", failure_reason="expired_or_canceled_card")
    emit(store, "refund.failed", refund)
    emit(store, "refund.updated", refund)
    return refund


def dispute(store: Store, invoice: str) -> Json:
    """The customer asks the bank for the money back."""
    payment = store.payments.get(invoice)
    intent = store.payment_intents[payment["payment"]["payment_intent"]] if payment else None
    if intent is None or not intent["amount_received"]:
        raise StripeError("Only what was paid with a card can be disputed.")
    now = store.clock.now()
    made: Json = {
        "id": new_id("dp"),
        "object": "dispute",
        "amount": intent["amount_received"] - _given_back(store, intent),
        "charge": _charge_id(intent),
        "created": now,
        "currency": intent["currency"],
        "evidence_details": {"due_by": now + DAYS_FOR_EVIDENCE * 86400, "has_evidence": False},
        "metadata": {},
        "payment_intent": intent["id"],
        "reason": "general",
        "status": "needs_response",
    }
    store.disputes[made["id"]] = made
    emit(store, "charge.dispute.created", made)
    return made


def close(store: Store, id: str, outcome: str) -> Json:
    """The bank decides."""
    if id not in store.disputes:
        raise no_such("dispute", id)
    if outcome not in OUTCOMES:
        raise StripeError(f"outcome must be one of {', '.join(OUTCOMES)}", param="outcome")
    store.disputes[id]["status"] = outcome
    emit(store, "charge.dispute.closed", store.disputes[id])
    return store.disputes[id]


def _of_intent(table: dict[str, Json], params: dict[str, Any]) -> list[Json]:
    return newest_first(row for row in table.values() if params.get("payment_intent") in (None, row["payment_intent"]))


def _given_back(store: Store, intent: Json) -> int:
    refunds = _of_intent(store.refunds, {"payment_intent": intent["id"]})
    return sum(refund["amount"] for refund in refunds if refund["status"] != "failed")


def _charge_id(intent: Json) -> str:
    return str(intent["id"]).replace("pi_", "ch_", 1)


def _charge(store: Store, intent: Json) -> Json:
    given_back = _given_back(store, intent)
    return {
        "id": _charge_id(intent),
        "object": "charge",
        "amount": intent["amount_received"],
        "amount_refunded": given_back,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "payment_intent": intent["id"],
        "refunded": given_back == intent["amount_received"],
    }
