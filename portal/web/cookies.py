"""The two cookies of signing in: the session's, and the one between password and code."""

from flask import current_app, request
from werkzeug import Response

from portal.organizations.second_steps import CODE_WITHIN
from portal.signed_in import cookie_name

SECONDS_A_DAY = 24 * 60 * 60


def keep_session(response: Response, token: str, *, days: int) -> None:
    """Set the session cookie; no days take it away."""
    _keep(response, cookie_name(), token, days * SECONDS_A_DAY)


def keep_half_sign_in(response: Response, token: str | None) -> None:
    """Remember that the password was right; None forgets it."""
    _keep(response, _half_name(), token or "", int(CODE_WITHIN.total_seconds()) if token else 0)


def half_sign_in_token() -> str:
    """The token between password and code; empty if there is none."""
    return request.cookies.get(_half_name(), "")


def _half_name() -> str:
    return f"{cookie_name()}_half"


def _keep(response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="Lax",
        secure=current_app.config["SESSION_COOKIE_SECURE"],
    )
