"""One-off items on a draft: add after a review, remove at once, and undo."""

from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal.admin.item_form import ItemForm
from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput, InvalidTransition, PortalError
from portal.core.lifecycle import InvoiceState
from portal.core.money import LARGEST_AMOUNT
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import money, month_name
from portal.infra.pages import policy
from portal.invoicing.drafting import draft_of
from portal.invoicing.item_requests import add_billable_item, too_large
from portal.invoicing.item_templates import template_of, templates_in_use
from portal.invoicing.models import Invoice
from portal.invoicing.one_off_items import remove_item, restore_item
from portal.invoicing.queries import invoice_for_month, invoice_of
from portal.signed_in import me

CLOSED = "This invoice takes no more items"
bp = staff_blueprint("admin_items")


@bp.get("/invoices/<uuid:public_id>/items/new")
@policy("manage one-off items")
def new(public_id: UUID) -> str | tuple[str, int]:
    """The empty form, with a token of its own; `?template=` fills it in."""
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.DRAFT:
        return _closed(invoice)
    wanted = request.args.get("template", type=UUID)
    filled = ItemForm.filled_from(template_of(wanted)) if wanted else None
    return _form_page(invoice, ItemForm(formdata=None, data=filled))


@bp.post("/invoices/<uuid:public_id>/items/new")
@policy("manage one-off items")
def create(public_id: UUID) -> str | Response | tuple[str, int]:
    """Three steps, each a plain form: review shows what it does to the draft, edit goes back, confirm adds it."""
    invoice = invoice_of(public_id)
    form = ItemForm()
    step = request.form.get("step")
    if step == "edit":
        return _form_page(invoice, form)
    if not form.validate():
        return _form_page(invoice, form), 422
    if step == "confirm":
        return _add(invoice, form)
    return _review(invoice, form)


@bp.post("/invoices/<uuid:public_id>/items/<uuid:item_id>/remove")
@policy("manage one-off items")
def remove(public_id: UUID, item_id: UUID) -> Response | tuple[str, int]:
    """Take an item off at once; the invoice page then offers Undo."""
    try:
        with transaction():
            remove_item(invoice_of(public_id).id, item_id, now=clock.now())
    except InvalidTransition as refusal:
        return refused(public_id, refusal, title="The item was not removed")
    return _to_invoice(public_id, removed=item_id)


@bp.post("/invoices/<uuid:public_id>/items/<uuid:item_id>/restore")
@policy("manage one-off items")
def restore(public_id: UUID, item_id: UUID) -> Response | tuple[str, int]:
    """Undo: put a removed item back."""
    try:
        with transaction():
            item = restore_item(invoice_of(public_id).id, item_id)
    except InvalidTransition as refusal:
        return refused(public_id, refusal, title="The item was not put back")
    flash(f"“{item.description}” is back on the draft.", "success")
    return _to_invoice(public_id)


def _form_page(invoice: Invoice, form: ItemForm) -> str:
    return render_template(
        "admin/invoices/item_form.html",
        invoice=invoice,
        form=form,
        templates=templates_in_use(currency=invoice.currency),
    )


def _review(invoice: Invoice, form: ItemForm) -> str | tuple[str, int]:
    if invoice.state != InvoiceState.DRAFT:
        return _closed(invoice)
    amount = form.amount_in(invoice.currency)
    old_total = draft_of(invoice.organization, invoice.month).statement.total
    if max(abs(amount), abs(old_total + amount)) > LARGEST_AMOUNT:
        form.take(too_large(invoice))
        return _form_page(invoice, form), 422
    return render_template(
        "admin/invoices/item_review.html",
        invoice=invoice,
        form=form,
        amount=amount,
        old_total=old_total,
        new_total=old_total + amount,
    )


def _add(invoice: Invoice, form: ItemForm) -> str | Response | tuple[str, int]:
    try:
        with transaction():
            added = add_billable_item(invoice, form.asked(), form_token=form.token(), created_by_id=me().user_id)
    except InvalidTransition:
        return _closed(invoice_of(invoice.public_id))
    except InvalidInput as refusal:
        form.take(refusal)
        return _form_page(invoice_of(invoice.public_id), form), 422
    item = added.item
    if added.draft_total is None:
        flash(f"“{item.description}” was already added; nothing was added twice.", "info")
    else:
        now_at = money(added.draft_total, invoice.currency)
        flash(
            f"Added “{item.description}” ({money(item.amount, invoice.currency)}). The draft is now {now_at}.",
            "success",
        )
    return _to_invoice(invoice.public_id)


def _closed(invoice: Invoice) -> tuple[str, int]:
    """Say what became of the draft, and offer the one of this month instead."""
    sentence = f"The invoice of {month_name(invoice.period_start)} is {invoice.state}. Nothing was added."
    refusal: PortalError = InvalidTransition(sentence)
    current = invoice_for_month(invoice.organization_id, Month.of(clock.now()))
    is_open = current is not None and current.state == InvoiceState.DRAFT and current.id != invoice.id
    return refused(invoice.public_id, refusal, title=CLOSED, instead=current if is_open else None)


def _to_invoice(public_id: UUID, *, removed: UUID | None = None) -> Response:
    return redirect(url_for("admin_invoices.show", public_id=public_id, removed=removed), 303)
