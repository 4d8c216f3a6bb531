"""The hosted pages about cards: one to enter a test card, and one to look at those that are kept."""

from collections.abc import Callable

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from . import checkout, customers, methods
from .api import Api
from .cards import CARD_NUMBERS
from .errors import StripeError
from .events import caused_by
from .hosted import local_url
from .store import Json

_FIRST_YEAR, _LAST_YEAR = 2000, 2099


def make_blueprint(api: Api) -> Blueprint:
    """The card pages of one sandbox."""
    pages = Blueprint("card_pages", __name__)
    store = api.store

    def do(work: Callable[[], object]) -> str | None:
        """Do what a person asked for on a page; return why not, if it was refused."""
        with store.lock:
            caused_by(None, None)
            try:
                work()
            except StripeError as refusal:
                return str(refusal)
            finally:
                api.deliverer.take_new()
                store.touch()
        return None

    def checkout_page(id: str, problem: str | None = None) -> tuple[str, int]:
        with store.lock:
            session = _known(store.checkout_sessions, id)
            page = render_template(
                "checkout.html",
                session=session,
                customer=store.customers[session["customer"]],
                cards=CARD_NUMBERS,
                problem=problem,
                cancel_url=local_url(session["cancel_url"] or ""),
            )
        return page, 402 if problem else 200

    def portal_page(id: str, problem: str | None = None) -> str:
        with store.lock:
            session = _known(store.portal_sessions, id)
            customer = store.customers[session["customer"]]
            return render_template(
                "portal.html",
                session=session,
                customer=customer,
                methods=methods.list_of_customer(store, {"limit": 100}, customer["id"])["data"],
                problem=problem,
                return_url=local_url(session["return_url"] or ""),
            )

    @pages.get("/checkout/<id>")
    def show_checkout(id: str) -> tuple[str, int]:
        return checkout_page(id)

    @pages.post("/checkout/<id>")
    def enter_card(id: str) -> BaseResponse | tuple[str, int]:
        session = _known(store.checkout_sessions, id)
        number = "".join(request.form.get("number", "").split())
        month, year = request.form.get("month", type=int), request.form.get("year", type=int)
        if month is None or not 1 <= month <= 12 or year is None or not _FIRST_YEAR <= year <= _LAST_YEAR:
            return checkout_page(id, "Your card's expiration date is invalid.")
        problem = do(lambda: checkout.complete(store, session, number, month, year))
        back = local_url(session["success_url"].replace("{CHECKOUT_SESSION_ID}", id))
        return checkout_page(id, problem) if problem or back is None else redirect(back, 303)

    @pages.get("/portal/<id>")
    def show_portal(id: str) -> str:
        return portal_page(id)

    @pages.post("/portal/<id>/<action>")
    def change_cards(id: str, action: str) -> BaseResponse | str:
        session, method = _known(store.portal_sessions, id), request.form.get("method", "")
        if store.payment_methods.get(method, {}).get("customer") != session["customer"]:
            abort(404)
        chosen = {"invoice_settings": {"default_payment_method": method}}
        if action == "remove":
            problem = do(lambda: methods.detach(store, {}, method))
        elif action == "default":
            problem = do(lambda: customers.update(store, chosen, session["customer"]))
        else:
            abort(404)
        return portal_page(id, problem) if problem else redirect(url_for(".show_portal", id=id), 303)

    @pages.errorhandler(404)
    def missing(error: Exception) -> Response:
        return Response("There is no such session.", 404, content_type="text/plain")

    return pages


def _known(sessions: dict[str, Json], id: str) -> Json:
    if id not in sessions:
        abort(404)
    return sessions[id]
