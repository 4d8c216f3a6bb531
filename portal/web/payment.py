"""How invoices are paid, and the ways to Stripe's pages where a payment method is set up, changed or removed."""

from flask import Blueprint, current_app, g, redirect, render_template, request
from flask.typing import ResponseReturnValue

from portal.core.saying import Said
from portal.infra import clock
from portal.infra.pages import policy
from portal.organizations.queries import organization_by_id
from portal.organizations.roles import Permission
from portal.payments import gateway
from portal.payments.methods import how_paid, method_of
from portal.payments.opening import Page, PageNotOpened, open_page
from portal.signed_in import guard_page, me, my_seat

BACK = {
    "kept": Said(
        "Stripe keeps your payment method. It shows here as soon as Stripe has told us, mostly within seconds."
    ),
    "cancelled": Said("Nothing was changed."),
    "portal": Said("What you changed at Stripe shows here as soon as Stripe has told us, mostly within seconds."),
}
bp = Blueprint("payment", __name__)
bp.before_request(guard_page)


@bp.get("/payment")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """How my invoices are paid; also where Stripe's pages lead back to."""
    return _page(notice=BACK.get(request.args.get("back", "")))


@bp.post("/payment/setup")
@policy("manage payment methods")
def set_up() -> ResponseReturnValue:
    """To Stripe's page on which a payment method is entered; its number never comes here."""
    return _go_to(Page.SETUP)


@bp.post("/payment/portal")
@policy("manage payment methods")
def portal() -> ResponseReturnValue:
    """To Stripe's page of all that it keeps of this customer."""
    return _go_to(Page.PORTAL)


def _go_to(page: Page) -> ResponseReturnValue:
    try:
        return redirect(open_page(my_seat().organization_id, page), 303)
    except PageNotOpened as refusal:
        return _page(problem=refusal.sentence), refusal.status


def _page(*, notice: str | None = None, problem: str | None = None) -> str:
    organization = organization_by_id(my_seat().organization_id)
    method, today = method_of(organization.id), clock.now().date()
    # Browsers hold a form to the policy's addresses also where its answer leads.
    g.form_targets = gateway.page_origins()
    return render_template(
        "web/payment/show.html",
        method=method,
        expired=method is not None and method.is_expired(today),
        sentence=how_paid(
            organization, method, days_until_due=current_app.config["SETTINGS"].days_until_due, today=today
        ),
        notice=notice,
        problem=problem,
        may_manage=me().may(Permission.MANAGE_PAYMENT),
    )
