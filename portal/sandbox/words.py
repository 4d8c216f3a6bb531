"""Amounts, moments and numbers as people read them."""

from datetime import UTC, datetime

from .store import Json

_NO_DECIMALS = {
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf",
}  # fmt: skip
_THREE_DECIMALS = {"bhd", "jod", "kwd", "omr", "tnd"}


def amount(minor_units: int, currency: str) -> str:
    """`1,234.50 USD` from 123450 and `usd`."""
    places = 0 if currency in _NO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    whole, part = divmod(abs(minor_units), 10**places)
    sign = "-" if minor_units < 0 else ""
    decimals = f".{part:0{places}d}" if places else ""
    return f"{sign}{whole:,}{decimals} {currency.upper()}"


def moment(seconds: int | None) -> str:
    """`2026-01-31 23:59 UTC`, or a dash for no moment."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC" if seconds is not None else "-"


def day(seconds: int) -> str:
    """`31 Jan 2026`."""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when.day} {when:%b %Y}"


def own_number(invoice: Json) -> str:
    """The seller's own number when the invoice carries one, else Stripe's, else its id."""
    for field in invoice["custom_fields"] or ():
        if any(word in field["name"].lower() for word in ("invoice", "number")):
            return str(field["value"])
    return str(invoice["number"] or invoice["id"])
