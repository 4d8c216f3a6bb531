"""What every page stands on: guards, security headers, errors, CSV.

Every route names its policy (`@policy(...)`); a request for a route without one is refused, so a forgotten guard
shows at once instead of letting everybody in.
"""

import csv
import io
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, TypeVar

from flask import Flask, Response, current_app, g, jsonify, render_template, request, stream_with_context
from flask_wtf.csrf import CSRFError, CSRFProtect
from gunicorn.http.errors import ParseException
from sqlalchemy.exc import DataError, DBAPIError
from werkzeug.exceptions import BadRequest, HTTPException, SecurityError

from portal.core.errors import PortalError
from portal.core.exact import plain
from portal.core.saying import Said
from portal.core.visible import hides_something, visible
from portal.infra import languages
from portal.infra.formats import FILTERS
from portal.infra.languages import told

View = TypeVar("View", bound=Callable[..., Any])
csrf = CSRFProtect()
# An amount keeps its decimals as text; a number cannot be a formula.
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
ROWS_AT_ONCE = 1000
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def policy(name: str) -> Callable[[View], View]:
    """Say who may use a view: a permission's name, "public", "signed in", "api key: <scope>" or "signature"."""

    def mark(view: View) -> View:
        view.policy = name  # type: ignore[attr-defined]
        return view

    return mark


def policy_of(app: Flask, endpoint: str) -> str | None:
    """The policy of an endpoint; static files are public."""
    if endpoint == "static" or endpoint.endswith(".static"):
        return "public"
    found: str | None = getattr(app.view_functions[endpoint], "policy", None)
    return found


def init_app(app: Flask) -> None:
    """Register filters, headers and error pages."""
    app.before_request(_begin)
    csrf.init_app(app)
    app.after_request(_add_headers)
    app.register_error_handler(PortalError, _portal_error)
    app.register_error_handler(CSRFError, _csrf_error)
    app.register_error_handler(DBAPIError, _database_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ParseException, _broken_body)
    app.register_error_handler(Exception, _crash)
    app.jinja_env.filters.update(FILTERS)
    languages.init_app(app)
    # What senders wrote is shown as it is, on pages and in mails; people's forms refuse it (see _begin).
    app.jinja_env.finalize = _shown
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def _shown(value: Any) -> Any:
    """What a template writes. Markup was made by templates, so its texts have been here."""
    if isinstance(value, Said):
        return visible(told(value))
    return visible(value) if type(value) is str else value


def _begin() -> None:
    g.request_id = secrets.token_hex(8)
    if request.endpoint is not None and policy_of(current_app, request.endpoint) is None:
        raise RuntimeError(f"the route {request.endpoint} has no policy")
    forms = ("application/x-www-form-urlencoded", "multipart/form-data")
    sent = [*request.args.values(), *(request.form.values() if request.mimetype in forms else ())]
    if any("\0" in value for value in sent):
        raise BadRequest(Said("A NUL character cannot be part of a text."))
    if request.method == "POST" and any(map(hides_something, sent)):
        raise BadRequest(Said("A text holds a character that cannot be seen and changes how it reads. Type it anew."))


