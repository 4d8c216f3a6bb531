"""Child processes of one data folder: started, recorded, logged, stopped, and reaped after a kill -9.

Every child leads its own session, so a Ctrl-C in the terminal reaches only the parent, which then stops its
children in order. Each start is recorded in `pids/NAME.json`; the next start ends what a record names, if and
only if number, start time and command line still belong to the same process.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from devkit.system import ProcessIdentity, descendants

KILL_SECONDS = 1.0  # the system takes a moment to end even what cannot refuse


@dataclass(frozen=True)
class Program:
    """What to run, and how it likes to be stopped."""

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 2.0
    account: tuple[int, int] | None = None  # user and group number, if not our own
    folder: Path | None = None  # where it runs, if not where we do
    quiet: bool = True  # its output goes to logs/NAME.log; otherwise to our own


@dataclass
class Child:
    """A running program."""

    program: Program
    popen: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        """The system's number for it."""
        return self.popen.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.popen.poll()


class Processes:
    """The children of one data folder, in the order in which they were started."""

    def __init__(self, folder: Path) -> None:
        self.children: dict[str, Child] = {}
        self._records = folder / "pids"
        self._logs = folder / "logs"
        self._records.mkdir(mode=0o700, exist_ok=True)
        self._logs.mkdir(mode=0o700, exist_ok=True)

    def start(self, program: Program) -> Child:
        """Start a program in a session of its own and record it."""
        child = Child(program, self._spawn(program))
        self.children[program.name] = child
        self._record(child)
        return child

    def run(self, program: Program) -> int:
        """Run a program to its end and return its exit code; it is stopped if we are."""
        child = self.start(program)
        try:
            return child.popen.wait()
        finally:
            self.stop(program.name)

    def stop(self, name: str) -> None:
        """Ask a child to stop, wait its grace, then end it with everything it started."""
        child = self.children.pop(name)
        family = descendants(child.pid)
        if child.exit_code() is None:
            child.popen.send_signal(child.program.stop_signal)
        try:
            child.popen.wait(child.program.grace_seconds)
        except subprocess.TimeoutExpired:
            family = descendants(child.pid)
            child.popen.kill()
            child.popen.wait()
        _kill(family)
        self._record_of(name).unlink(missing_ok=True)

    def stop_all(self) -> None:
        """Stop the children, last started first."""
        for name in reversed(list(self.children)):
            self.stop(name)

    def leave_running(self) -> None:
        """Let the children outlive this process; whoever owns the folder reaps them."""
        for child in self.children.values():
            # Nobody here waits for it any more; without an end on record Python would complain when forgetting it.
            child.popen.returncode = 0
        self.children.clear()

    def reap(self) -> list[str]:
        """End what an earlier run of this folder left behind; return the names of what was still alive."""
        reaped = []
        for record in sorted(self._records.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
            try:
                left = json.loads(record.read_text())
                identity = ProcessIdentity(**left["process"])
                stop_signal, grace_seconds = left["stop_signal"], left["grace_seconds"]
            except (ValueError, KeyError, TypeError):  # a record cut short by the crash names nobody
                record.unlink()
                continue
            if identity.is_alive():
                reaped.append(record.stem)
                _end(identity, stop_signal, grace_seconds)
            record.unlink()
        return reaped

    def log_of(self, name: str) -> Path:
        """Where a child's output goes."""
        return self._logs / f"{name}.log"

    def last_words(self, name: str, lines: int = 12) -> str:
        """The end of a child's log."""
        try:
            return "\n".join(self.log_of(name).read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        account: dict[str, Any] = {}
        if program.account is not None:
            user, group = program.account
            account = {"user": user, "group": group, "extra_groups": []}
        with self.log_of(program.name).open("ab") as log:
            return subprocess.Popen(
                [os.fspath(part) for part in program.command],
                env=dict(program.environment),
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=log if program.quiet else None,
                stderr=subprocess.STDOUT if program.quiet else None,
                start_new_session=True,
                **account,
            )

    def _record(self, child: Child) -> None:
        identity = ProcessIdentity.of(child.pid)
        while identity is None and child.exit_code() is None:  # for a moment after its start it has no command line
            time.sleep(0.002)
            identity = ProcessIdentity.of(child.pid)
        if identity is None:  # it is over already; there is nothing to reap
            return
        left = {
            "process": asdict(identity),
            "stop_signal": int(child.program.stop_signal),
            "grace_seconds": child.program.grace_seconds,
        }
        self._record_of(child.program.name).write_text(json.dumps(left))

    def _record_of(self, name: str) -> Path:
        return self._records / f"{name}.json"


def _end(identity: ProcessIdentity, stop_signal: int, grace_seconds: float) -> None:
    """Stop a process that is not our child, with everything it started."""
    family = descendants(identity.pid)
    os.kill(identity.pid, stop_signal)
    _wait_for_end([identity], grace_seconds)
    _kill([identity, *family])


def _kill(family: Sequence[ProcessIdentity]) -> None:
    alive = [member for member in family if member.is_alive()]
    for member in alive:
        os.kill(member.pid, signal.SIGKILL)
    _wait_for_end(alive, KILL_SECONDS)


def _wait_for_end(family: Sequence[ProcessIdentity], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(member.is_alive() for member in family) and time.monotonic() < deadline:
        time.sleep(0.02)
