"""Templates of one-off items: the list, one to make or change, and retiring."""

from typing import Any
from uuid import UUID

from flask import Response, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import StringField
from wtforms.validators import DataRequired, Length, Regexp

from portal.admin.item_form import ItemFields
from portal.admin.staff import staff_blueprint
from portal.catalog.tax_rates import tax_codes
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import csv_response, policy
from portal.invoicing.item_templates import (
    LONGEST_NAME,
    retire_template,
    save_template,
    template_of,
    templates_in_use,
)
from portal.invoicing.models import ItemTemplate

CSV_HEAD = ("name", "type", "description", "quantity", "unit_price", "currency", "product", "tax_code")
bp = staff_blueprint("admin_item_templates")


class TemplateForm(ItemFields):
    """What a template fills in, and its name."""

    name = StringField("Name of the template", [DataRequired("Enter a name."), Length(max=LONGEST_NAME)])
    currency = StringField(
        "Currency", [Regexp("^[A-Z]{3}$", message="Enter a currency of three letters, for example USD.")]
    )


@bp.get("/item-templates")
@policy("manage one-off items")
def index() -> str:
    """The templates that are offered."""
    return render_template("admin/items/templates.html", templates=templates_in_use(), tax_codes=tax_codes())


@bp.get("/item-templates.csv")
@policy("manage one-off items")
def as_csv() -> Response:
    """The same as a file."""
    columns = ("name", "kind", "description", "quantity", "unit_amount", "currency", "product", "tax_code")
    rows = ([getattr(each, column) for column in columns] for each in templates_in_use())
    return csv_response("item-templates", CSV_HEAD, rows)


@bp.route("/item-templates/new", methods=["GET", "POST"])
@policy("manage one-off items")
def new() -> ResponseReturnValue:
    """Make a template."""
    return _edit(None)


@bp.route("/item-templates/<uuid:public_id>", methods=["GET", "POST"])
@policy("manage one-off items")
def edit(public_id: UUID) -> ResponseReturnValue:
    """Change a template; items that were added with it stay as they are."""
    return _edit(template_of(public_id))


@bp.post("/item-templates/<uuid:public_id>/retire")
@policy("manage one-off items")
def retire(public_id: UUID) -> ResponseReturnValue:
    """Offer it no more."""
    with transaction():
        template = retire_template(public_id, now=clock.now())
    flash(f"The template “{template.name}” is retired. Its items stay as they are.", "success")
    return redirect(url_for(".index"), 303)


def _edit(template: ItemTemplate | None) -> ResponseReturnValue:
    form = TemplateForm(data=_values(template) if template else None)
    if not form.is_submitted():
        return _page(form, template)
    if not form.validate():
        return _page(form, template), 422
    try:
        with transaction():
            saved = save_template(
                template.public_id if template else None,
                name=form.name.data or "",
                currency=form.currency.data or "",
                **form.item_values(),
            )
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(form, template), 422
    flash(f"The template “{saved.name}” is saved.", "success")
    return redirect(url_for(".index"), 303)


def _values(template: ItemTemplate) -> dict[str, Any]:
    return ItemFields.filled_from(template) | {"name": template.name, "currency": template.currency}


def _page(form: TemplateForm, template: ItemTemplate | None) -> str:
    return render_template("admin/items/template.html", form=form, template=template)
