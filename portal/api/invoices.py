"""GET /api/v1/invoices: final invoices as the documents that were frozen, and each as the PDF that customers get."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, g, jsonify, request, url_for

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.paging import page_size
from portal.core.errors import InvalidInput
from portal.infra.pages import csrf, policy
from portal.invoicing.exporting.files import sealed
from portal.invoicing.exporting.listing import final_invoices
from portal.invoicing.exporting.sending import send_invoice
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.organizations.api_keys import KeyHolder

DEFAULT_PAGE, LARGEST_PAGE = 20, 100
bp = Blueprint("invoices_api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)
csrf.exempt(bp)


@bp.get("/invoices")
@policy("api key: read")
def list_invoices() -> Response:
    """One page of final and void invoices, newest month first; a key of the platform sees everybody's."""
    count_request()
    limit = page_size(default=DEFAULT_PAGE, largest=LARGEST_PAGE)
    found = final_invoices(_holder().organization_id, after=_cursor(), limit=limit + 1)
    page = found[:limit]
    more = url_for(".list_invoices", after=page[-1].public_id, limit=limit) if len(found) > limit else None
    return jsonify({"data": [_facts(invoice) for invoice in page], "next": more})


@bp.get("/invoices/<uuid:public_id>")
@policy("api key: read")
def show_invoice(public_id: UUID) -> Response:
    """One final or void invoice; a draft is not found, because it has no document yet."""
    count_request()
    return jsonify(_facts(_mine(public_id)))


@bp.get("/invoices/<uuid:public_id>.pdf")
@policy("api key: read")
def download_invoice(public_id: UUID) -> Response:
    """The invoice to print; a draft as it stands, marked as such."""
    count_request()
    return send_invoice(_mine(public_id), "pdf")


def _facts(invoice: Invoice) -> dict[str, Any]:
    """The frozen document with its hash, and around it what may still move."""
    return {
        "id": str(invoice.public_id),
        "organization": invoice.organization.slug,
        "state": invoice.state,
        "payment_state": invoice.payment_state,
        "amount_refunded": invoice.amount_refunded,
        **sealed(invoice),
    }


def _holder() -> KeyHolder:
    holder: KeyHolder = g.key_holder
    return holder


def _mine(public_id: UUID) -> Invoice:
    return invoice_of(public_id, organization_id=_holder().organization_id)


def _cursor() -> Invoice | None:
    """The last invoice of the page before. Raises InvalidInput, NotFound."""
    asked = request.args.get("after")
    if asked is None:
        return None
    try:
        public_id = UUID(asked)
    except ValueError:
        raise InvalidInput("after is the id of the last invoice of the page before.", field="after") from None
    return _mine(public_id)
