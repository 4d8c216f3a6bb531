"""/api/v1/organizations/…/items: a platform puts one-off items on the drafts of whom it bills, each once."""

import re
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, g, jsonify, request

from portal.api.guard import require_key
from portal.api.limiting import add_limit_headers, count_request
from portal.api.objects import read_object
from portal.catalog.queries import product_names
from portal.core.errors import InvalidInput, NotAllowed, NotFound
from portal.core.exact import plain
from portal.core.money import major_text
from portal.core.numbers import read_number
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import csrf, policy
from portal.invoicing.item_requests import AskedItem, add_once, item_of
from portal.invoicing.models import Invoice, OneOffItem
from portal.invoicing.one_off_items import remove_item
from portal.invoicing.queries import invoice_for_month, invoices_by_id, one_off_items_on
from portal.organizations.api_keys import KeyHolder
from portal.organizations.models import Organization
from portal.organizations.registering import organization_by_slug
from portal.usage.fields import storable

LARGEST_BODY_BYTES = 16 * 1024
# How many characters each text of a body may have.
LONGEST = {
    "month": 7,
    "kind": 6,
    "description": 200,
    "quantity": 30,
    "unit_amount": 30,
    "product": 200,
    "tax_code": 210,
    "internal_reason": 500,
}
REQUIRED = ("month", "kind", "description", "quantity", "unit_amount")
FIELDS = (*LONGEST, "service_period")
_DIGITS = re.compile(r"[0-9]+(\.[0-9]+)?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_KEY = re.compile(r"[!-~]{1,255}")
bp = Blueprint("items_api", __name__, url_prefix="/api/v1")
bp.before_request(require_key)
bp.after_request(add_limit_headers)
csrf.exempt(bp)


@bp.get("/organizations/<slug>/items")
@policy("api key: items")
def list_items(slug: str) -> Response:
    """The items on the invoice of a month (?month=2026-11, the current one by default), without removed ones."""
    organization = _begin(slug)
    month = Month.parse(request.args.get("month", str(Month.of(clock.now()))))
    invoice = invoice_for_month(organization.id, month)
    return jsonify({"data": [_facts(item, invoice) for item in one_off_items_on(invoice.id)] if invoice else []})


@bp.post("/organizations/<slug>/items")
@policy("api key: items")
def add(slug: str) -> tuple[Response, int]:
    """Put an item on a draft (201), or say what this Idempotency-Key has added before (200)."""
    organization = _begin(slug)
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            "Send the header Idempotency-Key: up to 255 letters, digits or signs of your own choice, the same if you"
            " send the item again.",
            field="Idempotency-Key",
        )
    month, asked = _asked()
    with transaction():
        added = add_once(organization.id, month, asked, idempotency_key=key)
        facts = _facts(added.item, _invoice_of(added.item))
    return jsonify(facts), 200 if added.draft_total is None else 201


@bp.delete("/organizations/<slug>/items/<uuid:item_id>")
@policy("api key: items")
def remove(slug: str, item_id: UUID) -> Response:
    """Take an item off its draft; its row is kept. Idempotent."""
    organization = _begin(slug)
    with transaction():
        found = item_of(organization.id, item_id)
        item = remove_item(found.invoice_id, item_id, now=clock.now())
        facts = _facts(item, _invoice_of(item))
    return jsonify(facts)


def _begin(slug: str) -> Organization:
    count_request()
    holder: KeyHolder = g.key_holder
    if holder.organization_id is not None:
        raise NotAllowed("Only keys of the platform read and change one-off items.")
    found = organization_by_slug(slug) if storable(slug) else None
    if found is None:
        raise NotFound("There is no such organization.")
    return found


def _asked() -> tuple[Month, AskedItem]:
    """What the body asks for, checked. Raises InvalidInput at the field that is wrong."""
    document = read_object(
        "one object with month, kind, description, quantity and unit_amount", most_bytes=LARGEST_BODY_BYTES
    )
    unknown = document.keys() - set(FIELDS)
    if unknown:
        name = min(unknown)[:60]
        raise InvalidInput(f"There is no field “{name}”; there are {', '.join(FIELDS)}.", field=name)
    # What is null is left out.
    given = {name: value for name, value in document.items() if value is not None}
    for name in REQUIRED:
        if name not in given:
            raise InvalidInput(f"{name} is missing.", field=name)
    texts = {name: _text(name, given[name]) for name in LONGEST if name in given}
    if texts["kind"] not in ("charge", "credit"):
        raise InvalidInput("kind is charge or credit.", field="kind")
    product = texts.get("product")
    if product is not None and product not in product_names():
        raise InvalidInput(f"There is no product “{product[:60]}”.", field="product")
    return Month.parse(texts["month"]), AskedItem(
        kind=texts["kind"],
        description=texts["description"],
        quantity=_number("quantity", texts["quantity"]),
        unit_amount=_number("unit_amount", texts["unit_amount"]),
        internal_reason=texts.get("internal_reason"),
        service_period=_period(given.get("service_period")),
        product=product,
        tax_code=texts.get("tax_code"),
    )


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not storable(value):
        raise InvalidInput(f"{name} is a text.", field=name)
    if not 0 < len(value.strip()) <= LONGEST[name]:
        raise InvalidInput(f"{name} has 1 to {LONGEST[name]} characters.", field=name)
    return value.strip()


def _number(name: str, text: str) -> Decimal:
    if not _DIGITS.fullmatch(text):
        raise InvalidInput(f'{name} is a text of digits with a decimal point, such as "150.00".', field=name)
    try:
        return read_number(text)
    except ValueError as error:
        raise InvalidInput(str(error), field=name) from None


def _period(value: Any) -> tuple[date, date] | None:
    if value is None:
        return None
    sentence = 'service_period is a list of two days, its first and its last, such as ["2026-11-03", "2026-11-04"].'
    wrong = InvalidInput(sentence, field="service_period")
    if not isinstance(value, list) or len(value) != 2:
        raise wrong
    if not all(isinstance(day, str) and _DAY.fullmatch(day) for day in value):
        raise wrong
    try:
        first, last = (date.fromisoformat(day) for day in value)
    except ValueError:
        raise wrong from None
    if first > last:
        raise InvalidInput("The service period ends on its first day or later.", field="service_period")
    return first, last


def _invoice_of(item: OneOffItem) -> Invoice:
    return invoices_by_id({item.invoice_id})[item.invoice_id]


def _facts(item: OneOffItem, invoice: Invoice) -> dict[str, Any]:
    return {
        "id": str(item.public_id),
        "month": str(invoice.month),
        "invoice": str(invoice.public_id),
        "kind": item.kind,
        "description": item.description,
        "quantity": plain(item.quantity),
        "unit_amount": plain(item.unit_amount),
        "currency": invoice.currency,
        "amount": {"major": major_text(item.amount, invoice.currency), "minor": item.amount},
        "service_period": item.service_period and [day.isoformat() for day in item.service_period],
        "product": item.product,
        "tax_code": item.tax_code,
        "internal_reason": item.internal_reason,
        "created_at": item.created_at.isoformat(),
        "removed_at": item.removed_at and item.removed_at.isoformat(),
    }
