"""Opening a file of usage: plain, gzipped or standard input (-), read line by line as UTF-8."""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import IO, Any, cast

from portal.core.errors import InvalidInput

STANDARD_INPUT = "-"
LONGEST_LINE = 1024 * 1024
_GZIP = b"\x1f\x8b"
# What a file begins with that somebody may take for text: its kind, and what to do.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PAR1": "a Parquet file; write it as CSV",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"\xfd7zXZ": "packed with xz; unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it, or pack it with gzip",
}


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
        """The lines from the start, unpacked if they are packed with gzip, whatever the file's name.

        Raises FileUnusable if the file cannot be opened, is no text or, later, cannot be unpacked. Bytes that are not
        UTF-8 come as lone surrogates, which no field accepts: their row is rejected, not the file.
        """
        if self.is_standard_input:
            piped = BufferedReader(cast(RawIOBase, sys.stdin.buffer))
            try:
                with self._unpacked(piped) as lines:
                    yield lines
            finally:
                piped.detach()
            return
        try:
            self._raw = stream = Path(self.path).open("rb")  # noqa: SIM115 - closed by the with below
        except OSError as error:
            raise FileUnusable(f"{self.path} cannot be read: {error.strerror}.") from error
        with stream, self._unpacked(stream) as lines:
            yield lines
        self._raw = None

    @contextmanager
    def _unpacked(self, stream: "BufferedReader[Any]") -> Iterator[Iterator[str]]:
        beginning = stream.peek(8)[:8]
        for mark, kind in _OTHERS.items():
            if beginning.startswith(mark):
                raise FileUnusable(f"{self.name} is {kind}.")
        if self.path.endswith(".gz") and beginning and not beginning.startswith(_GZIP):
            raise FileUnusable(f"{self.name} ends in .gz and is not packed with gzip.")
        packed = beginning.startswith(_GZIP)
        text = _text(cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if packed else stream)
        try:
            yield _bounded_lines(text)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FileUnusable(
                f"{self.name} cannot be unpacked to its end ({error}). Rows before the damage may be stored;"
                " importing an undamaged copy stores only what is missing."
            ) from error
        finally:
            text.detach()  # whoever opened the stream closes it


def _text(stream: IO[bytes]) -> TextIOWrapper:
    return TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _bounded_lines(stream: TextIOWrapper) -> Iterator[str]:
    """Lines of at most LONGEST_LINE characters; what goes beyond is dropped, and the rest is no valid row."""
    while line := stream.readline(LONGEST_LINE):
        rest = line
        while len(rest) == LONGEST_LINE and not rest.endswith(("\n", "\r")):
            rest = stream.readline(LONGEST_LINE)
        yield line
