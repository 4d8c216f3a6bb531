"""The file of rejected rows: each with its number and the reason, and as it was, so that it can be mended and imported.

CSV keeps the file's own columns behind four of ours; JSON lines get a line with the same four names before each line.
"""

import csv
import json
from typing import IO

from portal.usage.sources.naming import NamedRow, RowLog
from portal.usage.sources.rows import REJECTED


class CsvRejects(RowLog):
    """Rejected rows of a CSV file. The header is set once it is known."""

    def __init__(self, path: str, about: str) -> None:
        super().__init__(path, about)
        self.header: list[str] = []
        self.delimiter = ","

    def begin(self, stream: IO[str]) -> None:
        csv.writer(stream, delimiter=self.delimiter, lineterminator="\n").writerow([*REJECTED, *self.header])

    def write(self, stream: IO[str], row: NamedRow, raw: str) -> None:
        csv.writer(stream, delimiter=self.delimiter, lineterminator=self.delimiter).writerow(_notes(row))
        stream.write(raw + "\n")


class JsonRejects(RowLog):
    """Rejected lines of a file of JSON lines."""

    def begin(self, stream: IO[str]) -> None:
        """Such a file has no header."""

    def write(self, stream: IO[str], row: NamedRow, raw: str) -> None:
        notes = dict(zip(REJECTED, _notes(row), strict=True))
        stream.write(json.dumps(notes, ensure_ascii=False) + "\n" + raw + "\n")


def _notes(row: NamedRow) -> list[str]:
    """Without line ends, and as text that any reader takes."""
    notes = (str(row.number), row.row_id, row.about, row.sentence)
    return [" ".join(note.encode(errors="backslashreplace").decode().split()) for note in notes]
