"""The file of a month's events: gzip, one JSON document a line, ordered by organization and key; and its manifest.

The document has every column of the event, quantities as text so that no reader rounds them. A file is complete when it
has its name: until then it is a `.part`.
"""

import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import msgspec

from portal.core.errors import InvalidInput, NotReady
from portal.core.exact import ZERO, exactly, plain
from portal.core.keys import canonical_json
from portal.core.periods import Month
from portal.usage.archived import fingerprint
from portal.usage.writing import Key

CHUNK_EVENTS = 5_000
# Each organization of a chunk is one lock more.
CHUNK_ORGANIZATIONS = 200
_READ_BYTES = 1 << 20
_FORMAT = 1


class Event(msgspec.Struct, frozen=True):
    """What a line says."""

    organization_id: int
    event_key: UUID
    meter_id: int
    series_id: int
    occurred_at: datetime
    recorded_at: datetime
    correction: bool
    quantity: str
    event_id: str
    source: str
    properties: dict[str, Any] | None
    counts: bool
    corrects: UUID | None

    @property
    def key(self) -> Key:
        """Organization and key."""
        return self.organization_id, self.event_key.bytes

    @property
    def fingerprint(self) -> UUID:
        """What is kept of the content, as ingest compares it."""
        properties = canonical_json(self.properties)
        moment, quantity = self.occurred_at.astimezone(UTC), plain(Decimal(self.quantity))
        corrects = None if self.corrects is None else self.corrects.bytes
        return fingerprint(self.series_id, moment, quantity, properties, corrects, self.counts)


# A line of usage_events AS e; PostgreSQL writes it, so two that are equal are the same event to the last digit.
LINE = """
    (SELECT row_to_json(line) FROM (
        SELECT e.organization_id, e.event_key, e.meter_id, e.series_id, e.occurred_at, e.recorded_at, e.correction,
               trim_scale(e.quantity)::text AS quantity, e.event_id, e.source, e.properties, e.counts, e.corrects
    ) AS line)::text
"""
_DECODER = msgspec.json.Decoder(Event)


def event_of(line: str) -> Event:
    """Read a line."""
    return _DECODER.decode(line)


@dataclass(slots=True)
class Summary:
    """What a file holds: rows, the hash of its bytes, and by meter the number of events and the sum of quantities."""

    rows: int = 0
    sha256: str = ""
    meters: dict[int, tuple[int, Decimal]] = field(default_factory=lambda: defaultdict(lambda: (0, ZERO)))

    @exactly
    def add(self, event: Event) -> None:
        """Count one event."""
        self.rows += 1
        events, quantity = self.meters[event.meter_id]
        self.meters[event.meter_id] = events + 1, quantity + Decimal(event.quantity)


def name_of(month: Month) -> str:
    """The name of a month's file."""
    return f"usage-{month}.jsonl.gz"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process from writing archives into a folder. Raises InvalidInput, NotReady."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be used: {error.strerror}.", field="to") from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise NotReady(f"Another process is writing archives into {folder}.") from None


def write(path: Path, lines: Iterable[str]) -> Summary:
    """Write a file; it has its name only once all of it is on the disk.

    Raises InvalidInput if another one has the name: it may be the only place where somebody's events are.
    """
    summary = Summary()
    with _complete(path) as file:
        hashed = _Hashing(file)
        with gzip.GzipFile(filename="", mode="wb", fileobj=hashed, mtime=0) as packed:
            for line in lines:
                summary.add(event_of(line))
                packed.write(line.encode() + b"\n")
        summary.sha256 = hashed.sha256
        if path.exists() and sha256_of(path) != summary.sha256:
            raise InvalidInput(f"{path} is there already; move it away or name another folder.", field="to")
    return summary


def write_manifest(path: Path, month: Month, summary: Summary, codes: Mapping[int, str], *, now: datetime) -> None:
    """Say beside a file what it holds, for whoever finds it without this database."""
    document = {
        "format": _FORMAT,
        "month": str(month),
        "file": path.name,
        "sha256": summary.sha256,
        "rows": summary.rows,
        "written_at": now.isoformat(),
        "meters": [
            {"id": meter_id, "meter": codes[meter_id], "events": events, "quantity": plain(quantity)}
            for meter_id, (events, quantity) in sorted(summary.meters.items())
        ],
    }
    with _complete(path.with_name(f"{path.name}.manifest.json")) as file:
        file.write(json.dumps(document, indent=2).encode() + b"\n")


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes. Raises InvalidInput if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.", field="file") from error


def chunks_of(path: Path) -> Iterator[dict[Key, str]]:
    """The lines of a file by their keys, so many at a time as one transaction takes."""
    chunk: dict[Key, str] = {}
    organizations: set[int] = set()
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            document = line.removesuffix("\n")
            key = event_of(document).key
            is_another = key[0] not in organizations
            if len(chunk) == CHUNK_EVENTS or (is_another and len(organizations) == CHUNK_ORGANIZATIONS):
                yield chunk
                chunk, organizations = {}, set()
            chunk[key] = document
            organizations.add(key[0])
    if chunk:
        yield chunk


class _Hashing:
    """A file to write to that hashes what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash."""
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand on what waits in memory."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """The hash of all that was written."""
        return self._hash.hexdigest()


@contextmanager
def _complete(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its name in one step, after it is on the disk."""
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
