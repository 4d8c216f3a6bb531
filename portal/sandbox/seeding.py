"""Teaches the sandbox a history: whole objects with given ids, and no events about them."""

from typing import Any

from .customers import new_customer
from .errors import StripeError
from .invoices import STATUSES, new_invoice
from .lines import new_line
from .store import Json, Store

_MOMENT_OF_STATUS = {"paid": "paid_at", "void": "voided_at", "uncollectible": "marked_uncollectible_at"}


def load(store: Store, customers: list[Json], invoices: list[Json]) -> Json:
    """Insert or replace these objects: all of them, or none when one is not well described."""
    made_customers = [_customer(store, given) for given in customers]
    known = set(store.customers) | {customer["id"] for customer in made_customers}
    made_invoices = [_invoice(store, given, known) for given in invoices]
    for customer in made_customers:
        store.customers[customer["id"]] = customer
        store.cards.setdefault(customer["id"], "none")
    for given in customers:
        if "card" in given:
            store.cards[given["id"]] = given["card"]
    for invoice, invoice_lines in made_invoices:
        store.invoices[invoice["id"]] = invoice
        store.lines[invoice["id"]] = invoice_lines
    store.touch()
    return {"customers": len(made_customers), "invoices": len(made_invoices)}


def _customer(store: Store, given: Json) -> Json:
    customer = new_customer(store, _required(given, "id"))
    return {**customer, **_known_fields(given, customer, ("card",))}


def _invoice(store: Store, given: Json, known_customers: set[str]) -> tuple[Json, list[Json]]:
    id, customer, status = (_required(given, name) for name in ("id", "customer", "status"))
    if customer not in known_customers:
        raise StripeError(f"Invoice {id}: there is no customer {customer}.")
    if status not in STATUSES:
        raise StripeError(f"Invoice {id}: status must be one of {', '.join(STATUSES)}.")
    invoice = new_invoice(store, id, customer, _required(given, "currency"))
    invoice_lines = [
        new_line(
            store,
            invoice,
            {"id": f"il_{id.removeprefix('in_')}_{index}", **line},
            param=f"{id}: lines[{index}]",
        )
        for index, line in enumerate(given.get("lines", []))
    ]
    total = given.get("total", sum(line["amount"] for line in invoice_lines))
    if total != sum(line["amount"] for line in invoice_lines):
        raise StripeError(f"Invoice {id}: the total {total} is not the sum of its lines.")
    invoice.update(_derived(given, status, total, invoice["created"]))
    invoice.update(_known_fields(given, invoice, ("lines",)))
    return invoice, invoice_lines


def _derived(given: Json, status: str, total: int, now: int) -> Json:
    """The fields that follow from the few that are given."""
    due = max(total, 0)
    paid = given.get("amount_paid", due if status == "paid" else 0)
    created = given.get("created", now)
    moments = dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at"))
    if status != "draft":
        moments["finalized_at"] = created
    if status in _MOMENT_OF_STATUS:
        moments[_MOMENT_OF_STATUS[status]] = created
    return {
        **dict.fromkeys(("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"), total),
        "amount_due": due,
        "amount_paid": paid,
        "amount_remaining": 0 if status == "paid" else due - paid,
        "attempted": status == "paid" or bool(given.get("attempt_count")),
        "number": f"{given['id'].removeprefix('in_')[-12:].upper()}-0001" if status != "draft" else None,
        "collection_method": "send_invoice" if given.get("due_date") else "charge_automatically",
        "ending_balance": None if status == "draft" else 0,
        "period_start": created,
        "period_end": created,
        "status_transitions": moments,
    }


def _known_fields(given: Json, known: Json, apart: tuple[str, ...]) -> Json:
    if unknown := set(given) - set(known) - set(apart):
        raise StripeError(f"{given.get('id')}: unknown fields {', '.join(sorted(unknown))}.")
    return {name: value for name, value in given.items() if name not in apart}


def _required(given: Json, name: str) -> Any:
    if not given.get(name):
        raise StripeError(f"{given.get('id', 'an object')}: {name} is missing.")
    return given[name]
