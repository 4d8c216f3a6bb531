"""The hosted invoice page: what the customer sees, with a card that does as it is told."""

from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from . import settling
from .api import Api
from .errors import StripeError
from .events import caused_by
from .nearby import LOCAL_HOSTS
from .words import amount, day, own_number

OUTCOMES = ("succeeds", "declines", "requires_action")


def make_blueprint(api: Api) -> Blueprint:
    """The hosted pages of one sandbox."""
    hosted = Blueprint("hosted", __name__, url_prefix="/hosted")
    store = api.store

    @hosted.get("/<id>")
    def show(id: str) -> str:
        with store.lock:
            invoice = store.invoices.get(id)
            if invoice is None or invoice["status"] == "draft":
                abort(404)
            return render_template(
                "hosted.html",
                invoice=invoice,
                lines=store.lines[id],
                number=own_number(invoice),
                result=request.args.get("result"),
                return_url=local_url(request.args.get("return_url", "")),
                amount=amount,
                day=day,
            )

    @hosted.post("/<id>/pay")
    def pay(id: str) -> BaseResponse:
        outcome = request.form.get("outcome", "")
        if outcome not in OUTCOMES:
            abort(400)
        with store.lock:
            invoice = store.invoices.get(id)
            if invoice is None or invoice["status"] == "draft":
                abort(404)
            caused_by(None, None)
            try:
                settling.attempt(store, invoice, outcome)
            except StripeError:
                # Paid or voided in the meantime: the page tells which.
                outcome = ""
            api.deliverer.take_new()
            store.touch()
        back = local_url(request.form.get("return_url", ""))
        return redirect(url_for(".show", id=id, result=outcome or None, return_url=back), 303)

    @hosted.errorhandler(404)
    def missing(error: Exception) -> Response:
        return Response("There is no such invoice.", 404, content_type="text/plain")

    return hosted


def local_url(url: str) -> str | None:
    """The address to go back to, if it leads to this machine and nowhere else."""
    try:
        parts = urlsplit(url)
        return url if parts.scheme in ("http", "https") and parts.hostname in LOCAL_HOSTS else None
    except ValueError:
        return None
