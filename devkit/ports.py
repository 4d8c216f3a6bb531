"""Ports on this machine: free ones for servers, and the one address a person types."""

import errno
import socket

from devkit.system import listener_on
from devkit.words import Refusal

HOST = "127.0.0.1"


def free_port(preferred: int | None = None) -> int:
    """A port that is free now: the preferred one if it can be had, else one of the system's choice."""
    if preferred is not None and not _why_unusable(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, *, option: str = "--port") -> None:
    """Raises Refusal, with who has the port and what to do, if a server could not listen on it."""
    reason = _why_unusable(port)
    if reason is None:
        return
    if reason == errno.EACCES:
        raise Refusal(f"Port {port} may not be used by this account; choose one above 1023, e.g. {option} 5081.")
    who = listener_on(port)
    raise Refusal(
        f"Port {port} is in use{f' by {who}' if who else ' by another program'}; "
        f"stop that program, or choose another port: {option} {port + 1}."
    )


def is_listening(port: int) -> bool:
    """Whether something accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _why_unusable(port: int) -> int | None:
    """The error number that a server would meet, or None if it could listen."""
    if is_listening(port):
        return errno.EADDRINUSE
    with socket.socket() as probe:
        # Servers set this too: a port whose last connections are still closing counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno
    return None
