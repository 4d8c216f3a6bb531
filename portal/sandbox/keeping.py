"""Keeps the state in a JSON file, so that a second start of the demo knows what the first one did."""

import json
import os
import threading
import time
from pathlib import Path

from .store import Store

INTERVAL_SECONDS = 0.5
# A large state takes long to write; the pause grows with it, so that saving never takes most of the time.
PAUSE_PER_SAVING_SECOND = 10


class Keeper:
    """Writes the store to its file shortly after each change, and once more at the end."""

    def __init__(self, store: Store, path: Path) -> None:
        self._store = store
        self._path = path
        self._saved_changes = -1
        self._saving = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Load what is there, then keep it up to date in the background."""
        if self._path.exists():
            with self._store.lock:
                self._store.restore(json.loads(self._path.read_text()))
        self._saved_changes = self._store.changes
        threading.Thread(target=self._run, name="sandbox-keeper", daemon=True).start()

    def stop(self) -> None:
        """Stop the background work and write the last changes."""
        self._stopped.set()
        self.save()

    def save(self) -> None:
        """Write the state if it changed: to a temporary file first, so that a crash leaves a whole one."""
        with self._saving:
            with self._store.lock:
                if self._saved_changes == self._store.changes:
                    return
                changes = self._store.changes
                text = json.dumps(self._store.export())
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
            temporary.write_text(text)
            temporary.replace(self._path)
            self._saved_changes = changes

    def _run(self) -> None:
        pause = INTERVAL_SECONDS
        while not self._stopped.wait(pause):
            started = time.monotonic()
            self.save()
            pause = max(INTERVAL_SECONDS, PAUSE_PER_SAVING_SECOND * (time.monotonic() - started))
