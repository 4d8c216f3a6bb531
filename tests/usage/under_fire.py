"""A process that sends events again and again until every one is acknowledged, whatever happens to the database.

`python -m tests.usage.under_fire ACKNOWLEDGED COUNT SEED`: writes the numbers of the acknowledged events, in decimal,
one a line. Every sender has the same events, in batches and an order of its own.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.errors import AdminShutdown, CannotConnectNow, CrashShutdown
from sqlalchemy.exc import DBAPIError, OperationalError

from portal import create_app
from portal.catalog.queries import meters_by_code
from portal.config import settings_from_env
from portal.infra.db import SYSTEM, act_as, transaction
from portal.organizations.queries import ids_by_slug
from portal.usage.events import Reader, UsageRecord
from portal.usage.ingesting import Outcome, ingest

ORGANIZATIONS = 12
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LARGEST_BATCH = 300


def event(number: int) -> dict[str, Any]:
    """The event of a number: every sender's is the same. Some lie in a month that is over."""
    return {
        "id": f"{number:08x}-0000-7000-8000-{number:012x}" if number % 3 else f"event-{number}",
        "organization": f"org-{number % ORGANIZATIONS}",
        "meter": "disk",
        "quantity": f"{number % 97}.{number % 10}",
        "time": (NOW - timedelta(minutes=number * 17 % 43_200)).isoformat(),
        "properties": {"region": f"r{number % 5}", "app": f"app-{number % 7}"},
    }


def batches(count: int, seed: int) -> Iterator[list[int]]:
    """All numbers, shuffled, in batches that overlap; a few numbers twice in a batch."""
    chance = random.Random(seed)
    numbers = chance.sample(range(count), count)
    at = 0
    while at < count:
        size = chance.choice((1, 5, 20, 100, LARGEST_BATCH))
        yield numbers[max(0, at - size // 4) : at + size] + numbers[at : at + 2]
        at += size


def main(acknowledged: str, count: int, seed: int) -> None:
    """Send everything."""
    app = create_app(settings_from_env(os.environ))
    with app.app_context(), open(acknowledged, "a") as answers:
        act_as(SYSTEM)
        reader = _patiently(_reader)
        for numbers in batches(count, seed):
            records = [reader.read(event(number)) for number in numbers]
            outcomes = _patiently(lambda records=records: _send(records))
            assert Outcome.CONFLICT not in outcomes
            answers.write("".join(f"{number}\n" for number in numbers))
            answers.flush()


def _reader() -> Reader:
    with transaction():
        organizations = ids_by_slug({f"org-{number}" for number in range(ORGANIZATIONS)})
        return Reader(meters_by_code(), now=NOW, organization_id=None, organizations=organizations)


def _send(records: list[UsageRecord]) -> list[Outcome]:
    with transaction():
        return ingest(records, now=NOW)


def _patiently(action: Any) -> Any:
    """Do it until the database is there. A deadlock or a lock that does not come is an error."""
    while True:
        try:
            return action()
        except DBAPIError as error:
            if not _is_gone(error):
                raise
            time.sleep(0.05)


def _is_gone(error: DBAPIError) -> bool:
    if isinstance(error.orig, AdminShutdown | CrashShutdown | CannotConnectNow):
        return True
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) is None


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
