"""How the kit speaks: one line per step with its time, and refusals in whole sentences."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class Refusal(Exception):
    """Something the user has to decide or repair; the text names the thing and says what to do."""


def say(text: str = "", *, to: TextIO | None = None) -> None:
    """Print one line at once, so that a piped log is never behind."""
    _write(f"{text}\n", to or sys.stdout)


@contextmanager
def step(title: str, *, talks: bool = False) -> Iterator[None]:
    """Say what is being done, then tick it with the seconds it took; a step that talks has lines of its own between."""
    started = time.monotonic()
    back = ""
    if talks:
        say(f"  … {title}")
    elif sys.stdout.isatty():
        _write(f"  … {title}", sys.stdout)
        back = "\r"
    try:
        yield
    except BaseException:
        say(f"{back}  ✗ {title}")
        raise
    say(f"{back}  ✓ {title} ({time.monotonic() - started:.1f} s)")


def speaking(main: Callable[[list[str]], int]) -> int:
    """Run a command's main: a refusal becomes its sentence and exit code 2, Ctrl-C becomes 130."""
    try:
        return main(sys.argv[1:])
    except Refusal as refusal:
        say(str(refusal), to=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _write(text: str, stream: TextIO) -> None:
    stream.write(text)
    stream.flush()
