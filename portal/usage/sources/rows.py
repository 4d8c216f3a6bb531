"""From lines to numbered rows: CSV with a header, or one JSON object a line. A broken row comes as its refusal."""

import csv
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from portal.core.errors import InvalidInput
from portal.usage.events import read_json
from portal.usage.sources.files import FileUnusable

NumberedRow = tuple[int, dict[str, str] | InvalidInput]
NumberedDocument = tuple[int, Any]


def csv_rows(lines: Iterable[str], needed: Collection[str]) -> Iterator[NumberedRow]:
    """The rows by column name, numbered as a spreadsheet does: the header is row 1.

    Raises FileUnusable for a file that is empty, lacks a needed column or has no rows.
    """
    reader = csv.reader(lines)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise FileUnusable(f"The first line is not a CSV header: {error}.") from error
    _check_header(header, needed)
    number = 1
    while True:
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            number += 1
            yield number, InvalidInput(f"The row cannot be read: {error}.")
            continue
        number += 1
        if len(values) == len(header):
            yield number, dict(zip(header, values, strict=True))
        elif values:
            yield number, InvalidInput(f"The row has {len(values)} values for {len(header)} columns.")
    if number == 1:
        raise FileUnusable("The file has a header and no rows.")


def _check_header(header: list[str], needed: Collection[str]) -> None:
    if not any(header):
        raise FileUnusable("The file is empty.")
    missing = [name for name in needed if name not in header]
    if missing:
        raise FileUnusable(
            f"The file has no column {', '.join(missing)}. The first line must name the columns, separated by commas."
        )
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise FileUnusable(f"The file has the column {min(twice)} twice.")


def jsonl_rows(lines: Iterable[str]) -> Iterator[NumberedDocument]:
    """The documents, numbered by line from 1; empty lines are skipped. Raises FileUnusable for a file without any."""
    found = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = True
        try:
            yield number, read_json(line.encode("utf-8", errors="surrogateescape"))
        except InvalidInput:
            yield number, InvalidInput("The line is not one valid JSON object in UTF-8 with each name once.")
    if not found:
        raise FileUnusable("The file is empty.")
