"""Differences between the portal and Stripe: the list, one of them, and what is decided about it."""

from uuid import UUID

from flask import Response, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as Answer
from wtforms import TextAreaField
from wtforms.validators import DataRequired, Length

from portal.admin.paging import last_id
from portal.admin.staff import staff_blueprint
from portal.billing_cycle import sync_again
from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra import clock
from portal.infra.audit_reading import entries_about
from portal.infra.blocks import rows_of
from portal.infra.db import transaction
from portal.infra.pages import csv_streamed, policy
from portal.payments.drift import LONGEST_REASON, decide
from portal.payments.drift_models import Drift, DriftState, Field
from portal.payments.drift_queries import counts_by_drift_state, drift_of, last_run, list_drift
from portal.payments.pushing import Way, push, way_of
from portal.payments.stripe_units import stripe_text
from portal.signed_in import me

PER_PAGE = 50
DECISIONS = (DriftState.ACCEPTED, DriftState.IGNORED)
HEAD = (
    *("id", "organization", "invoice", "stripe_id", "field", "ours", "theirs", "amount", "currency"),
    *("seen_since", "last_seen", "state", "reason", "decided_by", "decided_at"),
)
bp = staff_blueprint("admin_drift")


class DecisionForm(FlaskForm):
    """Why a difference is accepted or ignored."""

    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why; the reason is kept with the difference and in the audit log."),
            Length(max=LONGEST_REASON, message=f"A reason has at most {LONGEST_REASON} characters."),
        ],
    )


@bp.get("/sync/drift")
@policy("view organizations")
def index() -> str:
    """One page of differences, the latest first: those that are alive, or of one state."""
    state = _state()
    found = list_drift(state=state, before=last_id(), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    return render_template(
        "admin/drift/index.html",
        rows=[(row, _amount(row)) for row in shown],
        state=state,
        counts=[(each, counts.get(each, 0)) for counts in [counts_by_drift_state()] for each in DriftState],
        more=shown[-1].id if len(found) > PER_PAGE else None,
        paged="after" in request.args,
        run=last_run(),
    )


@bp.get("/sync/drift.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All differences that the same filter finds."""
    state = _state()

    def read(last: Drift | None, limit: int) -> list[Drift]:
        return list_drift(state=state, before=last.id if last else None, limit=limit)

    rows = (
        (
            row.public_id,
            row.organization.name if row.organization else None,
            row.invoice.number or row.invoice.public_id if row.invoice else None,
            row.stripe_id,
            row.field,
            row.ours,
            row.theirs,
            (_amount(row) or "").partition(" ")[0],
            row.currency,
            row.seen_since.isoformat(),
            row.last_seen.isoformat(),
            row.state,
            row.reason,
            row.decided_by,
            row.decided_at.isoformat() if row.decided_at else None,
        )
        for row in rows_of(read)
    )
    return csv_streamed("differences", HEAD, rows)


@bp.get("/sync/drift/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """Both sides of one difference, and what can be done about it."""
    return _page(drift_of(public_id), DecisionForm(formdata=None))


@bp.post("/sync/drift/<uuid:public_id>/decision")
@policy("repair the Stripe sync")
def decision(public_id: UUID) -> Answer | tuple[str, int]:
    """Accept or ignore it, with a reason."""
    form = DecisionForm()
    chosen = request.form.get("state")
    if chosen not in DECISIONS:
        raise InvalidInput("Choose whether to accept or to ignore the difference.", field="state")
    if not form.validate():
        return _page(drift_of(public_id), form), 422
    try:
        with transaction():
            row = decide(public_id, DriftState(chosen), reason=form.reason.data or "", by=me().name, now=clock.now())
    except (InvalidInput, InvalidTransition) as refusal:
        return _page(drift_of(public_id), form, sentence=refusal.sentence), refusal.status
    freed = " What it held back goes on within a minute." if row.field == Field.UNADOPTED else ""
    flash(f"The difference is {row.state}.{freed}", "success")
    return redirect(url_for(".index"), 303)


@bp.post("/sync/drift/<uuid:public_id>/push")
@policy("repair the Stripe sync")
def push_it(public_id: UUID) -> Answer | tuple[str, int]:
    """Send, void or read it again, where that is legal; the sentence says what was done, or why not."""
    try:
        with transaction():
            row = drift_of(public_id)
            way, invoice_id = way_of(row), row.invoice_id
        if way is Way.SYNC_AGAIN and invoice_id is not None:
            sync_again(invoice_id)
        with transaction():
            push(public_id, by=me().name)
    except InvalidTransition as refusal:
        return _page(drift_of(public_id), DecisionForm(formdata=None), sentence=refusal.sentence), refusal.status
    flash(f"{way} The next comparison says whether it helped.", "success")
    return redirect(url_for(".index"), 303)


def _page(row: Drift, form: DecisionForm, *, sentence: str | None = None) -> str:
    way, why_not = _way(row)
    return render_template(
        "admin/drift/show.html",
        row=row,
        amount=_amount(row),
        form=form,
        sentence=sentence,
        way=way,
        why_not=why_not,
        holds_back=row.field == Field.UNADOPTED and row.organization is not None,
        entries=entries_about("drift", row.id),
    )


def _way(row: Drift) -> tuple[Way | None, str | None]:
    """What pushing would do, or why nothing is legal."""
    try:
        return way_of(row), None
    except InvalidTransition as refusal:
        return None, refusal.sentence


def _amount(row: Drift) -> str | None:
    return stripe_text(row.amount, row.currency) if row.amount and row.currency else None


def _state() -> DriftState | None:
    state = request.args.get("state")
    if state and state not in list(DriftState):
        raise InvalidInput(f"“{state}” is not a state of a difference.", field="state")
    return DriftState(state) if state else None
