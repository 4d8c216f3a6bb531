"""How much of an exhaustive test runs: all of it with `dev.py test --full`, at other times an even part of it."""

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

FULL = bool(os.environ.get("PORTAL_TEST_FULL"))


def every(number: int) -> int:
    """Of so many points one is tried; with --full each."""
    return 1 if FULL else number


def part(whole: Sequence[T], number: int) -> Sequence[T]:
    """Of so many cases one, the first included; with --full all. Choose a number that no inner period divides."""
    return whole[:: every(number)]
