"""The switches of faults on the sandbox's page: plain forms, without JavaScript, from this machine only."""

from flask import Blueprint, abort, redirect, request, url_for
from werkzeug.wrappers import Response

from .api import Api
from .errors import StripeError
from .nearby import is_from_own_page
from .routes import ROUTES

# What a person chooses from: every endpoint, with * for an id.
CALLS = tuple(f"{route.method} {route.path.replace('<id>', '*')}" for route in ROUTES)


def make_blueprint(api: Api) -> Blueprint:
    """The switches of one sandbox."""
    switches = Blueprint("switches", __name__, url_prefix="/faults")

    @switches.before_request
    def only_from_the_page() -> None:
        if not is_from_own_page():
            abort(403)

    @switches.post("")
    def add() -> Response:
        form = request.form
        argument = form.get("argument", "").strip()
        try:
            api.faults.add(
                match=form.get("call", ""),
                mode=f"{form.get('mode', '')}:{argument}" if argument else form.get("mode", ""),
                nth=_count(form.get("nth", "1")),
                times=_count(form.get("times") or "1"),
                sticky=form.get("often") == "always",
            )
        except StripeError as refusal:
            return redirect(url_for("pages.index", problem=str(refusal)), 303)
        return redirect(url_for("pages.index"), 303)

    @switches.post("/clear")
    def clear() -> Response:
        api.faults.clear(request.form.get("fault", type=int))
        return redirect(url_for("pages.index"), 303)

    return switches


def _count(typed: str) -> int:
    if not typed.isdecimal() or not int(typed):
        raise StripeError("How often, and from which call on, are whole numbers from 1.")
    return int(typed)
