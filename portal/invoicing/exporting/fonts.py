"""Which characters the fonts of printed documents have, read from the fonts' own tables."""

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_WINDOWS, _UNICODE = 3, 0
_SEGMENTS_16_BIT, _GROUPS_32_BIT = 4, 12


@cache
def characters_of(folder: Path) -> frozenset[int]:
    """The code points that at least one TrueType or OpenType font of a folder can show."""
    fonts = sorted(path for path in folder.iterdir() if path.suffix in (".ttf", ".otf"))
    return frozenset(point for path in fonts for point in _characters(path.read_bytes()))


def _characters(font: bytes) -> Iterator[int]:
    """The code points of one font's character map. Source: OpenType specification, table “cmap”."""
    (tables,) = struct.unpack_from(">H", font, 4)
    for index in range(tables):
        tag, _, start, _ = struct.unpack_from(">4sLLL", font, 12 + 16 * index)
        if tag == b"cmap":
            (maps,) = struct.unpack_from(">H", font, start + 2)
            for each in range(maps):
                platform, _, offset = struct.unpack_from(">HHL", font, start + 4 + 8 * each)
                if platform in (_WINDOWS, _UNICODE):
                    yield from _mapped(font, start + offset)


def _mapped(font: bytes, start: int) -> Iterator[int]:
    (form,) = struct.unpack_from(">H", font, start)
    if form == _GROUPS_32_BIT:
        (groups,) = struct.unpack_from(">L", font, start + 12)
        for index in range(groups):
            first, last, _ = struct.unpack_from(">LLL", font, start + 16 + 12 * index)
            yield from range(first, last + 1)
    elif form == _SEGMENTS_16_BIT:
        (twice,) = struct.unpack_from(">H", font, start + 6)
        ends = struct.unpack_from(f">{twice // 2}H", font, start + 14)
        starts = struct.unpack_from(f">{twice // 2}H", font, start + 16 + twice)
        for first, last in zip(starts, ends, strict=True):
            # The last segment only marks the end of the table.
            yield from range(first, min(last, 0xFFFE) + 1)
