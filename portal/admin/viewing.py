"""View as a customer: the form that asks why, and the end of it."""

from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import TextAreaField

from portal.admin.staff import staff_blueprint
from portal.billing_form import RefusableForm
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.pages import policy
from portal.organizations.queries import organization_of
from portal.organizations.viewing import LASTS, begin_viewing, end_viewing
from portal.signed_in import cookie_name

bp = staff_blueprint("admin_viewing")


class ReasonForm(RefusableForm):
    """Why somebody looks."""

    reason = TextAreaField("Reason", render_kw={"rows": 2})


@bp.get("/organizations/<uuid:public_id>/view")
@policy("view as a customer")
def ask(public_id: UUID) -> str:
    """What it means, and why it is done."""
    return _page(public_id, ReasonForm(formdata=None))


@bp.post("/organizations/<uuid:public_id>/view")
@policy("view as a customer")
def begin(public_id: UUID) -> ResponseReturnValue:
    """Begin, and go to the customer's start page."""
    form = ReasonForm()
    if not form.validate():
        return _page(public_id, form), 422
    try:
        with acting_as(SYSTEM), transaction():
            organization = organization_of(public_id)
            begin_viewing(request.cookies[cookie_name()], organization, reason=form.reason.data or "", now=clock.now())
    except InvalidInput as refusal:
        form.take(refusal)
        return _page(public_id, form), 422
    return redirect("/", 303)


@bp.post("/view/end")
@policy("view as a customer")
def end() -> ResponseReturnValue:
    """End, and go back to the staff's pages."""
    with acting_as(SYSTEM), transaction():
        end_viewing(request.cookies[cookie_name()])
    flash("You look as yourself again.", "success")
    return redirect(url_for("admin.today"), 303)


def _page(public_id: UUID, form: ReasonForm) -> str:
    return render_template(
        "admin/organizations/view.html",
        organization=organization_of(public_id),
        form=form,
        minutes=LASTS.seconds // 60,
    )
