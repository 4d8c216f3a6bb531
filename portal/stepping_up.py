"""Asking "is it you?" before what cannot be taken back, in the very form that does it.

A form that needs it has one field more. Sent without, it is shown again with what was typed and the field, and nothing
was done; so a person always sees what they confirm, and no form is ever sent by itself.
"""

from dataclasses import dataclass
from datetime import timedelta

from flask import current_app, request

from portal.core.errors import InvalidInput
from portal.core.money import to_major
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.formats import wait_words
from portal.organizations import attempts
from portal.organizations.confirming import confirm, confirm_by_passkey, is_confirmed
from portal.organizations.passkeys import Site, begin_using, passkeys_of, site_of
from portal.signed_in import cookie_name, me


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks besides; `error` is what was wrong with the last answer, `options` what a passkey is asked."""

    wants_code: bool
    error: str | None = None
    options: str | None = None


def is_large(amount: int, currency: str) -> bool:
    """Whether an amount in minor units is above the one from which it takes a confirmation (STEP_UP_ABOVE)."""
    limit = current_app.config["SETTINGS"].step_up_above
    return limit is not None and to_major(amount, currency) > limit


def is_needed() -> bool:
    """Whether it is more than 10 minutes since they last confirmed."""
    return not is_confirmed(me(), now=clock.now())


def question() -> Question | None:
    """What a form has to ask now; None within 10 minutes of the last confirmation."""
    return _question() if is_needed() else None


def ask() -> Question | None:
    """Look at the answer that came with a form. None: it is them, go on; otherwise show the form again with this."""
    typed, signed = request.form.get("confirm"), request.form.get("passkey")
    if not is_needed():
        return None
    if typed is None and not signed:
        return _question()
    wait = _count_try()
    if wait is not None:
        words = wait_words(-(-wait // timedelta(seconds=1)))
        return _question(Said("Too many tries. Try again in %(wait)s.", wait=words))
    token, now = request.cookies[cookie_name()], clock.now()
    try:
        with acting_as(SYSTEM), transaction():
            if signed:
                confirm_by_passkey(me(), token, signed, site=site(), now=now)
            else:
                confirm(me(), token, typed or "", keys=current_app.config["SETTINGS"].secret_keys, now=now)
            if me().has_two_factors:
                attempts.give_code_try_back(me().email, request.remote_addr)
            else:
                attempts.give_password_try_back(me().email, request.remote_addr, now=now)
    except InvalidInput as refusal:
        return _question(refusal.sentence)
    return None


def site() -> Site:
    """For which address passkeys sign here."""
    settings = current_app.config["SETTINGS"]
    return site_of(settings.portal_url, settings.seller_name)


def _question(error: str | None = None) -> Question:
    return Question(me().has_two_factors, error, _passkey_options() if me().has_two_factors else None)


def _passkey_options() -> str | None:
    """What their devices are asked to sign, as JSON for the browser; None for somebody without passkeys."""
    with acting_as(SYSTEM), transaction():
        if not passkeys_of(me().user_id):
            return None
        return begin_using(me().user_id, site=site(), now=clock.now())


def _count_try() -> timedelta | None:
    count = attempts.count_code_try if me().has_two_factors else attempts.count_password_try
    with acting_as(SYSTEM), transaction():
        return count(me().email, request.remote_addr, now=clock.now())
