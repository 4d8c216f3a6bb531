"""Being the second person: the drafts that wait for one, a last look at such a draft, and the yes or no."""

from datetime import timedelta
from uuid import UUID

from flask import Response, current_app, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as Answer
from wtforms import TextAreaField
from wtforms.validators import Length

from portal import stepping_up
from portal.admin.refusing import refused
from portal.admin.staff import staff_blueprint
from portal.catalog.seconding import prices_waiting
from portal.config import Settings
from portal.core.errors import DraftChanged, InvalidInput, PortalError
from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.pages import csv_response, policy
from portal.invoicing import seconding
from portal.invoicing.drafting import Draft
from portal.invoicing.jobs import terms_of
from portal.invoicing.linked_drafts import whole_draft_of
from portal.invoicing.models import Invoice
from portal.invoicing.queries import invoice_of
from portal.invoicing.sums import sums_of_whole
from portal.organizations.approvals import LONGEST_COMMENT, Person
from portal.organizations.models import ApprovalRequest
from portal.signed_in import me

MOST_SHOWN = 200
CSV_HEAD = ("Kind", "What", "Month or first day", "Currency", "Total", "Asked by", "Asked at", "Until")
bp = staff_blueprint("admin_approving")


class DecisionForm(FlaskForm):
    """What the second person says."""

    comment = TextAreaField(
        "Comment", [Length(max=LONGEST_COMMENT, message=f"A comment has at most {LONGEST_COMMENT} characters.")]
    )


@bp.get("/approvals")
@policy("view organizations")
def index() -> str:
    """The drafts and prices that wait for a second person; whoever waits longest first."""
    now = clock.now()
    waiting, count = seconding.drafts_waiting(now=now, limit=MOST_SHOWN)
    return render_template("admin/approvals/index.html", waiting=waiting, count=count, prices=prices_waiting(now=now))


@bp.get("/approvals.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All of them as a file."""
    now = clock.now()
    drafts = [
        ("invoice", draft.organization.name, draft.month, draft.currency, asked.facts["total"], asked)
        for asked, draft in seconding.drafts_waiting(now=now, limit=None)[0]
    ]
    prices = [
        ("price", asked.facts["name"], valid_from, asked.facts["currency"], None, asked)
        for asked, valid_from in prices_waiting(now=now)
    ]
    rows = (
        (
            *(kind, what, of, currency, None if total is None else major_text(total, currency)),
            *(asked.asked_by, asked.asked_at, asked.expires_at),
        )
        for kind, what, of, currency, total, asked in [*drafts, *prices]
    )
    return csv_response("approvals", CSV_HEAD, rows)


@bp.get("/invoices/<uuid:public_id>/approval")
@policy("finalize invoices")
def show(public_id: UUID) -> str | Answer | tuple[str, int]:
    """The last look of the second person: the figures as they stand, who asked, and what there was then."""
    invoice = invoice_of(public_id)
    asked = _waiting(invoice)
    if asked is None:
        return _to_invoice(invoice)
    draft = whole_draft_of(invoice.organization, invoice.month)
    large = stepping_up.is_large(draft.whole_total, invoice.currency)
    return _page(invoice, asked, draft, DecisionForm(formdata=None), stepping_up.question() if large else None)


@bp.post("/invoices/<uuid:public_id>/approval")
@policy("finalize invoices")
def decide(public_id: UUID) -> Answer | tuple[str, int]:
    """Approve, and finalize with that; or refuse with a comment, and the draft stays one."""
    invoice, form = invoice_of(public_id), DecisionForm()
    asked = _waiting(invoice)
    if asked is None:
        return _to_invoice(invoice)
    draft = whole_draft_of(invoice.organization, invoice.month)
    approves = request.form.get("step") == "approve"
    if not form.validate():
        return _page(invoice, asked, draft, form, None), 422
    if approves and stepping_up.is_large(draft.whole_total, invoice.currency):
        question = stepping_up.ask()
        if question is not None:
            return _page(invoice, asked, draft, form, question), 422
    try:
        done = _approve(invoice, form) if approves else _refuse(invoice, form)
    except InvalidInput as refusal:
        form.comment.errors = [refusal.sentence]
        return _page(invoice, asked, draft, form, None), 422
    except PortalError as refusal:
        changed = isinstance(refusal, DraftChanged)
        title = "The draft has changed since it was asked for" if changed else "This cannot be decided so"
        return refused(public_id, refusal, title=title, seen_total=asked.facts["total"] if changed else None)
    flash(done, "success")
    return _to_invoice(invoice)


def takes_two(total: int, currency: str) -> bool:
    """Whether a total in minor units is so large that a second person approves it."""
    return terms_of(_settings()).second_approval_from.is_reached(total, currency)


def publishing_takes_two() -> bool:
    """Whether a second admin publishes prices."""
    return _settings().second_person_publishes


def within() -> timedelta:
    """For how long a second approval can be given."""
    return timedelta(hours=_settings().second_approval_hours)


def person() -> Person:
    """Whoever is signed in, as one of the two."""
    return Person(me().user_id, me().name)


def _approve(invoice: Invoice, form: DecisionForm) -> str:
    with transaction():
        done = seconding.approve_and_finalize(
            invoice.id,
            fingerprint=request.form.get("fingerprint", ""),
            by=person(),
            comment=form.comment.data or "",
            now=clock.now(),
            terms=terms_of(_settings()),
        )
        if done.state == InvoiceState.SCHEDULED and done.finalize_at:
            return f"Approved. Finalizing at {done.finalize_at:%H:%M:%S} UTC; Cancel takes it back."
        return f"Approved, and finalized as {done.number}."


def _refuse(invoice: Invoice, form: DecisionForm) -> str:
    with transaction():
        seconding.refuse(invoice.id, by=person(), comment=form.comment.data or "", now=clock.now())
    return "Refused. The draft stays as it is, and your comment is shown on it."


def _waiting(invoice: Invoice) -> ApprovalRequest | None:
    """The request that waits on a draft; None for anything else."""
    asked = seconding.request_about(invoice, now=clock.now()) if invoice.state == InvoiceState.DRAFT else None
    return asked if asked is not None and asked.state == "waiting" else None


def _page(
    invoice: Invoice, asked: ApprovalRequest, draft: Draft, form: DecisionForm, question: stepping_up.Question | None
) -> str:
    return render_template(
        "admin/approvals/show.html",
        invoice=invoice,
        asked=asked,
        draft=draft,
        sums=sums_of_whole(draft),
        form=form,
        is_mine=asked.asked_by_id == me().user_id,
        hold_seconds=_settings().finalize_hold_seconds,
        question=question,
    )


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def _to_invoice(invoice: Invoice) -> Answer:
    return redirect(url_for("admin_invoices.show", public_id=invoice.public_id), 303)
