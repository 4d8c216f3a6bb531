"""One invoice found by its id, and a draft's totals kept in line with its lines."""

from .customers import balance_of
from .errors import no_such
from .store import Json, Store


def existing(store: Store, id: str, *, param: str | None = None) -> Json:
    """The invoice with this id.

    :raise StripeError: there is none
    """
    if id not in store.invoices:
        raise no_such("invoice", id, param=param)
    return store.invoices[id]


def recompute(store: Store, invoice: Json) -> None:
    """Bring a draft's totals in line with its lines and the customer's balance."""
    if invoice["status"] != "draft":
        return
    total = sum(line["amount"] for line in store.lines[invoice["id"]])
    for name in ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"):
        invoice[name] = total
    customer = store.customers.get(invoice["customer"], {})
    known = customer and not customer.get("deleted")
    invoice["starting_balance"] = balance_of(customer, invoice["currency"]) if known else 0
    invoice["amount_due"] = max(0, total + invoice["starting_balance"])
    invoice["amount_remaining"] = invoice["amount_due"]
