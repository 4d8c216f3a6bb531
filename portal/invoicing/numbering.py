"""Invoice numbers: unique and without gaps, because they are taken inside the finalizing transaction."""

from sqlalchemy import text

from portal.infra.db import db

PREFIX = "INV"


def next_number(year: int) -> str:
    """Take the next number of a year's series, locking its counter until the transaction ends.

    A rollback gives the number back, so there are no gaps. Call it last: every other finalize waits for it.
    """
    series = f"{PREFIX}-{year}"
    number = db.session.scalar(
        text(
            "INSERT INTO number_series AS counter (series, last_number) VALUES (:series, 1)"
            " ON CONFLICT (series) DO UPDATE SET last_number = counter.last_number + 1 RETURNING last_number"
        ),
        {"series": series},
    )
    return f"{series}-{number:06d}"
