"""Mails: the list, one of them as it was written, and sending it again."""

from typing import Any
from uuid import UUID, uuid4

from flask import Response, flash, redirect, render_template, request, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as Answer
from wtforms import HiddenField, TextAreaField
from wtforms.validators import UUID as IsUUID
from wtforms.validators import DataRequired, Length

from portal.admin.paging import last_id
from portal.admin.staff import staff_blueprint
from portal.core.errors import InvalidInput, InvalidTransition
from portal.infra.audit_reading import entries_about
from portal.infra.blocks import rows_of
from portal.infra.db import transaction
from portal.infra.pages import csv_streamed, policy
from portal.mailing.models import Mail, MailState
from portal.mailing.queries import counts_by_mail_state, list_mails, mail_of, mails_about
from portal.mailing.repeating import LONGEST_REASON, send_again
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.signed_in import me

PER_PAGE = 50
HEAD = (
    *("id", "organization", "invoice", "kind", "subject", "to", "state", "attempts", "written_at", "sent_at"),
    *("error", "reason", "asked_by"),
)
bp = staff_blueprint("admin_mails")


class AgainForm(FlaskForm):
    """Why a mail is sent again."""

    form_token = HiddenField(validators=[IsUUID("The form is too old; reload the page.")])
    reason = TextAreaField(
        "Reason",
        [
            DataRequired("Say why; the reason is kept with the mail and in the audit log."),
            Length(max=LONGEST_REASON, message=f"A reason has at most {LONGEST_REASON} characters."),
        ],
    )


@bp.app_context_processor
def _offer_mails() -> dict[str, Any]:
    """The page of an invoice asks for its mails."""
    return {"mails_about": mails_about}


@bp.get("/mails")
@policy("view organizations")
def index() -> str:
    """One page of mails, newest first, of one state or organization if asked for."""
    state, organization = _state(), _organization()
    found = list_mails(**_filter(state, organization), before=last_id(), limit=PER_PAGE + 1)
    shown = found[:PER_PAGE]
    counts = counts_by_mail_state(organization.id if organization else None)
    return render_template(
        "admin/mails/index.html",
        mails=shown,
        state=state,
        organization=organization,
        counts=[(each, counts.get(each, 0)) for each in MailState],
        more=shown[-1].id if len(found) > PER_PAGE else None,
        paged="after" in request.args,
    )


@bp.get("/mails.csv")
@policy("view organizations")
def as_csv() -> Response:
    """All mails that the same filter finds."""
    wanted = _filter(_state(), _organization())

    def read(last: Mail | None, limit: int) -> list[Mail]:
        return list_mails(**wanted, before=last.id if last else None, limit=limit)

    return csv_streamed("mails", HEAD, map(_csv_row, rows_of(read)))


@bp.get("/mails/<uuid:public_id>")
@policy("view organizations")
def show(public_id: UUID) -> str:
    """One mail as it was written, and what became of it."""
    return _page(mail_of(public_id), AgainForm(formdata=None, form_token=str(uuid4())))


@bp.post("/mails/<uuid:public_id>/again")
@policy("repair the Stripe sync")
def again(public_id: UUID) -> Answer | tuple[str, int]:
    """Queue a copy of it, with the reason; the same form sent twice queues one."""
    form = AgainForm()
    if not form.validate():
        return _page(mail_of(public_id), form), 422
    token = UUID(form.form_token.data)
    try:
        with transaction():
            send_again(public_id, reason=form.reason.data or "", by=me().name, form_token=token)
    except (InvalidInput, InvalidTransition) as refusal:
        return _page(mail_of(public_id), form, sentence=refusal.sentence), refusal.status
    flash("The mail is queued again; it goes to whoever gets mails about invoices now.", "success")
    return redirect(url_for(".index"), 303)


def _page(mail: Mail, form: AgainForm, *, sentence: str | None = None) -> str:
    return render_template(
        "admin/mails/show.html", mail=mail, form=form, sentence=sentence, entries=entries_about("mail", mail.id)
    )


def _csv_row(mail: Mail) -> tuple[Any, ...]:
    return (
        mail.public_id,
        mail.organization.name,
        mail.invoice.number if mail.invoice else None,
        mail.kind,
        mail.subject,
        " ".join(mail.recipients),
        mail.state,
        mail.attempts,
        mail.created_at.isoformat(),
        mail.sent_at.isoformat() if mail.sent_at else None,
        mail.last_error,
        mail.reason,
        mail.asked_by,
    )


def _filter(state: MailState | None, organization: Organization | None) -> dict[str, Any]:
    return {"state": state, "organization_id": organization.id if organization else None}


def _state() -> MailState | None:
    state = request.args.get("state")
    if state and state not in list(MailState):
        raise InvalidInput(f"“{state}” is not a state of a mail.", field="state")
    return MailState(state) if state else None


def _organization() -> Organization | None:
    """Whose mails are asked for. Raises NotFound."""
    named = request.args.get("organization", type=UUID)
    return organization_of(named) if named else None
