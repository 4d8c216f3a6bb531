"""Being the second person who publishes a price: a look at what holds and what is wanted, and the yes or no."""

from uuid import UUID

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from portal.admin.approving import DecisionForm, person
from portal.admin.price_forms import publish
from portal.admin.staff import staff_blueprint
from portal.catalog import seconding
from portal.catalog.wording import price_in_words
from portal.core.errors import InvalidInput, PortalError
from portal.core.pricing import terms_from_json
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.formats import day
from portal.infra.pages import policy
from portal.organizations.models import ApprovalRequest
from portal.signed_in import me

bp = staff_blueprint("admin_approving_prices")


@bp.get("/approvals/<uuid:public_id>")
@policy("publish prices")
def show(public_id: UUID) -> str:
    """What holds until then, what is wanted, and who asked."""
    return _page(seconding.request_to_publish(public_id), DecisionForm(formdata=None))


@bp.post("/approvals/<uuid:public_id>")
@policy("publish prices")
def decide(public_id: UUID) -> Answer | str | tuple[str, int]:
    """Approve, and publish with that; or refuse with a comment."""
    asked, form = seconding.request_to_publish(public_id), DecisionForm()
    if not form.validate():
        return _page(asked, form), 422
    try:
        done = _approve(asked, form) if request.form.get("step") == "approve" else _refuse(asked, form)
    except InvalidInput as refusal:
        form.comment.errors = [refusal.sentence]
        return _page(seconding.request_to_publish(public_id), form), 422
    except PortalError as refusal:
        return _page(seconding.request_to_publish(public_id), form, sentence=refusal.sentence), refusal.status
    flash(done, "success")
    return redirect(url_for("admin_approving.index"), 303)


def _approve(asked: ApprovalRequest, form: DecisionForm) -> str:
    with transaction():
        new = seconding.approve(asked, by=person(), comment=form.comment.data or "", now=clock.now())
        version = publish(new)
        return f"“{asked.facts['name']}” is published from {day(version.valid_from)}."


def _refuse(asked: ApprovalRequest, form: DecisionForm) -> str:
    with transaction():
        seconding.refuse(asked, by=person(), comment=form.comment.data or "", now=clock.now())
    return f"Refused: “{asked.facts['name']}” stays as it is."


def _page(asked: ApprovalRequest, form: DecisionForm, *, sentence: str | None = None) -> str:
    new, entry = seconding.version_asked_for(asked), seconding.entry_asked_about(asked)
    before = entry.on(new.valid_from) if entry is not None else None
    interval = str(new.plan.interval) if new.plan else "month"
    words = price_in_words(terms_from_json(new.terms), unit=new.of.unit, currency=new.currency, interval=interval)
    return render_template(
        "admin/approvals/price.html",
        asked=asked,
        new=new,
        entry=entry,
        before=before and before.sentence,
        words=words,
        form=form,
        sentence=sentence,
        is_open=asked.is_open(clock.now()),
        is_mine=asked.asked_by_id == me().user_id,
    )
