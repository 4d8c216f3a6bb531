"""From lines to numbered rows: CSV with a header, or one JSON object a line. A broken row comes as its refusal."""

import csv
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from portal.core.errors import InvalidInput
from portal.infra.json_text import read_json
from portal.usage.sources.files import FileUnusable

# Stand before the columns of a file of rejected rows, and beside such a line of JSON; an import reads over them.
REJECTED = ("rejected_row", "rejected_id", "rejected_field", "rejected_reason")


class Row(NamedTuple):
    """One row: its number, what it holds (or why it cannot be read), and the text that it was."""

    number: int
    content: Any
    raw: str


class Place(NamedTuple):
    """A place in a file: how many lines have gone by, and the number of the last row."""

    lines: int = 0
    number: int = 0


START = Place()


class Trace:
    """Counts the lines that go by and knows a digest of them, so that a later run knows the same beginning again."""

    def __init__(self) -> None:
        self.lines = 0
        self._digest = hashlib.sha256()

    def watch(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines."""
        for line in lines:
            self.lines += 1
            self._digest.update(line.encode("utf-8", errors="surrogateescape"))
            yield line

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all lines so far."""
        return self._digest.hexdigest()


class CsvTable:
    """A CSV file whose header has been read.

    Raises FileUnusable, here or at the end, for a file that is empty, lacks a needed column or has no rows.
    """

    def __init__(self, lines: Iterable[str], needed: Collection[str], *, delimiter: str = ",") -> None:
        self._held: list[str] = []
        self._lines = iter(lines)
        self._reader = csv.reader(self._holding(), delimiter=delimiter)
        try:
            header = next(self._reader, [])
        except csv.Error as error:
            raise FileUnusable(f"The first line is not a CSV header: {error}.") from error
        mark = re.escape(delimiter)
        self._before = re.compile(f'(?:(?:"(?:[^"]|"")*"|[^"{mark}\r\n]*){mark}){{{len(REJECTED)}}}')
        self._notes = len(REJECTED) if tuple(header[: len(REJECTED)]) == REJECTED else 0
        self.header = header[self._notes :]
        _check_header(self.header, needed, delimiter)

    def rows(self, start: Place = START) -> Iterator[Row]:
        """The rows by column name, numbered as a spreadsheet does: the header is row 1."""
        for _ in islice(self._lines, max(0, start.lines - self._reader.line_num)):
            pass
        number = max(1, start.number)
        while True:
            self._held.clear()
            try:
                values = next(self._reader)
            except StopIteration:
                break
            except csv.Error as error:
                number += 1
                yield Row(number, InvalidInput(f"The row cannot be read: {error}."), self._raw())
                continue
            number += 1
            if len(values) == len(self.header) + self._notes:
                yield Row(number, dict(zip(self.header, values[self._notes :], strict=True)), self._raw())
            elif values:
                sentence = f"The row has {len(values) - self._notes} values for {len(self.header)} columns."
                yield Row(number, InvalidInput(sentence), self._raw())
        if number == 1:
            raise FileUnusable("The file has a header and no rows.")

    def _holding(self) -> Iterator[str]:
        for line in self._lines:
            self._held.append(line)
            yield line

    def _raw(self) -> str:
        """The row's text, without the notes of an earlier import."""
        raw = "".join(self._held).rstrip("\r\n")
        notes = self._before.match(raw) if self._notes else None
        return raw[notes.end() :] if notes else raw


def _check_header(header: list[str], needed: Collection[str], delimiter: str) -> None:
    if not any(header):
        raise FileUnusable("The file is empty.")
    missing = [name for name in needed if name not in header]
    if missing:
        other = next((name for mark, name in _DELIMITERS.items() if mark in header[0] and mark != delimiter), None)
        raise FileUnusable(
            f"The file has no column {', '.join(missing)}. "
            + (
                f"Its columns seem to be separated by {other}; say so in a mapping file (delimiter)."
                if other and len(header) == 1
                else "The first line must name the columns, separated by commas."
            )
        )
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise FileUnusable(f"The file has the column {min(twice)} twice.")


_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


def jsonl_rows(lines: Iterable[str], start: Place = START) -> Iterator[Row]:
    """The documents, numbered by line from 1; empty lines and notes of an earlier import are skipped.

    Raises FileUnusable for a file without any, and for one that is a JSON array.
    """
    waiting = iter(lines)
    for _ in islice(waiting, start.lines):
        pass
    found = start.number > 0
    for number, line in enumerate(waiting, start=start.number + 1):
        if not line.strip():
            continue
        if not found and line.strip() == "[":
            raise FileUnusable("The file is one JSON array; write one object a line (jq -c '.[]' does that).")
        found = True
        try:
            content = read_json(line.encode("utf-8", errors="surrogateescape"))
        except InvalidInput:
            content = InvalidInput("The line is not one valid JSON object in UTF-8 with each name once.")
        if not isinstance(content, dict) or content.keys() != set(REJECTED):
            yield Row(number, content, line.rstrip("\r\n"))
    if not found:
        raise FileUnusable("The file is empty.")
