"""One-off items that are added often, kept under a name; using one only fills in the form of an item."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from portal.catalog.tax_rates import require_tax_code
from portal.core.errors import InvalidInput, InvalidTransition, NotFound
from portal.core.exact import plain
from portal.infra import audit
from portal.infra.db import db
from portal.invoicing.models import ItemTemplate
from portal.invoicing.one_off_items import amount_of

LONGEST_NAME = 80
_FIELDS = ("name", "kind", "description", "currency", "quantity", "unit_amount", "product", "tax_code")


def save_template(
    public_id: UUID | None,
    *,
    name: str,
    kind: str,
    description: str,
    currency: str,
    quantity: Decimal,
    unit_amount: Decimal,
    product: str | None,
    tax_code: str | None = None,
) -> ItemTemplate:
    """Make a template, or change the one with this id; items that were added with it stay as they are.

    Raises InvalidInput (naming the field), NotFound, InvalidTransition for a retired one.
    """
    template = ItemTemplate() if public_id is None else template_of(public_id, lock=True)
    if template.retired_at is not None:
        raise InvalidTransition(f"The template “{template.name}” is retired and no longer changes.")
    if not 0 < len(name.strip()) <= LONGEST_NAME:
        raise InvalidInput(f"Name the template in up to {LONGEST_NAME} characters.", field="name")
    amount_of(kind, quantity, unit_amount, currency)
    require_tax_code(tax_code)
    taken = select(ItemTemplate.id).where(
        func.lower(ItemTemplate.name) == name.strip().lower(),
        ItemTemplate.retired_at.is_(None),
        ItemTemplate.id != (template.id or 0),
    )
    if db.session.scalar(taken) is not None:
        raise InvalidInput(f"There is a template “{name.strip()}” already.", field="name")
    before = None if public_id is None else _facts(template)
    template.name, template.kind, template.description = name.strip(), kind, description
    template.currency, template.quantity, template.unit_amount = currency, quantity, unit_amount
    template.product, template.tax_code = product, tax_code
    db.session.add(template)
    db.session.flush()
    if before != _facts(template):
        _record("made an item template" if before is None else "changed an item template", template, before=before)
    return template


def retire_template(public_id: UUID, *, now: datetime) -> ItemTemplate:
    """Offer a template no more. Idempotent. Raises NotFound."""
    template = template_of(public_id, lock=True)
    if template.retired_at is None:
        template.retired_at = now
        _record("retired an item template", template, before=_facts(template))
    return template


def template_of(public_id: UUID, *, lock: bool = False) -> ItemTemplate:
    """The template with this id, retired or not. Raises NotFound."""
    query = select(ItemTemplate).where(ItemTemplate.public_id == public_id)
    template: ItemTemplate | None = db.session.scalar(query.with_for_update() if lock else query)
    if template is None:
        raise NotFound("There is no such item template.")
    return template


def templates_in_use(*, currency: str | None = None) -> list[ItemTemplate]:
    """The templates that are not retired, by name; of one currency if it is given."""
    query = select(ItemTemplate).where(ItemTemplate.retired_at.is_(None)).order_by(func.lower(ItemTemplate.name))
    if currency is not None:
        query = query.where(ItemTemplate.currency == currency)
    return list(db.session.scalars(query))


def _facts(template: ItemTemplate) -> dict[str, Any]:
    values = {name: getattr(template, name) for name in _FIELDS}
    return {name: plain(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def _record(action: str, template: ItemTemplate, *, before: dict[str, Any] | None) -> None:
    after = None if template.retired_at else _facts(template)
    audit.record(
        action, subject="item template", subject_id=template.id, organization_id=None, before=before, after=after
    )
