"""Asking "is it you?" before what cannot be taken back, in the very form that does it.

A form that needs it has one field more. Sent without, it is shown again with what was typed and the field, and nothing
was done; so a person always sees what they confirm, and no form is ever sent by itself.
"""

from dataclasses import dataclass
from datetime import timedelta

from flask import current_app, request

from portal.core.errors import InvalidInput
from portal.core.money import to_major
from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.infra.formats import wait_words
from portal.organizations import attempts
from portal.organizations.confirming import confirm, is_confirmed
from portal.signed_in import cookie_name, me


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks besides; `error` is what was wrong with the last answer."""

    wants_code: bool
    error: str | None = None


def is_large(amount: int, currency: str) -> bool:
    """Whether an amount in minor units is above the one from which it takes a confirmation (STEP_UP_ABOVE)."""
    limit = current_app.config["SETTINGS"].step_up_above
    return limit is not None and to_major(amount, currency) > limit


def question() -> Question | None:
    """What a form has to ask now; None within 10 minutes of the last confirmation."""
    return None if is_confirmed(me(), now=clock.now()) else Question(me().has_two_factors)


def ask() -> Question | None:
    """Look at the answer that came with a form. None: it is them, go on; otherwise show the form again with this."""
    asked, typed = question(), request.form.get("confirm")
    if asked is None or typed is None:
        return asked
    wait = _count_try(asked)
    if wait is not None:
        words = wait_words(-(-wait // timedelta(seconds=1)))
        return Question(asked.wants_code, f"Too many tries. Try again in {words}.")
    keys, now = current_app.config["SETTINGS"].secret_keys, clock.now()
    try:
        with acting_as(SYSTEM), transaction():
            confirm(me(), request.cookies[cookie_name()], typed, keys=keys, now=now)
            if asked.wants_code:
                attempts.give_code_try_back(me().email, request.remote_addr)
            else:
                attempts.give_password_try_back(me().email, request.remote_addr, now=now)
    except InvalidInput as refusal:
        return Question(asked.wants_code, refusal.sentence)
    return None


def _count_try(asked: Question) -> timedelta | None:
    count = attempts.count_code_try if asked.wants_code else attempts.count_password_try
    with acting_as(SYSTEM), transaction():
        return count(me().email, request.remote_addr, now=clock.now())
