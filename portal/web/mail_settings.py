"""Which mails a member gets: a page of one choice."""

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import BooleanField

from portal.core.saying import Said
from portal.infra.db import transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.mailing.choosing import addresses_of, choose_invoice_mails, wants_invoice_mails
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, me, my_seat

bp = Blueprint("mail_settings", __name__)
bp.before_request(guard_page)


class MailForm(FlaskForm):
    """The choice; a box that is not ticked is not sent, and means no."""

    about_invoices = BooleanField(Said("Mail me about invoices and payments"))


@bp.get("/settings/mail")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """What I get now, in the organization that I am looking at."""
    seat = my_seat()
    form = MailForm(formdata=None)
    form.about_invoices.data = wants_invoice_mails(seat.organization_id, me().user_id, seat.role)
    organization = organization_by_id(seat.organization_id)
    return render_template("web/mail_settings/show.html", form=form, addresses=addresses_of(organization))


@bp.post("/settings/mail")
@policy("view invoices")
def choose() -> ResponseReturnValue:
    """Keep my choice."""
    form = MailForm()
    with transaction():
        choose_invoice_mails(my_seat().organization_id, me().user_id, wanted=form.about_invoices.data)
    flash(
        _("Your choice is kept.") if form.about_invoices.data else _("You get no more mails about invoices."), "success"
    )
    return redirect(url_for(".show"), 303)
