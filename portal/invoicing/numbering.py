"""Numbers of documents: unique and without gaps, because they are taken inside the transaction that freezes them."""

from sqlalchemy import text

from portal.infra.db import db

INVOICES, CREDIT_NOTES = "INV", "CN"
_TAKE = text(
    "INSERT INTO number_series AS counter (series, last_number) VALUES (:series, :count)"
    " ON CONFLICT (series) DO UPDATE SET last_number = counter.last_number + :count RETURNING last_number"
)


def take_numbers(prefix: str, year: int, count: int) -> list[str]:
    """Take the next numbers of a year's series, locking its counter until the transaction ends.

    A rollback gives them back, so there are no gaps. Call it last: everybody else who makes one final waits for it.
    """
    series = f"{prefix}-{year}"
    last: int = db.session.execute(_TAKE, {"series": series, "count": count}).scalar_one()
    return [f"{series}-{number:06d}" for number in range(last - count + 1, last + 1)]


def next_number(prefix: str, year: int) -> str:
    """The next number of a year's series."""
    return take_numbers(prefix, year, 1)[0]
