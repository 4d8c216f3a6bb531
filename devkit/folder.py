"""Data folders: ours by a marker, used by one run at a time by a lock, remembering secrets and ports.

The lock is the system's: it is free again the moment its holder is gone, however it went.
"""

import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from devkit.binaries import own_folder_in
from devkit.postgres import Passwords, remove_cluster
from devkit.processes import Processes
from devkit.words import Refusal

MARKER = "BILLING-PORTAL-DATA"
LOCK = "lock"


class FolderInUse(Refusal):
    """Another run holds the folder."""


class DataFolder:
    """A folder that holds a set of servers and what they must remember between starts."""

    def __init__(self, path: Path, lock: TextIO | None = None) -> None:
        """Without a lock: for a helper process of the run that holds it."""
        self.path = path
        self._lock = lock
        self.processes = Processes(path)
        self.reaped: list[str] = []

    @classmethod
    def take(cls, path: Path) -> "DataFolder":
        """Make or open the folder, lock it, and end what a killed run left there.

        Raises Refusal if the folder holds somebody else's files, FolderInUse if another run has it.
        """
        path = path.resolve()
        path.mkdir(parents=True, exist_ok=True)
        if not (path / MARKER).exists():
            if any(path.iterdir()):
                raise Refusal(f"{path} is not empty and was not made by this program; choose another with --data.")
            (path / MARKER).write_text("Made by dev.py; `dev.py demo --fresh` may delete everything in here.\n")
        folder = cls(path, _lock(path))
        folder.reaped = folder.processes.reap()
        return folder

    @property
    def passwords(self) -> Passwords:
        """Of the folder's PostgreSQL."""
        return Passwords(superuser=self.secret("superuser_password"), owner=self.secret("owner_password"))

    def empty(self) -> None:
        """Delete everything but the marker and our lock."""
        remove_cluster(self.path)
        for entry in self.path.iterdir():
            if entry.name in (MARKER, LOCK):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.processes = Processes(self.path)

    def remove(self) -> None:
        """Delete the folder; only for throw-away ones."""
        self.empty()
        shutil.rmtree(self.path)
        self.release()

    def release(self) -> None:
        """Let another run have the folder."""
        if self._lock is not None:
            self._lock.close()

    def secret(self, name: str) -> str:
        """A random word, the same at every start of this folder."""
        return str(self._recall(name) or self.remember(name, secrets.token_urlsafe(32)))

    def port(self, name: str) -> int | None:
        """The port this server had at the last start."""
        found = self._recall(f"{name}_port")
        return None if found is None else int(found)

    def remember_port(self, name: str, port: int) -> int:
        """Keep a port for the next start, so that addresses in old pages still lead somewhere."""
        return int(self.remember(f"{name}_port", port))

    def remember(self, name: str, value: Any) -> Any:
        """Write one value to state.json, which only we can read, and return it."""
        write_private_json(self.path / "state.json", self._state() | {name: value})
        return value

    def _recall(self, name: str) -> Any:
        return self._state().get(name)

    def _state(self) -> dict[str, Any]:
        return read_json(self.path / "state.json") or {}


@contextmanager
def throw_away_folder(purpose: str) -> Iterator[DataFolder]:
    """A folder for one run, deleted at its end; what killed runs of its purpose left is deleted first."""
    folder = new_throw_away_folder(purpose)
    try:
        yield folder
    finally:
        folder.processes.stop_all()
        folder.remove()


def new_throw_away_folder(purpose: str) -> DataFolder:
    """A new folder among those of its purpose, after clearing away the ones whose run is gone."""
    base = own_folder_in(Path(tempfile.gettempdir()), f"billing-portal-{purpose}-{os.geteuid()}")
    with (base / LOCK).open("a") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for left in base.iterdir():
            if left.is_dir():
                with suppress(FolderInUse):
                    DataFolder.take(left).remove()
        return DataFolder.take(own_folder_in(base, secrets.token_hex(4)))


def write_private_json(path: Path, content: Any) -> None:
    """Replace a file at one stroke with one that only we can read."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    part.replace(path)


def read_json(path: Path) -> Any:
    """What the file holds, or None if there is no such file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def is_in_use(path: Path) -> bool:
    """Whether a run holds the folder now."""
    try:
        _lock(path).close()
    except FolderInUse:
        return True
    return False


def _lock(path: Path) -> TextIO:
    lock = (path / LOCK).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUse(f"{path} is in use by another run; stop that one first, or choose another folder.") from None
    return lock
