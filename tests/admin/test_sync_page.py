"""The page on the way to Stripe says in a sentence whether Stripe answers, and what waits for it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from portal.infra.db import transaction
from portal.payments.breaker import WAITS
from portal.payments.models import StripeCircuit
from tests.factories import acting, sql


def test_the_page_says_whether_stripe_answers(app: Any, admin: Any) -> None:
    assert "Stripe answers." in admin.open("/admin/sync").text
    now = datetime(2026, 11, 22, 14, 3, tzinfo=UTC)
    with acting(app):
        with transaction() as session:
            session.add(
                StripeCircuit(
                    id=1,
                    failures=5,
                    last_error="Stripe answered 502.",
                    opened_at=now,
                    retry_at=now + timedelta(minutes=5),
                )
            )
        sql(
            "INSERT INTO outbox (kind, dedupe_key, arguments, last_error)"
            " SELECT 'sync_invoice', n::text, '{}', :waits FROM generate_series(1, 1234) AS n",
            waits=WAITS,
        )
    text = admin.open("/admin/sync").text
    assert "Stripe has not answered since 22 Nov 2026, 14:03 UTC, so nothing is sent" in text
    assert "one call asks again at 22 Nov 2026, 14:08 UTC" in text
    assert "Jobs that wait for it: 1,234." in text
    assert "Stripe answered 502." in text
