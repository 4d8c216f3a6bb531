"""The cookies of signing in: the session's, and those of what is under way: a code, a provider, a passkey."""

from flask import current_app, request
from werkzeug import Response

from portal.infra.languages import COOKIE
from portal.organizations.passkeys import ANSWER_WITHIN
from portal.organizations.provider_sign_ins import BACK_WITHIN
from portal.organizations.second_steps import CODE_WITHIN
from portal.signed_in import cookie_name

SECONDS_A_DAY = 24 * 60 * 60
SECONDS_A_YEAR = 365 * SECONDS_A_DAY


def keep_session(response: Response, token: str, *, days: int) -> None:
    """Set the session cookie; no days take it away."""
    _keep(response, cookie_name(), token, days * SECONDS_A_DAY)


def keep_half_sign_in(response: Response, token: str | None) -> None:
    """Remember that the password was right; None forgets it."""
    _keep(response, _half_name(), token or "", int(CODE_WITHIN.total_seconds()) if token else 0)


def half_sign_in_token() -> str:
    """The token between password and code; empty if there is none."""
    return request.cookies.get(_half_name(), "")


def keep_provider_sign_in(response: Response, token: str | None) -> None:
    """Remember that this browser was sent to the provider; None forgets it."""
    _keep(response, _provider_name(), token or "", int(BACK_WITHIN.total_seconds()) if token else 0)


def provider_sign_in_token() -> str:
    """The token of the way to the provider and back; empty if there is none."""
    return request.cookies.get(_provider_name(), "")


def keep_passkey_sign_in(response: Response, token: str | None) -> None:
    """Remember that this browser's device was asked for a passkey; None forgets it."""
    _keep(response, _passkey_name(), token or "", int(ANSWER_WITHIN.total_seconds()) if token else 0)


def passkey_sign_in_token() -> str:
    """The token of signing in with a passkey alone; empty if there is none."""
    return request.cookies.get(_passkey_name(), "")


def keep_language(response: Response, language: str) -> None:
    """Remember in this browser which language was chosen before anybody signed in."""
    _keep(response, COOKIE, language, SECONDS_A_YEAR)


def _provider_name() -> str:
    return f"{cookie_name()}_provider"


def _passkey_name() -> str:
    return f"{cookie_name()}_passkey"


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
