"""From a draft to its end: finalizing, collecting, voiding, writing off."""

from typing import Any

from . import invoices, payments
from .cards import card_of_payment_method
from .currencies import LARGEST_AMOUNT, minimum_charge
from .customers import balance_of, living, set_balance
from .errors import StripeError, card_error, not_editable
from .events import emit
from .invoices import DAY_SECONDS
from .rendering import render
from .shapes import EXPAND, Shape, boolean, not_imitated, text
from .store import Json, Store
from .totals import existing, recompute

FINALIZE_SHAPE: Shape = {"auto_advance": boolean, **EXPAND}
PAY_SHAPE: Shape = {
    "paid_out_of_band": boolean,
    "payment_method": text,
    "off_session": boolean,
    **EXPAND,
    **not_imitated("forgive", "mandate", "source"),
}
PLAIN_SHAPE: Shape = EXPAND

MOST_ATTEMPTS = 4
RETRY_DAYS = 3


def update(store: Store, params: dict[str, Any], id: str) -> Json:
    """Change an invoice; switching `auto_advance` on for an open one starts its collection."""
    invoice = invoices.change(store, params, id)
    if params.get("auto_advance"):
        _collect_if_automatic(store, invoice)
    return render(store, invoice, params.get("expand"))


def finalize(store: Store, params: dict[str, Any], id: str) -> Json:
    """Make the draft final, number it, and settle or collect what is due."""
    invoice = existing(store, id)
    if invoice["status"] != "draft":
        raise not_editable("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    customer = living(store, invoice["customer"], param="customer")
    recompute(store, invoice)
    _refuse_unfinalizable(store, invoice, customer)
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    _number(invoice, customer)
    _apply_balance(store, invoice, customer)
    invoice.update(
        status="open", last_finalization_error=None, automatically_finalizes_at=None,
        effective_at=invoice["effective_at"] or store.clock.now(),
    )  # fmt: skip
    invoice["status_transitions"]["finalized_at"] = store.clock.now()
    customer["currency"] = customer["currency"] or invoice["currency"]
    emit(store, "invoice.finalized", render(store, invoice))
    if invoice["amount_due"] == 0:
        _mark_paid(store, invoice)
    else:
        _collect_if_automatic(store, invoice)
    return render(store, invoice, params.get("expand"))


def pay(store: Store, params: dict[str, Any], id: str) -> Json:
    """Pay now: out of band, with the named payment method, or with the customer's card.

    :raise StripeError: the card was declined or needs its owner; the attempt counts all the same
    """
    invoice = existing(store, id)
    if params.get("paid_out_of_band"):
        _refuse_unpayable(invoice)
        _mark_paid(store, invoice)
        return render(store, invoice, params.get("expand"))
    method = params.get("payment_method") or invoice["default_payment_method"]
    card = card_of_payment_method(store, method) if method else store.cards.get(invoice["customer"], "none")
    if card == "none":
        _refuse_unpayable(invoice)
        raise StripeError(
            "There is no `default_payment_method` set on this Customer or Invoice. Please set one, or pass "
            "a `payment_method`."
        )
    attempt(store, invoice, card)
    if card == "declines":
        raise card_error("Your card was declined.", "card_declined", "generic_decline")
    if card == "requires_action":
        raise card_error(
            "Payment for this invoice requires additional user action before it can be completed successfully.",
            "invoice_payment_intent_requires_action",
        )
    return render(store, invoice, params.get("expand"))


def attempt(store: Store, invoice: Json, card: str) -> None:
    """Try to collect what is open with a card that behaves like this."""
    _refuse_unpayable(invoice)
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    payments.record(store, invoice, card)
    if card == "succeeds":
        _mark_paid(store, invoice)
        return
    again = invoice["auto_advance"] and invoice["attempt_count"] < MOST_ATTEMPTS
    invoice["next_payment_attempt"] = store.clock.now() + RETRY_DAYS * DAY_SECONDS if again else None
    event = "invoice.payment_action_required" if card == "requires_action" else "invoice.payment_failed"
    emit(store, event, render(store, invoice))


def void(store: Store, params: dict[str, Any], id: str) -> Json:
    """Declare a finalized, unpaid invoice never owed; balance that it used goes back to the customer."""
    invoice = existing(store, id)
    if invoice["status"] not in ("open", "uncollectible"):
        raise not_editable(f"You can only void open or uncollectible invoices; this one is {invoice['status']}.")
    customer = store.customers[invoice["customer"]]
    used = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if used and not customer.get("deleted"):
        set_balance(store, customer, invoice["currency"], balance_of(customer, invoice["currency"]) - used)
    _end(store, invoice, "void", "voided_at", "invoice.voided")
    return render(store, invoice, params.get("expand"))


def mark_uncollectible(store: Store, params: dict[str, Any], id: str) -> Json:
    """Write an open invoice off; it can still be paid or voided."""
    invoice = existing(store, id)
    if invoice["status"] != "open":
        raise not_editable(f"Only open invoices can be marked uncollectible; this one is {invoice['status']}.")
    _end(store, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")
    return render(store, invoice, params.get("expand"))


def send(store: Store, params: dict[str, Any], id: str) -> Json:
    """Send the invoice to its customer, finalizing it first when it is a draft."""
    invoice = existing(store, id)
    if invoice["collection_method"] != "send_invoice":
        raise StripeError("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        finalize(store, {}, id)
    elif invoice["status"] in ("paid", "void"):
        raise not_editable(f"You can't send a {invoice['status']} invoice.")
    emit(store, "invoice.sent", render(store, invoice))
    return render(store, invoice, params.get("expand"))


def pass_time(store: Store) -> None:
    """Do what Stripe does by itself once its moment has come: finalize drafts, retry payments."""
    now = store.clock.now()
    for invoice in list(store.invoices.values()):
        deadline, retry = invoice["automatically_finalizes_at"], invoice["next_payment_attempt"]
        if invoice["status"] == "draft" and deadline is not None and deadline <= now:
            _finalize_unattended(store, invoice)
        elif invoice["status"] == "open" and retry is not None and retry <= now:
            attempt(store, invoice, store.cards.get(invoice["customer"], "none"))


def settled_by_credit(store: Store, invoice: Json) -> None:
    """An open invoice of which credit notes left nothing to pay."""
    _mark_paid(store, invoice)


def _finalize_unattended(store: Store, invoice: Json) -> None:
    try:
        finalize(store, {}, invoice["id"])
    except StripeError as error:
        # Nobody is there to be told; Stripe leaves the draft with its error and stops trying.
        invoice["last_finalization_error"] = error.error
        invoice["automatically_finalizes_at"] = None


def _refuse_unfinalizable(store: Store, invoice: Json, customer: Json) -> None:
    if invoice["amount_due"] > LARGEST_AMOUNT:
        raise StripeError(f"Amount must be no more than {LARGEST_AMOUNT}.", code="amount_too_large")
    if invoice["automatic_tax"]["enabled"] and not (customer["address"] or {}).get("country"):
        refusal = StripeError(
            "The customer's location isn't recognized. Set a valid customer address in order to "
            "automatically calculate tax.",
            code="customer_tax_location_invalid",
        )
        invoice["last_finalization_error"] = refusal.error
        emit(store, "invoice.finalization_failed", render(store, invoice))
        raise refusal


def _number(invoice: Json, customer: Json) -> None:
    if invoice["number"] is None:
        sequence = customer["next_invoice_sequence"]
        invoice["number"] = f"{customer['invoice_prefix']}-{sequence:04d}"
        customer["next_invoice_sequence"] = sequence + 1


def _apply_balance(store: Store, invoice: Json, customer: Json) -> None:
    """Net the total against the customer's balance; what is too little to collect is carried there."""
    due = invoice["total"] + invoice["starting_balance"]
    collected = due if due >= minimum_charge(invoice["currency"]) else 0
    invoice.update(amount_due=collected, amount_remaining=collected, ending_balance=due - collected)
    set_balance(store, customer, invoice["currency"], due - collected)


def _collect_if_automatic(store: Store, invoice: Json) -> None:
    wanted = invoice["auto_advance"] and invoice["collection_method"] == "charge_automatically"
    if wanted and invoice["status"] == "open" and not invoice["attempted"]:
        method = invoice["default_payment_method"]
        card = card_of_payment_method(store, method) if method else store.cards.get(invoice["customer"], "none")
        attempt(store, invoice, card)


def _refuse_unpayable(invoice: Json) -> None:
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise not_editable(f"This invoice can't be paid: it is {invoice['status']}.")


def _mark_paid(store: Store, invoice: Json) -> None:
    invoice["amount_paid"] += invoice["amount_remaining"]
    invoice.update(amount_remaining=0, attempted=True)
    _end(store, invoice, "paid", "paid_at", "invoice.paid")
    emit(store, "invoice.payment_succeeded", render(store, invoice))


def _end(store: Store, invoice: Json, status: str, moment: str, event: str) -> None:
    invoice.update(status=status, next_payment_attempt=None)
    invoice["status_transitions"][moment] = store.clock.now()
    emit(store, event, render(store, invoice))
