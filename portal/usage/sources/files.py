"""Opening a file of usage: plain, gzipped (.gz) or standard input (-), read line by line as UTF-8."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO, cast

from portal.core.errors import InvalidInput

STANDARD_INPUT = "-"
LONGEST_LINE = 1024 * 1024


class FileUnusable(InvalidInput):
    """The file as a whole cannot be imported."""

    code = "file_unusable"


class SourceFile:
    """A file that can be read from its start as often as is asked for (standard input: once)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_standard_input = path == STANDARD_INPUT
        self._raw: IO[bytes] | None = None

    @property
    def name(self) -> str:
        """The file's name, for people and for the files written beside it."""
        return "stdin" if self.is_standard_input else self.path

    @property
    def size(self) -> int | None:
        """How many bytes there are to read; None if nobody knows."""
        return None if self.is_standard_input else Path(self.path).stat().st_size

    @property
    def position(self) -> int:
        """How many bytes have been read, before unpacking."""
        if self._raw is None or self.is_standard_input:
            return 0
        return self._raw.tell()

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """The lines from the start. Raises FileUnusable if the file cannot be opened or, later, not be unpacked.

        Bytes that are not UTF-8 come as lone surrogates, which no field accepts: their row is rejected, not the file.
        """
        if self.is_standard_input:
            text = _text(sys.stdin.buffer)
            yield _bounded_lines(text)
            text.detach()
            return
        try:
            self._raw = Path(self.path).open("rb")  # noqa: SIM115 - closed by the with below
        except OSError as error:
            raise FileUnusable(f"{self.path} cannot be read: {error.strerror}.") from error
        packed = self.path.endswith(".gz")
        with self._raw, _text(cast(IO[bytes], gzip.GzipFile(fileobj=self._raw)) if packed else self._raw) as text:
            try:
                yield _bounded_lines(text)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise FileUnusable(
                    f"{self.path} cannot be unpacked to its end ({error}). Rows before the damage may be stored;"
                    " importing an undamaged copy stores only what is missing."
                ) from error
        self._raw = None


def _text(stream: IO[bytes]) -> TextIOWrapper:
    return TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _bounded_lines(stream: TextIOWrapper) -> Iterator[str]:
    """Lines of at most LONGEST_LINE characters; what goes beyond is dropped, and the rest is no valid row."""
    while line := stream.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(("\n", "\r")):
            rest = stream.readline(LONGEST_LINE)
        yield line
