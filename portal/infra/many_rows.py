"""Adding many rows in one statement, as the role of the transaction: COPY is refused where row level security holds.

The rows travel as one JSON document, which costs a driver's parameters for one value and not for each.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Table, TextClause, text
from sqlalchemy.dialects import postgresql

from portal.infra.db import db

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def add_rows(
    table: Table, rows: Sequence[Mapping[str, Any]], *, key: Iterable[str] = (), adding: Iterable[str] = ()
) -> None:
    """Add rows, all with the same columns, in their order; what they do not name has its default of the database.

    Where there is a row of the same `key` already, the columns `adding` are added to it instead.
    """
    if rows:
        statement = _insert(table, tuple(rows[0]), tuple(key), tuple(adding))
        # Decimals, dates, moments and ids go as their text: exactly, and the database reads each as its column's type.
        db.session.execute(statement, {"rows": json.dumps(rows, default=str, ensure_ascii=False)})


@cache
def _insert(table: Table, names: tuple[str, ...], key: tuple[str, ...], adding: tuple[str, ...]) -> TextClause:
    columns = ", ".join(names)
    kinds = ", ".join(f"{name} {table.c[name].type.compile(_DIALECT)}" for name in names)
    sums = ", ".join(f"{name} = known.{name} + excluded.{name}" for name in adding)
    else_add = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}" if key else ""
    return text(
        f"INSERT INTO {table.name} AS known ({columns})"
        f" SELECT {columns} FROM json_to_recordset(CAST(:rows AS json)) AS new({kinds}){else_add}"
    )
