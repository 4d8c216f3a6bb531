"""Naming rows: each one that was rejected or treated specially, in a file and, the first of them, on the screen."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class NamedRow:
    """One row, by its number and its own id, what it is about (a field or a kind), and a sentence."""

    number: int
    row_id: str
    about: str
    sentence: str


class RowLog:
    """Writes named rows to a CSV file as they come; the file is made with the first one, and one of an earlier run is
    removed.

    Keeps the first MOST_SHOWN for the screen and counts all, so memory does not grow with the file.
    """

    def __init__(self, path: str, about: str) -> None:
        self.path = path
        self.shown: list[NamedRow] = []
        self.counts: Counter[str] = Counter()
        self.about = about
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        if Path(self.path).is_file():
            Path(self.path).unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    @property
    def total(self) -> int:
        """How many rows have been named."""
        return self.counts.total()

    def add(self, number: int, row_id: str, about: str, sentence: str, raw: str = "") -> None:
        """Name a row; `raw` is its own text, where there is one and the log keeps it."""
        named = NamedRow(number, row_id, about, sentence)
        if self._stream is None:
            # Bytes that are no UTF-8 came as lone surrogates and leave as the same bytes.
            self._stream = open(self.path, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115
            self.begin(self._stream)
        self.write(self._stream, named, raw)
        self.counts[about] += 1
        if len(self.shown) < MOST_SHOWN:
            self.shown.append(named)

    def begin(self, stream: IO[str]) -> None:
        """Write what stands before the first row."""
        csv.writer(stream).writerow(["row", "id", self.about, "sentence"])

    def write(self, stream: IO[str], row: NamedRow, raw: str) -> None:
        """Write one row."""
        texts = (row.row_id, row.about, row.sentence)
        csv.writer(stream).writerow([row.number, *(text.encode(errors="backslashreplace").decode() for text in texts)])
