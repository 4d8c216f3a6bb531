"""Rate limits of the API: requests and events a minute, of each key and of each organization over all its keys."""

from flask import Response, current_app, g

from portal.core.errors import PortalError
from portal.infra import clock
from portal.infra.limits import WINDOW_SECONDS, Counters, Limit, Standing
from portal.organizations.api_keys import KeyHolder


class TooManyRequests(PortalError):
    """The minute's requests or events are used up; nothing of this request was done."""

    code, status = "rate_limited", 429


def count_request(*, events: int = 0) -> None:
    """Count this request, and the events that it brings, in one round trip. Raises TooManyRequests.

    Call it before anything is stored. A limit of 0 in the settings is none.
    """
    settings, holder = current_app.config["SETTINGS"], g.key_holder
    costs = (("requests", 1, settings.api_requests_per_minute), ("events", events, settings.api_events_per_minute))
    limits = [
        Limit(f"{what}:{whose}", cost, most)
        for what, cost, most in costs
        if cost and most
        for whose in _counted(holder)
    ]
    if not limits:
        return
    standing = _counters().take(limits, now=clock.now())
    g.rate_limit = standing
    if not standing.has_room:
        raise TooManyRequests(
            f"Too much for one minute: {_what(standing)} are limited to {standing.limit.most}, and"
            f" {standing.remaining} are left. Nothing was done; try again in {standing.reset_seconds} s."
        )


def add_limit_headers(response: Response) -> Response:
    """Say how much is left of the limit that is nearest, and after a refusal when to come again."""
    standing: Standing | None = g.get("rate_limit")
    if standing is not None:
        response.headers["RateLimit-Policy"] = f"{standing.limit.most};w={WINDOW_SECONDS}"
        response.headers["RateLimit-Limit"] = str(standing.limit.most)
        response.headers["RateLimit-Remaining"] = str(standing.remaining)
        response.headers["RateLimit-Reset"] = str(standing.reset_seconds)
        if not standing.has_room:
            response.headers["Retry-After"] = str(standing.reset_seconds)
    return response


def _counted(holder: KeyHolder) -> list[str]:
    key = f"key:{holder.key_id}"
    return [key] if holder.organization_id is None else [key, f"organization:{holder.organization_id}"]


def _what(standing: Standing) -> str:
    what, whose, _ = standing.limit.name.split(":")
    return f"{what} of this {whose}"


def _counters() -> Counters:
    if "api_counters" not in current_app.extensions:
        current_app.extensions["api_counters"] = Counters(current_app.config["SETTINGS"].redis_url)
    counters: Counters = current_app.extensions["api_counters"]
    return counters
