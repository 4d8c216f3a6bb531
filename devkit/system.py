"""What the operating system knows about processes. The only file that asks it."""

from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # it ships no types

# The start time is derived from the wall clock, which a time server may nudge between two readings.
START_TIME_TOLERANCE_SECONDS = 3.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that cannot be mistaken for a later one that got the same number."""

    pid: int
    started_at: float
    command: list[str]

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """Read who has this number now; None if nobody has, or only a corpse."""
        try:
            process = psutil.Process(pid)
            command = process.cmdline()
            # A process that is ending has no command line any more, shortly before it is a corpse.
            if not command or process.status() == psutil.STATUS_ZOMBIE:
                return None
            return cls(pid, process.create_time(), command)
        except psutil.Error:
            return None

    def is_alive(self) -> bool:
        """Whether this very process still runs, not another one under its number."""
        now = ProcessIdentity.of(self.pid)
        return (
            now is not None
            and now.command == self.command
            and abs(now.started_at - self.started_at) <= START_TIME_TOLERANCE_SECONDS
        )


def descendants(pid: int) -> list[ProcessIdentity]:
    """The children of a process and theirs, as they are now."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
    return [identity for child in children if (identity := ProcessIdentity.of(child.pid))]


def listener_on(port: int) -> str | None:
    """Name the program that listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    except psutil.Error:
        pass
    return None
