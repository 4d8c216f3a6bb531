"""How the running month goes over all organizations, by their latest forecasts: sums, who moves most, who is silent."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, TextClause, text

from portal.core.periods import Month
from portal.forecasting.making import same_day
from portal.infra.db import db

MOST_MOVERS = 10
_LATEST = """
    SELECT o.public_id, o.name, o.currency, f.so_far, f.expected, f.silent, f.made_at,
           coalesce(open.total, final.total) AS before,
           f.expected - coalesce(open.total, final.total, 0) AS change
    FROM (SELECT DISTINCT ON (organization_id) * FROM forecasts WHERE month = :month
          ORDER BY organization_id, day DESC) AS f
    JOIN organizations AS o ON o.id = f.organization_id
    LEFT JOIN invoice_months AS final
           ON final.organization_id = o.id AND final.month = :previous AND final.currency = o.currency
    LEFT JOIN (invoices AS draft JOIN draft_totals AS open ON open.invoice_id = draft.id)
           ON draft.organization_id = o.id AND draft.period_start = :previous AND draft.state IN ('draft', 'scheduled')
"""
_SUMS = text(f"""
    SELECT currency, count(*) AS organizations, CAST(sum(so_far) AS bigint) AS so_far,
           CAST(sum(expected) AS bigint) AS expected, CAST(coalesce(sum(before), 0) AS bigint) AS before,
           min(made_at) AS made_at
    FROM ({_LATEST}) AS latest GROUP BY currency ORDER BY currency
""")
_BY_THEN = text("""
    SELECT o.currency, CAST(sum(f.so_far) AS bigint) FROM forecasts AS f
    JOIN organizations AS o ON o.id = f.organization_id
    WHERE f.month = :previous AND f.day = :same_day GROUP BY o.currency
""")
_MOVERS = text(f"""
    SELECT * FROM (
        SELECT *, row_number() OVER (PARTITION BY currency ORDER BY abs(change) DESC, name) AS place
        FROM ({_LATEST}) AS latest WHERE change <> 0
    ) AS ranked WHERE place <= :most ORDER BY currency, place
""")
_SILENT = text(f"SELECT * FROM ({_LATEST}) AS latest WHERE silent <> '[]' ORDER BY name LIMIT :most")
_ALL = text(f"SELECT * FROM ({_LATEST}) AS latest ORDER BY name, public_id")


@dataclass(frozen=True, slots=True)
class CurrencyOutlook:
    """All organizations of one currency, in minor units.

    `before` is what last month's invoices come to, drafts as they were computed lately; `by_then` what last month had
    come to on the same day, None if nobody has noted it. `made_at` is when the oldest of the forecasts was made.
    """

    currency: str
    organizations: int
    so_far: int
    expected: int
    before: int
    by_then: int | None
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Mover:
    """One organization: what its month has come to, is expected to, and what last month's invoice or draft came to."""

    public_id: UUID
    name: str
    currency: str
    so_far: int
    expected: int
    before: int | None
    silent: tuple[tuple[str, datetime], ...]

    @property
    def change(self) -> int:
        """By how much more is expected than there was."""
        return self.expected - (self.before or 0)


def sums_by_currency(today: date) -> list[CurrencyOutlook]:
    """The sums of the running month, by currency."""
    values = _values(today)
    rows = db.session.execute(_BY_THEN, {"previous": values["previous"], "same_day": _same_day_before(today)})
    by_then = {row[0]: row[1] for row in rows}
    return [
        CurrencyOutlook(
            row.currency,
            row.organizations,
            row.so_far,
            row.expected,
            row.before,
            by_then.get(row.currency),
            row.made_at,
        )
        for row in db.session.execute(_SUMS, values)
    ]


def movers(today: date) -> list[Mover]:
    """Of each currency the ten whose month is expected to differ most from the last one."""
    return [_mover(row) for row in _rows(_MOVERS, _values(today) | {"most": MOST_MOVERS})]


def silent(today: date, *, limit: int) -> list[Mover]:
    """Organizations with a source that was silent when their forecast was made, by name."""
    return [_mover(row) for row in _rows(_SILENT, _values(today) | {"most": limit})]


def everybody(today: date) -> Iterator[Mover]:
    """All organizations with a forecast of the running month, by name."""
    yield from (_mover(row) for row in _rows(_ALL, _values(today)))


def _rows(query: TextClause, values: Mapping[str, Any]) -> Iterable[RowMapping]:
    return db.session.execute(query, values).mappings()


def _values(today: date) -> dict[str, date]:
    month = Month.of(today)
    return {"month": month.first_day, "previous": month.previous.first_day}


def _same_day_before(today: date) -> date:
    return same_day(Month.of(today).previous, today)


def _mover(found: RowMapping) -> Mover:
    sources = tuple((each["source"], datetime.fromisoformat(each["since"])) for each in found["silent"])
    return Mover(
        found["public_id"],
        found["name"],
        found["currency"],
        so_far=found["so_far"],
        expected=found["expected"],
        before=found["before"],
        silent=sources,
    )
