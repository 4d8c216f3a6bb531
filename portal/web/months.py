"""The month that a page shows, from its address."""

from datetime import datetime

from flask import request

from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.core.saying import Said

EARLIEST = Month(2000, 1)
SHOWN = 13


def chosen_month(now: datetime) -> Month:
    """The month that the address names (?month=2026-10), by default the current one.

    Raises InvalidInput for a text that is no month, and for one that no usage can have.
    """
    current = Month.of(now)
    text = request.args.get("month")
    if not text:
        return current
    month = Month.parse(text[:20])
    if not EARLIEST <= month <= current.next:
        raise InvalidInput(
            Said("There is no usage of %(month)s; choose a month up to %(current)s.", month=month, current=current),
            field="month",
        )
    return month


def latest_months(now: datetime, *, chosen: Month) -> list[Month]:
    """The months to choose from: the last ones, newest first, and the chosen one if it is older."""
    months = [Month.of(now).plus(-back) for back in range(SHOWN)]
    return months if chosen in months else sorted({*months, chosen}, reverse=True)