def _add_headers(response: Response) -> Response:
    settings = current_app.config["SETTINGS"]
    targets = " ".join(("'self'", *g.get("form_targets", ())))
    script = settings.htmx_url if settings.htmx_url.startswith("http") else ""
    response.headers.setdefault(
        "Content-Security-Policy",
        f"default-src 'none'; script-src 'self' {script}; style-src 'self'; img-src 'self'; font-src 'self'; "
        f"connect-src 'self'; form-action {targets}; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    # Not no-referrer: Flask-WTF compares the referrer of forms over HTTPS.
    response.headers.setdefault("Referrer-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
    response.headers["X-Request-Id"] = g.get("request_id", "")
    if settings.is_production:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if "locale" in g or "language" in g:
        response.vary.add("Accept-Language")
    if request.endpoint != "static" or response.status_code >= 400:
        response.headers.setdefault("Cache-Control", "private, no-store")
    return response


def _wants_json() -> bool:
    return request.path.startswith(("/api/", "/webhooks/stripe"))


def _error(status: int, title: str, sentence: str, *, code: str, field: str | None = None) -> Response:
    """One error, as a page for people or as a problem document (RFC 9457) for machines."""
    response: Response
    if _wants_json():
        problem = {"type": "about:blank", "title": title, "status": status, "detail": sentence, "code": code}
        response = jsonify({**problem, **({"field": field} if field else {}), "request_id": g.get("request_id")})
        response.content_type = "application/problem+json"
    else:
        response = Response(render_template("errors/error.html", status=status, title=title, sentence=sentence))
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = "5"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _portal_error(error: PortalError) -> Response:
    return _error(
        error.status,
        _TITLES.get(error.status, Said("That did not work")),
        error.sentence,
        code=error.code,
        field=error.field,
    )


def _csrf_error(_error_: CSRFError) -> Response:
    return _error(
        400,
        Said("The form is too old"),
        Said("Nothing was changed. Go back, reload the page and send it again."),
        code="form_token",
    )


def _database_error(error: DBAPIError) -> Response:
    if isinstance(error, DataError):
        sentence = Said("A value is longer or larger than can be kept. Nothing was changed.")
        return _error(422, _TITLES[422], sentence, code="invalid_input")
    # Only its first words: the details quote what was to be written.
    words = str(error.orig).partition("\n")[0]
    current_app.logger.error("database error", extra={"error": words[:200]})
    return _error(
        503,
        Said("Busy just now"),
        Said("The database did not answer in time. Nothing was changed; try again in a few seconds."),
        code="busy",
    )


def _http_error(error: HTTPException) -> Response:
    if isinstance(error, SecurityError):
        # Asked by a name that is not ours, so there is no address that a page could name.
        return Response("This is not the address of the portal.\n", 400, mimetype="text/plain")
    status = error.code or 500
    sentence = _SENTENCES.get(status, error.description or "")
    return _error(status, _TITLES.get(status, error.name), sentence, code=error.name.lower().replace(" ", "_"))


def _broken_body(_error_: Exception) -> Response:
    """A body in chunks that are none: the server finds that out while a view reads it."""
    return _error(400, _TITLES[400], "The body does not come in the pieces that it announces.", code="broken_body")


def _crash(error: Exception) -> Response:
    current_app.logger.exception("unexpected error", exc_info=error)
    return _error(
        500,
        Said("Something went wrong"),
        Said("This is our fault and has been logged. Amounts that are final are not affected."),
        code="internal",
    )


_TITLES = {
    400: Said("That request cannot be read"),
    401: Said("Say who you are"),
    403: Said("Your role does not include this"),
    404: Said("There is nothing here"),
    405: Said("That does not work this way"),
    409: Said("Something has changed in between"),
    413: Said("That is too large"),
    415: Said("That kind of content is not taken"),
    422: Said("Something does not fit"),
    429: Said("Too many requests"),
    500: Said("Something went wrong"),
    503: Said("Busy just now"),
}
_SENTENCES = {
    404: Said("The address may be mistyped, or the page belongs to another organization."),
    405: Said("This address does not take that kind of request."),
    413: Said("The body is larger than this address takes."),
}


def csv_response(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """A table as CSV that spreadsheets open safely: UTF-8 with BOM; no text cell can be taken for a formula."""
    response = Response("\ufeff" + csv_text([header]) + csv_text(rows), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def csv_streamed(name: str, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> Response:
    """The same for a table without a bound: it is written while it is read, so its length costs no memory.

    The first rows are read before the answer begins, so that a refusal of the database can still be one.
    """
    begun = csv_response(name, header, list(islice(rows, ROWS_AT_ONCE)))
    response = Response(stream_with_context(_written(begun.get_data(), rows)), mimetype="text/csv")
    response.headers["Content-Disposition"] = begun.headers["Content-Disposition"]
    return response


def _written(begun: bytes, rows: Iterator[Sequence[Any]]) -> Iterator[bytes]:
    yield begun
    while part := list(islice(rows, ROWS_AT_ONCE)):
        yield csv_text(part).encode()


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV that spreadsheets open safely, without head and mark: for files that are made piece by piece."""
    out = io.StringIO()
    csv.writer(out).writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, int):
        return str(value)
    text = visible(str(value))
    if _NUMBER.fullmatch(text):
        return text
    # Some spreadsheets pass over white space in front, and take the wide forms of East Asian keyboards too.
    return f"'{text}" if text.startswith(("\t", "\r", "\n", "\0")) or text.lstrip().startswith(_FORMULA) else text
