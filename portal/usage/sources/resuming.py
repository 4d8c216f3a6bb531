"""How far an import has come, stored with its events, so that running it again passes over what is stored already.

The mark never passes a row that was rejected: that row may fit later, when its meter or organization is there.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.dialects.postgresql import insert

from portal.infra.db import db, transaction
from portal.usage.sources.files import SourceFile
from portal.usage.sources.models import UsageImport
from portal.usage.sources.rows import START, Place, Trace


class Done(NamedTuple):
    """What an earlier run has stored: the place it came to, and the number of its events."""

    place: Place = START
    events: int = 0


class Mark:
    """The stored mark of one file, read in one way (format, source, mapping)."""

    def __init__(self, file: SourceFile, way: Sequence[str]) -> None:
        self._path = str(Path(file.path).resolve())
        self._name = hashlib.sha256("\0".join((self._path, *way)).encode(errors="surrogateescape")).hexdigest()

    def done(self, file: SourceFile) -> Done:
        """What is stored of this very file; nothing if its beginning has changed since."""
        with transaction():
            held = db.session.get(UsageImport, self._name)
        if held is None:
            return Done()
        trace = Trace()
        with file.lines() as lines:
            deque(islice(trace.watch(lines), held.lines), maxlen=0)
        if (trace.lines, trace.digest) != (held.lines, held.digest):
            return Done()
        return Done(Place(held.lines, held.rows), held.events)

    def move(self, trace: Trace, done: Done, *, now: datetime) -> None:
        """Move the mark in the current transaction, the one that stores the events up to it."""
        values = {
            "path": self._path,
            "lines": trace.lines,
            "rows": done.place.number,
            "events": done.events,
            "digest": trace.digest,
            "updated_at": now,
        }
        statement = insert(UsageImport).values(name=self._name, **values)
        db.session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
