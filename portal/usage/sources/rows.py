"""From lines to numbered rows: CSV with a header, or one JSON object a line. A broken row comes as its refusal."""

import csv
import hashlib
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
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
LINES_AT_ONCE = 1_000


class Trace:
    """Counts the lines that go by and knows a digest of them, so that a later run knows the same beginning again."""

    def __init__(self) -> None:
        self._lines = 0
        self._digest = hashlib.sha256()
        self._waiting: list[str] = []

    def watch(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines."""
        for line in lines:
            self._waiting.append(line)
            if len(self._waiting) == LINES_AT_ONCE:
                self._take_in()
            yield line

    def _take_in(self) -> None:
        self._lines += len(self._waiting)
        self._digest.update("".join(self._waiting).encode("utf-8", errors="surrogateescape"))
        self._waiting.clear()

    @property
    def lines(self) -> int:
        """How many lines there were so far."""
        return self._lines + len(self._waiting)

    @property
    def digest(self) -> str:
        """SHA-256, in hex, of all lines so far."""
        self._take_in()
        return self._digest.hexdigest()


class Block(NamedTuple):
    """Lines of a CSV file that are whole rows, and the number of the row before them.

    The values of all rows, if each is one line with a value for each column.
    """

    number: int
    lines: list[str]
    values: list[list[str]] | None


class CsvTable:
    """A CSV file whose header has been read.

    Raises FileUnusable, here or at the end, for a file that is empty, lacks a needed column or has no rows.
    """

    def __init__(self, lines: Iterable[str], needed: Collection[str], *, delimiter: str = ",") -> None:
        self._held: list[str] = []
        self._lines = iter(lines)
        self._delimiter = delimiter
        self._reader = self._reading(self._lines, self._held)
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
        number = yield from self._rows(self._reader, self._held, self._pass_over(start))
        _check_any(number)

    def blocks(self, size: int, start: Place = START) -> Iterator[Block]:
        """The same in blocks of some rows, which `rows_of` reads one by one."""
        number = self._pass_over(start)
        while True:
            self._held.clear()
            values: list[list[str]] = []
            broken = 0
            try:
                values.extend(islice(self._reader, size))
            except csv.Error:
                broken = 1
            if not self._held:
                break
            is_plain = not broken and not self._notes and len(values) == len(self._held)
            fits = is_plain and set(map(len, values)) == {len(self.header)}
            yield Block(number, [*self._held], values if fits else None)
            number += len(values) + broken
        _check_any(number)

    def rows_of(self, block: Block) -> Iterator[Row]:
        """The rows of a block."""
        held: list[str] = []
        return self._rows(self._reading(block.lines, held), held, block.number)

    def _pass_over(self, start: Place) -> int:
        """Pass over what is done, up to the row whose number this returns. The lines held are the header's."""
        for _ in islice(self._lines, max(0, start.lines - len(self._held))):
            pass
        return max(1, start.number)

    def _rows(self, reader: Iterator[list[str]], held: list[str], number: int) -> Generator[Row, None, int]:
        while True:
            held.clear()
            try:
                values = next(reader)
            except StopIteration:
                return number
            except csv.Error as error:
                number += 1
                yield Row(number, InvalidInput(f"The row cannot be read: {error}."), self._raw(held))
                continue
            number += 1
            if len(values) == len(self.header) + self._notes:
                yield Row(number, dict(zip(self.header, values[self._notes :], strict=True)), self._raw(held))
            elif values:
                sentence = f"The row has {len(values) - self._notes} values for {len(self.header)} columns."
                yield Row(number, InvalidInput(sentence), self._raw(held))

    def _reading(self, lines: Iterable[str], held: list[str]) -> Iterator[list[str]]:
        """A reader that leaves the lines of its last row in `held`, which is to be cleared before the next."""

        def holding() -> Iterator[str]:
            for line in lines:
                held.append(line)
                yield line

        return csv.reader(holding(), delimiter=self._delimiter)

    def _raw(self, held: Sequence[str]) -> str:
        """The row's text, without the notes of an earlier import."""
        raw = "".join(held).rstrip("\r\n")
        notes = self._before.match(raw) if self._notes else None
        return raw[notes.end() :] if notes else raw


def _check_any(number: int) -> None:
    if number == 1:
        raise FileUnusable("The file has a header and no rows.")


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
