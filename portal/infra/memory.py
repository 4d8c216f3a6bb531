"""The collector of cyclic garbage, which goes through everything that lives again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_resting() -> Iterator[None]:
    """Look for no cycles within a block that makes many objects and drops them all when it ends.

    What nothing refers to is freed as always. Of the whole process, so only for jobs.
    """
    rested = not gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not rested:
            gc.enable()
