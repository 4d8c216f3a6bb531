"""Credit notes: taking back part of what a finalized invoice asked for."""

from typing import Any

from . import refunds, settling
from .customers import balance_of, set_balance
from .errors import StripeError, no_such, not_editable
from .events import emit
from .lists import newest_first, page, within
from .rendering import render
from .shapes import NO_EXPAND, PAGE, Shape, integer, metadata, moments, not_imitated, one_of, text
from .store import Json, Store, new_id
from .totals import existing

_LINE: Shape = {
    "amount": integer,
    "description": text,
    "invoice_line_item": text,
    "metadata": metadata,
    "quantity": integer,
    "type": one_of("custom_line_item", "invoice_line_item"),
    "unit_amount": integer,
    **not_imitated("tax_amounts", "tax_rates", "unit_amount_decimal"),
}
CREATE_SHAPE: Shape = {
    "amount": integer,
    "credit_amount": integer,
    "effective_at": integer,
    "email_type": one_of("credit_note", "none"),
    "invoice": text,
    "lines": [_LINE],
    "memo": text,
    "metadata": metadata,
    "out_of_band_amount": integer,
    "reason": one_of("duplicate", "fraudulent", "order_change", "product_unsatisfactory"),
    "refund_amount": integer,
    **NO_EXPAND,
    **not_imitated("refunds", "shipping_cost"),
}
LIST_SHAPE: Shape = {
    **PAGE,
    **NO_EXPAND,
    "created": moments,
    "customer": text,
    "invoice": text,
    **not_imitated("customer_account"),
}
_DESTINATIONS = ("credit_amount", "refund_amount", "out_of_band_amount")


def create(store: Store, params: dict[str, Any]) -> Json:
    """Issue a credit note: it lowers what is open, or gives back what was paid."""
    invoice = existing(store, params["invoice"], param="invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise not_editable(f"You can't credit an invoice that is {invoice['status']}.")
    lines = [_line(line) for line in params.get("lines") or []]
    amount = params.get("amount", sum(line["amount"] for line in lines))
    before_payment = invoice["status"] != "paid"
    _check_amount(invoice, amount, params, before_payment)
    note = _new_note(store, invoice, params, amount, lines, before_payment)
    store.credit_notes[note["id"]] = note
    emit(store, "credit_note.created", note)
    if before_payment:
        _lower(store, invoice, amount)
    else:
        invoice["post_payment_credit_notes_amount"] += amount
        _give_back(store, invoice, params.get("credit_amount", 0))
        _refund(store, invoice, note, params.get("refund_amount", 0))
    emit(store, "invoice.updated", render(store, invoice))
    return note


def retrieve(store: Store, params: dict[str, Any], id: str) -> Json:
    """One credit note by its id."""
    if id not in store.credit_notes:
        raise no_such("credit_note", id)
    return store.credit_notes[id]


def list_all(store: Store, params: dict[str, Any]) -> Json:
    """Credit notes, newest first, by customer and invoice."""
    rows = [
        note
        for note in store.credit_notes.values()
        if params.get("customer") in (None, note["customer"])
        and params.get("invoice") in (None, note["invoice"])
        and within(note["created"], params.get("created"))
    ]
    return page(newest_first(rows), params, "/v1/credit_notes", "credit_note")


def void(store: Store, params: dict[str, Any], id: str) -> Json:
    """Take a credit note back, as long as its invoice is still open."""
    note = retrieve(store, params, id)
    invoice = store.invoices[note["invoice"]]
    if note["status"] == "void" or invoice["status"] != "open":
        raise StripeError("You can only void issued credit notes of open invoices.")
    note.update(status="void", voided_at=store.clock.now())
    emit(store, "credit_note.voided", note)
    _lower(store, invoice, -note["amount"])
    emit(store, "invoice.updated", render(store, invoice))
    return note


def _check_amount(invoice: Json, amount: int, params: dict[str, Any], before_payment: bool) -> None:
    if amount <= 0:
        raise StripeError("The credit note amount must be greater than 0.", param="amount")
    already = invoice["post_payment_credit_notes_amount"]
    available = invoice["amount_remaining"] if before_payment else invoice["amount_paid"] - already
    if amount > available:
        raise StripeError(
            f"The credit note amount ({amount}) is greater than what can be credited ({available}).",
            param="amount",
        )
    given_back = sum(params.get(name) or 0 for name in _DESTINATIONS)
    if not before_payment and given_back != amount:
        raise StripeError(
            "The sum of credit_amount, refund_amount and out_of_band_amount must equal the credit note's "
            f"amount ({given_back} vs {amount})."
        )
    if before_payment and given_back:
        raise StripeError("Nothing was paid yet, so nothing can be refunded or credited to the balance.")


def _line(given: dict[str, Any]) -> Json:
    amount = given.get("amount")
    if amount is None:
        amount = given.get("unit_amount", 0) * given.get("quantity", 1)
    return {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": given.get("description"),
        "discount_amount": 0,
        "invoice_line_item": given.get("invoice_line_item"),
        "livemode": False,
        "metadata": given.get("metadata", {}),
        "quantity": given.get("quantity"),
        "type": given.get("type", "custom_line_item"),
        "unit_amount": given.get("unit_amount"),
    }


def _new_note(
    store: Store, invoice: Json, params: dict[str, Any], amount: int, lines: list[Json], before_payment: bool
) -> Json:
    id = new_id("cn")
    earlier = sum(note["invoice"] == invoice["id"] for note in store.credit_notes.values())
    now = store.clock.now()
    return {
        "id": id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": params.get("effective_at") or now,
        "invoice": invoice["id"],
        "lines": {"object": "list", "data": lines, "has_more": False, "url": f"/v1/credit_notes/{id}/lines"},
        "livemode": False,
        "memo": params.get("memo"),
        "metadata": params.get("metadata", {}),
        "number": f"{invoice['number']}-CN-{earlier + 1:02d}",
        "out_of_band_amount": params.get("out_of_band_amount"),
        "pdf": None,
        "post_payment_amount": 0 if before_payment else amount,
        "pre_payment_amount": amount if before_payment else 0,
        "pretax_credit_amounts": [],
        "reason": params.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": "pre_payment" if before_payment else "post_payment",
        "voided_at": None,
    }


def _lower(store: Store, invoice: Json, amount: int) -> None:
    invoice["pre_payment_credit_notes_amount"] += amount
    invoice["amount_due"] -= amount
    invoice["amount_remaining"] -= amount
    if invoice["amount_remaining"] == 0:
        settling.settled_by_credit(store, invoice)


def _give_back(store: Store, invoice: Json, amount: int) -> None:
    customer = store.customers[invoice["customer"]]
    if amount and not customer.get("deleted"):
        set_balance(store, customer, invoice["currency"], balance_of(customer, invoice["currency"]) - amount)


def _refund(store: Store, invoice: Json, note: Json, amount: int) -> None:
    """Refund the payment behind the invoice; what was paid out of band goes back in the same way."""
    if amount and invoice["id"] in store.payments:
        made = refunds.of_invoice(store, invoice["id"], amount)
        note["refunds"] = [{"amount_refunded": amount, "refund": made["id"], "type": "refund"}]
