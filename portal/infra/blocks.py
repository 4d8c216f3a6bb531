"""Long lists, read block after block: a file of them needs no more memory than one block does."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

ROWS_AT_ONCE = 1000
Row = TypeVar("Row")


def blocks_of(read: Callable[[Row | None, int], Sequence[Row]]) -> Iterator[Sequence[Row]]:
    """All that `read` gives: it is called with the last row so far (None at first), and how many rows to read."""
    found = read(None, ROWS_AT_ONCE)
    while found:
        yield found
        found = read(found[-1], ROWS_AT_ONCE)


def rows_of(read: Callable[[Row | None, int], Sequence[Row]]) -> Iterator[Row]:
    """The same, row after row."""
    return chain.from_iterable(blocks_of(read))
