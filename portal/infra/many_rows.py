"""Adding and changing many rows in one statement, as the role of the transaction.

COPY is refused where row level security holds. The rows travel as one JSON document, which costs a driver's parameters
for one value and not for each.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Table, TextClause, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm.attributes import set_committed_value

from portal.infra.db import Base, db

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
# Decimals, dates, moments and ids go as their text: exactly, and the database reads each as its column's type.
_ENCODER = msgspec.json.Encoder(decimal_format="string", enc_hook=str)


def add_rows(
    table: Table, rows: Sequence[Mapping[str, Any]], *, key: Iterable[str] = (), adding: Iterable[str] = ()
) -> None:
    """Add rows, all with the same columns, in their order; what they do not name has its default of the database.

    Where there is a row of the same `key` already, the columns `adding` are added to it instead.
    """
    if rows:
        _send(_insert(table, tuple(rows[0]), tuple(key), tuple(adding)), rows)


def save_together(objects: Sequence[Base], names: Sequence[str]) -> None:
    """Write these columns of stored rows of one table as their objects have them now, so that no flush has to.

    What else was changed is left to the flush.
    """
    if objects:
        table = inspect(type(objects[0])).local_table
        key = tuple(column.name for column in table.primary_key)
        rows = [{name: getattr(each, name) for name in (*key, *names)} for each in objects]
        with db.session.no_autoflush:
            _send(_update(table, key, tuple(names)), rows)
        for each, row in zip(objects, rows, strict=True):
            for name in names:
                set_committed_value(each, name, row[name])


def _send(statement: TextClause, rows: Sequence[Mapping[str, Any]]) -> None:
    db.session.execute(statement, {"rows": _ENCODER.encode(rows).decode()})


@cache
def _insert(table: Table, names: tuple[str, ...], key: tuple[str, ...], adding: tuple[str, ...]) -> TextClause:
    columns = ", ".join(names)
    sums = ", ".join(f"{name} = known.{name} + excluded.{name}" for name in adding)
    else_add = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}" if key else ""
    return text(
        f"INSERT INTO {table.name} AS known ({columns}) SELECT {columns} FROM {_recordset(table, names)}{else_add}"
    )


@cache
def _update(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> TextClause:
    changes = ", ".join(f"{name} = new.{name}" for name in names)
    same = " AND ".join(f"known.{name} = new.{name}" for name in key)
    return text(f"UPDATE {table.name} AS known SET {changes} FROM {_recordset(table, (*key, *names))} WHERE {same}")


def _recordset(table: Table, names: Sequence[str]) -> str:
    kinds = ", ".join(f"{name} {table.c[name].type.compile(_DIALECT)}" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS new({kinds})"
