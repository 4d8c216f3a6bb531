"""Two factors on "Your account": setting them up with an app, recovery codes, and switching them off."""

import segno
from flask import Blueprint, Response, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from markupsafe import Markup
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from portal.config import Settings
from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.languages import _
from portal.infra.pages import policy
from portal.organizations import two_factors
from portal.organizations.codes import RECOVERY_CODES, uri_of
from portal.signed_in import guard_page, me
from portal.web.tries import count_code_try, count_password_try, give_code_try_back, give_password_try_back

_QR_BORDER_MODULES = 4
bp = Blueprint("two_factors", __name__)
bp.before_request(guard_page)


class BeginForm(FlaskForm):
    """The password, because whoever switches two factors on decides who gets in."""

    current = PasswordField(
        Said("Current password"), [InputRequired(Said("Enter your current password.")), Length(max=1024)]
    )


class CodeForm(FlaskForm):
    """A code of the app, or a recovery code."""

    code = StringField(Said("Code"), [InputRequired(Said("Enter the code.")), Length(max=40)])


class OffForm(BeginForm, CodeForm):
    """Both factors, to have only one from then on."""


@bp.get("/settings/account/two-factors")
@policy("signed in")
def show() -> ResponseReturnValue:
    """Whether they are on, and where to go from here."""
    if not me().has_two_factors:
        return _begin_page(BeginForm())
    with acting_as(SYSTEM):
        left = two_factors.recovery_codes_left(me().user_id)
    return render_template("web/two_factors/show.html", left=left)


@bp.post("/settings/account/two-factors")
@policy("signed in")
def begin() -> ResponseReturnValue:
    """Make a secret for the app; it is not in force before its first code."""
    form = BeginForm()
    if not form.validate_on_submit():
        return _begin_page(form), 422
    wait = count_password_try()
    if wait is not None:
        return wait
    try:
        with acting_as(SYSTEM), transaction():
            two_factors.prepare(me().user_id, form.current.data or "", keys=_settings().secret_keys, now=clock.now())
    except InvalidInput as refusal:
        form.current.errors = [refusal.sentence]
        return _begin_page(form), 422
    give_password_try_back()
    return redirect(url_for(".scan"), 303)


@bp.get("/settings/account/two-factors/scan")
@policy("signed in")
def scan() -> ResponseReturnValue:
    """The QR code of the secret, and the form for the app's first code."""
    return _scan_page(CodeForm())


@bp.post("/settings/account/two-factors/scan")
@policy("signed in")
def switch_on() -> ResponseReturnValue:
    """Take the first code; the recovery codes are on this one page and never again."""
    form = CodeForm()
    if not form.validate_on_submit():
        return _scan_page(form, 422)
    try:
        with acting_as(SYSTEM), transaction():
            codes = two_factors.switch_on(
                me().user_id, form.code.data or "", keys=_settings().secret_keys, now=clock.now()
            )
    except InvalidInput as refusal:
        form.code.errors = [refusal.sentence]
        return _scan_page(form, 422)
    return _codes_page(codes)


@bp.get("/settings/account/two-factors/recovery-codes")
@policy("signed in")
def recovery() -> ResponseReturnValue:
    """The form for new recovery codes."""
    return render_template("web/two_factors/new_codes.html", form=CodeForm(), count=RECOVERY_CODES)


@bp.post("/settings/account/two-factors/recovery-codes")
@policy("signed in")
def make_codes() -> ResponseReturnValue:
    """Make new recovery codes and show them, once; the old ones end."""
    form = CodeForm()
    if not form.validate_on_submit():
        return render_template("web/two_factors/new_codes.html", form=form, count=RECOVERY_CODES), 422
    wait = count_code_try()
    if wait is not None:
        return wait
    try:
        with acting_as(SYSTEM), transaction():
            codes = two_factors.make_recovery_codes(
                me().user_id, form.code.data or "", keys=_settings().secret_keys, now=clock.now()
            )
    except InvalidInput as refusal:
        form.code.errors = [refusal.sentence]
        return render_template("web/two_factors/new_codes.html", form=form, count=RECOVERY_CODES), 422
    give_code_try_back()
    return _codes_page(codes)


@bp.post("/settings/account/two-factors/recovery-codes.txt")
@policy("signed in")
def download_codes() -> ResponseReturnValue:
    """The codes that the page shows, as a file: the page sends them back, for nobody else knows them."""
    with acting_as(SYSTEM):
        codes = two_factors.own_recovery_codes(me().user_id, request.form.getlist("code"))
    text = f"Recovery codes of {me().email} for {_settings().seller_name}. Each works once.\n\n" + "\n".join(codes)
    headers = {"Content-Disposition": 'attachment; filename="recovery-codes.txt"'}
    return Response(text + "\n", mimetype="text/plain", headers=headers)


@bp.get("/settings/account/two-factors/off")
@policy("signed in")
def off() -> ResponseReturnValue:
    """The form to switch it off."""
    return render_template("web/two_factors/off.html", form=OffForm())


@bp.post("/settings/account/two-factors/off")
@policy("signed in")
def switch_off() -> ResponseReturnValue:
    """Back to the password alone, for the password and a code."""
    form = OffForm()
    if not form.validate_on_submit():
        return render_template("web/two_factors/off.html", form=form), 422
    wait = count_password_try() or count_code_try()
    if wait is not None:
        return wait
    keys, now = _settings().secret_keys, clock.now()
    try:
        with acting_as(SYSTEM), transaction():
            two_factors.switch_off(me().user_id, form.current.data or "", form.code.data or "", keys=keys, now=now)
    except InvalidInput as refusal:
        form[refusal.field].errors = [refusal.sentence]
        if refusal.field != "current":
            give_password_try_back()
        return render_template("web/two_factors/off.html", form=form), 422
    give_password_try_back()
    give_code_try_back()
    flash(_("Signing in needs the password alone from now on."), "success")
    return redirect(url_for("account.show"), 303)


def _settings() -> Settings:
    settings: Settings = current_app.config["SETTINGS"]
    return settings


def _begin_page(form: BeginForm) -> str:
    must = me().staff_role is not None and _settings().staff_need_two_factors
    return render_template("web/two_factors/begin.html", form=form, must=must)


def _scan_page(form: CodeForm, status: int = 200) -> ResponseReturnValue:
    with acting_as(SYSTEM):
        secret = two_factors.prepared_secret(me().user_id, keys=_settings().secret_keys)
    if secret is None:
        return redirect(url_for(".show"), 303)
    uri = uri_of(secret, account=me().email, issuer=_settings().seller_name)
    # Markup of our own making, with attributes in place of styles: the security policy forbids those.
    svg = segno.make_qr(uri).svg_inline(omitsize=True, light="#fff", border=_QR_BORDER_MODULES, svgclass="qr")
    grouped = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    # Markup of our own making, of a secret that has letters and digits only.
    picture = Markup(svg)  # nosec B704
    return render_template("web/two_factors/scan.html", form=form, qr=picture, secret=grouped), status


def _codes_page(codes: list[str]) -> str:
    return render_template("web/two_factors/codes.html", codes=codes)
