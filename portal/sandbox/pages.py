"""The human's view: one page with what the sandbox holds, and a health check."""

from flask import Blueprint, render_template, request

from . import ledger
from .api import Api
from .faults import MODES
from .lists import newest_first
from .nearby import is_from_here
from .rendering import hosted_url
from .switches import CALLS
from .words import amount, moment, own_number

SHOWN_ROWS = 200
SHOWN_CALLS = 50


def make_blueprint(api: Api) -> Blueprint:
    """The pages of one sandbox."""
    pages = Blueprint("pages", __name__)
    store = api.store

    @pages.get("/")
    def index() -> str:
        with store.lock:
            customers = [c for c in store.customers.values() if not c.get("deleted")]
            return render_template(
                "ledger.html",
                customers=newest_first(customers)[:SHOWN_ROWS],
                customer_count=len(customers),
                invoices=newest_first(store.invoices.values())[:SHOWN_ROWS],
                invoice_count=len(store.invoices),
                calls=list(store.calls)[: -SHOWN_CALLS - 1 : -1],
                cards=store.cards,
                faults=api.faults.shown(),
                fault_calls=CALLS if is_from_here() else (),
                modes=MODES,
                problem=request.args.get("problem"),
                totals=ledger.totals(store),
                webhooks={"url": api.deliverer.url, "mode": api.deliverer.mode},
                now=store.clock.now(),
                amount=amount,
                moment=moment,
                own_number=own_number,
                hosted_url=hosted_url,
            )

    @pages.get("/healthz")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return pages
