"""Keeps the children of a folder running: says when one dies, and starts it again, ever more slowly."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from devkit.processes import Processes, Program
from devkit.words import say

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STEADY_AFTER_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.5


@dataclass
class _Patience:
    """How long to wait before the next start of one program."""

    pause_seconds: float
    restart_at: float | None = None


class Supervisor:
    """Watches what Processes started."""

    def __init__(
        self,
        processes: Processes,
        *,
        restarted: Callable[[], object],
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """`restarted` is called after each new start, because a process number has changed."""
        self._processes = processes
        self._restarted = restarted
        self._first_pause_seconds = first_pause_seconds
        self._patience: dict[str, _Patience] = {}

    def watch(self) -> None:
        """Look again and again, until interrupted."""
        while True:
            self.look()
            time.sleep(LOOK_EVERY_SECONDS)

    def look(self) -> None:
        """Notice who died, and start again whose pause is over."""
        now = time.monotonic()
        for name, child in list(self._processes.children.items()):
            exit_code = child.exit_code()
            if exit_code is None:
                continue
            patience = self._patience.setdefault(name, _Patience(self._first_pause_seconds))
            if patience.restart_at is None:
                if now - child.started_at > STEADY_AFTER_SECONDS:
                    patience.pause_seconds = self._first_pause_seconds
                patience.restart_at = now + patience.pause_seconds
                say(
                    f"  ! {name} ended ({_how(exit_code)}); new start in {patience.pause_seconds:.0f} s. "
                    f"Its log: {self._processes.log_of(name)}"
                )
            elif now >= patience.restart_at:
                self._start_again(child.program, patience)

    def _start_again(self, program: Program, patience: _Patience) -> None:
        patience.restart_at = None
        patience.pause_seconds = min(patience.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
        child = self._processes.start(program)
        say(f"  ✓ {program.name} is running again (process {child.pid})")
        self._restarted()


def _how(exit_code: int) -> str:
    return f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
