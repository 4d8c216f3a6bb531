"""Counting tries of somebody who is signed in: a stolen session is no way to guess the password, or a code, either."""

from flask import Response, request

from portal.infra import clock
from portal.infra.db import SYSTEM, acting_as, transaction
from portal.organizations import attempts
from portal.signed_in import me
from portal.web.waiting import too_many_tries


def count_password_try() -> Response | None:
    """Count a try at my password; the answer, if there is none left. The limits are those of signing in."""
    with acting_as(SYSTEM), transaction():
        wait = attempts.count_password_try(me().email, request.remote_addr, now=clock.now())
    return too_many_tries(wait) if wait else None


def give_password_try_back() -> None:
    """My password was right."""
    with acting_as(SYSTEM), transaction():
        attempts.give_password_try_back(me().email, request.remote_addr, now=clock.now())


def count_code_try() -> Response | None:
    """Count a try at a code of mine; the answer, if there is none left."""
    with acting_as(SYSTEM), transaction():
        wait = attempts.count_code_try(me().email, request.remote_addr, now=clock.now())
    return too_many_tries(wait) if wait else None


def give_code_try_back() -> None:
    """My code was right."""
    with acting_as(SYSTEM), transaction():
        attempts.give_code_try_back(me().email, request.remote_addr)
