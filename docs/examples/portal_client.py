"""A small client of the portal's usage API: standard library only, one file to copy.

    client = PortalClient("https://portal.example", "blk_live_…")
    client.add("machine_seconds", 3600, properties={"app": "web"})
    for rejection in client.flush():
        print(rejection)

Exactly once: an event gets its id (UUIDv7) when it is added and keeps it, so what may or may not have arrived is
simply sent again. An event leaves the client only when the portal has answered for it: stored, there already, kept
for a meter that does not exist yet, or rejected with a reason. If the portal stays away, `flush` raises
PortalUnreachable; what it has not answered for is still in `pending`, and rejections of batches before that come with
the next flush. Events live in memory: a process that may be killed adds them from its own records, under ids of its
own.
"""

import gzip
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID

MOST_EVENTS, MOST_BYTES = 5_000, 4_000_000  # the portal takes 5,000 events and 5 MB
PASSING = {429, 500, 502, 503, 504}


class PortalUnreachable(Exception):
    """The portal did not answer, or not with an answer about events; `pending` still holds them all."""


@dataclass(frozen=True)
class Rejection:
    """An event that the portal does not count, and why."""

    event: Mapping[str, Any]
    status: str  # rejected; conflict: another event has this id already; waiting: kept until there is such a meter
    message: str
    field: str | None = None


@dataclass
class PortalClient:
    """Collects events and sends them in batches. Not safe to share between threads; give each its own."""

    url: str
    key: str
    source: str | None = None
    tries: int = 8
    timeout_seconds: float = 30
    longest_wait_seconds: float = 60
    pending: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    packs: bool = True

    def add(
        self,
        meter: str,
        quantity: Decimal | int | str,
        *,
        at: datetime | None = None,
        properties: Mapping[str, str] | None = None,
        organization: str | None = None,
        event_id: str | None = None,
    ) -> str:
        """Keep an event for the next flush and return its id. Give your own id if you may add the same event twice."""
        moment = at or datetime.now(UTC)
        if moment.tzinfo is None:
            raise ValueError("at needs its time zone")
        event: dict[str, Any] = {"id": event_id or uuid7(), "meter": meter, "quantity": str(quantity)}
        event["time"] = moment.isoformat()
        named = {"properties": dict(properties or {}), "organization": organization, "source": self.source}
        event |= {name: value for name, value in named.items() if value}
        json.dumps(event)  # raises TypeError here and not in every later flush
        self.pending.append(event)
        return str(event["id"])

    def flush(self) -> list[Rejection]:
        """Send all pending events and return those that do not count. Raises PortalUnreachable."""
        while self.pending:
            batch, body = self._next_batch()
            answer = self._send(body)
            results = answer.get("results", [])
            if len(results) != len(batch):
                raise PortalUnreachable(f"the portal refused a batch: {answer.get('detail') or answer}")
            self.rejections += [
                Rejection(event, result["status"], result.get("message", ""), result.get("field"))
                for event, result in zip(batch, results, strict=True)
                if result["status"] not in ("accepted", "duplicate")
            ]
            del self.pending[: len(batch)]
        rejections, self.rejections = self.rejections, []
        return rejections

    def _next_batch(self) -> tuple[list[dict[str, Any]], bytes]:
        lines: list[str] = []
        size = 0
        for event in self.pending[:MOST_EVENTS]:
            line = json.dumps(event)
            size += len(line) + 2
            if lines and size > MOST_BYTES:
                break
            lines.append(line)
        return self.pending[: len(lines)], f"[{','.join(lines)}]".encode()

    def _send(self, body: bytes) -> Any:
        """The portal's answer about a batch, after as many tries as it takes. Raises PortalUnreachable."""
        reason = ""
        for number in range(self.tries):
            asked = ""
            try:
                status, asked, said = self._post(body)
                if status == 415 and self.packs:
                    self.packs = False  # a portal that does not unpack gzip
                    return self._send(body)
                reason = f"status {status}"
                if status not in PASSING:
                    return _json(said)
            except (OSError, HTTPException, ValueError) as error:
                reason = str(error)
            if number + 1 < self.tries:
                time.sleep(self._wait(number, asked))
        raise PortalUnreachable(f"no answer after {self.tries} tries ({reason})")

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, Retry-After and body of one answer."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if self.packs:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 6)
        request = Request(f"{self.url.rstrip('/')}/api/v1/events", data=body, headers=headers)
        try:
            with urlopen(request, timeout=self.timeout_seconds) as response:
                return response.status, "", response.read()
        except HTTPError as error:
            with error:
                return error.code, error.headers.get("Retry-After", ""), error.read()

    def _wait(self, number: int, asked: str) -> float:
        """Seconds until the next try: what the portal asks for, else longer each time, never in step with others."""
        if asked.isdecimal():
            return min(float(asked), self.longest_wait_seconds)
        return min(2.0**number, self.longest_wait_seconds) * random.uniform(0.5, 1.0)


def _json(body: bytes) -> Any:
    answer = json.loads(body)
    if not isinstance(answer, dict):
        raise ValueError("the answer is not the portal's")
    return answer


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): ids that are ordered by time keep the portal's index small."""
    milliseconds = time.time_ns() // 1_000_000
    value = int.from_bytes(milliseconds.to_bytes(6, "big") + os.urandom(10), "big")
    return str(UUID(int=value & ~(0xF << 76) & ~(0b11 << 62) | (7 << 76) | (0b10 << 62)))
