"""Events that no webhook has brought: Stripe keeps them for 30 days, and here they are fetched.

Whatever happened while our address was not reachable arrives late instead of never. An event that is stored already is
left alone, so reading the same pages again changes nothing.
"""

from datetime import UTC, datetime, timedelta
from functools import partial

from portal.infra import clock, outbox
from portal.infra.db import transaction
from portal.infra.outbox import Lease
from portal.payments import gateway
from portal.payments.comparing import moment_of
from portal.payments.journal import read_now
from portal.payments.receiving import store_event

FETCH_UNDELIVERED = "fetch_undelivered_events"
KEPT_FOR = timedelta(days=30)
PAGES_PER_JOB = 20
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fetch_by_clock(*, now: datetime) -> None:
    """Queue one look at what was not delivered, unless one is queued."""
    with transaction():
        _enqueue("from now", now + _SECOND)


@outbox.handles(FETCH_UNDELIVERED)
def fetch_undelivered(lease: Lease, *, until: int) -> None:
    """Store what was not delivered before a second (since 1970), newest first, and have it applied. Idempotent.

    After so many pages the rest is queued as work of its own, so that no job runs for long.
    """
    oldest, end = clock.now() - KEPT_FOR, moment_of(until)
    for _ in range(PAGES_PER_JOB):
        events, more = read_now(partial(gateway.page_of_undelivered_events, oldest, end))
        with lease.transaction():
            for event in events:
                store_event(event)
        if not more:
            return
        # The rest of the last second comes again; at least one second further, or this would not end.
        end = min(moment_of(events[-1]["created"]) + _SECOND, end - _SECOND)
    with lease.transaction():
        _enqueue(end.isoformat(), end)


def _enqueue(key: str, until: datetime) -> None:
    outbox.enqueue(FETCH_UNDELIVERED, dedupe_key=key, organization_id=None, until=(until - _EPOCH) // _SECOND)
