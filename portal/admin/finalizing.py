"""Finalizing a draft: look, confirm, and take it back within the hold window."""

from uuid import UUID

from flask import current_app, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import stepping_up
from portal.admin.approving import person, takes_two, within
from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.billing_cycle import finalize_draft
from portal.core.errors import DraftChanged, InvalidTransition, NeedsSecondPerson, NotReady, PortalError
from portal.core.lifecycle import InvoiceState
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import policy
from portal.invoicing.drafting import Draft
from portal.invoicing.finalizing import cancel
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.invoicing.seconding import ask_for_second
from portal.invoicing.sums import sums_of_whole
from portal.signed_in import me

bp = staff_blueprint("admin_finalizing")


@bp.get("/invoices/<uuid:public_id>/finalize")
@policy("finalize invoices")
def confirm(public_id: UUID) -> str | Response | tuple[str, int]:
    """The last look before finalizing. The fingerprint of the draft that was reviewed comes with the link."""
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.DRAFT:
        return _to_invoice(invoice)
    if clock.now() < invoice.month.end:
        first_day = invoice.month.next.first_day
        return _refused(public_id, NotReady(f"The month is not over: it can be finalized from {first_day}, 00:00 UTC."))
    draft = whole_draft_of(invoice.organization, invoice.month)
    if request.args.get("fingerprint", draft.fingerprint) != draft.fingerprint:
        return _refused(public_id, DraftChanged("Nothing was done. Look at the draft again, then decide."))
    large = stepping_up.is_large(draft.whole_total, invoice.currency)
    return _last_look(invoice, draft, stepping_up.question() if large else None)


@bp.post("/invoices/<uuid:public_id>/finalize")
@policy("finalize invoices")
def finalize(public_id: UUID) -> Response | tuple[str, int]:
    """Finalize the draft with exactly the figures that were seen, or say what has changed.

    A large one waits for a second person instead.
    """
    fingerprint = request.form.get("fingerprint", "")
    question = _question(public_id, fingerprint)
    if question is not None:
        seen = invoice_of(public_id)
        return _last_look(seen, whole_draft_of(seen.organization, seen.month), question), 422
    try:
        invoice = finalize_draft(
            public_id,
            fingerprint=fingerprint,
            by=me().name,
            now=clock.now(),
            settings=current_app.config["SETTINGS"],
        )
    except NeedsSecondPerson:
        return _ask_for_second(public_id, fingerprint)
    except (DraftChanged, NotReady, InvalidTransition) as refusal:
        return _refused(public_id, refusal)
    flash(_what_was_done(invoice), "success")
    return _to_invoice(invoice)


@bp.post("/invoices/<uuid:public_id>/cancel")
@policy("finalize invoices")
def take_back(public_id: UUID) -> Response | tuple[str, int]:
    """Cancel within the hold window: the draft lives again."""
    try:
        with transaction():
            invoice = cancel(invoice_of(public_id).id, now=clock.now())
    except InvalidTransition as refusal:
        return refused(public_id, refusal, title="It is too late to cancel")
    flash("Finalizing was cancelled. The invoice is a draft again, and nothing was sent.", "success")
    return _to_invoice(invoice)


def _ask_for_second(public_id: UUID, fingerprint: str) -> Response | tuple[str, int]:
    """Let the draft wait for somebody else's yes."""
    try:
        with transaction():
            invoice = invoice_of(public_id)
            asked = ask_for_second(invoice.id, fingerprint=fingerprint, by=person(), now=clock.now(), within=within())
    except (DraftChanged, InvalidTransition) as refusal:
        return _refused(public_id, refusal)
    flash(f"Nothing is final yet: it waits for a second approval, since {asked.asked_by} asked for it.", "success")
    return _to_invoice(invoice)


def _question(public_id: UUID, fingerprint: str) -> stepping_up.Question | None:
    """What is to be answered before a large draft is final. One that is not as it was seen is refused anyway."""
    if not stepping_up.is_needed():
        return None
    invoice = invoice_of(public_id)
    if invoice.state != InvoiceState.DRAFT:
        return None
    draft = whole_draft_of(invoice.organization, invoice.month)
    if draft.fingerprint != fingerprint or not stepping_up.is_large(draft.whole_total, invoice.currency):
        return None
    return stepping_up.ask()


def _last_look(invoice: Invoice, draft: Draft, question: stepping_up.Question | None) -> str:
    return render_template(
        "admin/invoices/finalize.html",
        invoice=invoice,
        draft=draft,
        sums=sums_of_whole(draft),
        hold_seconds=current_app.config["SETTINGS"].finalize_hold_seconds,
        takes_two=takes_two(draft.whole_total, invoice.currency),
        question=question,
    )


def _refused(public_id: UUID, refusal: PortalError) -> tuple[str, int]:
    changed = isinstance(refusal, DraftChanged)
    title = "The draft has changed since you looked" if changed else "This cannot be finalized now"
    return refused(public_id, refusal, title=title, seen_total=request.values.get("seen_total", type=int))


def _what_was_done(invoice: Invoice) -> str:
    if invoice.state == InvoiceState.SCHEDULED and invoice.finalize_at:
        return f"Finalizing at {invoice.finalize_at:%H:%M:%S} UTC; Cancel takes it back."
    return f"Finalized as {invoice.number}."


def _to_invoice(invoice: Invoice) -> Response:
    return redirect(url_for("admin_invoices.show", public_id=invoice.public_id), 303)
