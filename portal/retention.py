"""What is deleted after how long: one table, run by the clock. Each number of days is a setting.

Nothing that explains money is in it: usage, prices, invoices, the calls to Stripe and the audit log stay. What ends by
itself (sessions, links, limits, files of exports, the ingest log) is cleared away where it is made.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import TextClause, text

from portal.config import Settings
from portal.infra.db import transaction

log = logging.getLogger(__name__)
# One short transaction for so many rows; what is left waits for the next turn of the clock.
AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Kept:
    """Something with an age: what it is, the setting that says for how many days it is kept, and how it is deleted."""

    what: str
    setting: str
    statement: TextClause


RETENTION = (
    Kept(
        "texts and addresses of mails",
        "mail_keep_days",
        text("""
            UPDATE mails SET body_text = '', body_html = '', recipients = '{}', delivered = '{}'
            WHERE id IN (SELECT id FROM mails WHERE body_text <> '' AND state <> 'queued' AND created_at < :oldest
                         ORDER BY created_at LIMIT :most)
        """),
    ),
    Kept(
        "mails about accounts",
        "account_mail_keep_days",
        text("""
            DELETE FROM account_letters
            WHERE id IN (SELECT id FROM account_letters WHERE created_at < :oldest LIMIT :most)
        """),
    ),
    Kept(
        "what Stripe's events said",
        "stripe_event_keep_days",
        text("""
            UPDATE stripe_events SET payload = '{}'
            WHERE id IN (SELECT id FROM stripe_events WHERE payload <> '{}' AND state <> 'stored'
                         AND received_at < :oldest ORDER BY received_at LIMIT :most)
        """),
    ),
    Kept(
        "deliveries of webhooks",
        "webhook_delivery_keep_days",
        text("""
            DELETE FROM webhook_deliveries
            WHERE id IN (SELECT id FROM webhook_deliveries WHERE state <> 'pending' AND created_at < :oldest
                         LIMIT :most)
        """),
    ),
    Kept(
        "results of price simulations",
        "simulation_keep_days",
        text("""
            DELETE FROM price_simulation_results
            WHERE ctid = ANY(ARRAY(SELECT result.ctid FROM price_simulation_results AS result
                                   JOIN price_simulations AS simulation ON simulation.id = result.simulation_id
                                   WHERE simulation.ended_at < :oldest LIMIT :most))
        """),
    ),
    Kept(
        "price simulations",
        "simulation_keep_days",
        text("""
            DELETE FROM price_simulations
            WHERE id IN (SELECT id FROM price_simulations WHERE ended_at < :oldest AND NOT EXISTS (
                             SELECT FROM price_simulation_results WHERE simulation_id = price_simulations.id)
                         LIMIT :most)
        """),
    ),
)


def forget_by_age(*, now: datetime, settings: Settings) -> dict[str, int]:
    """Delete what has been kept for long enough, a part of it at a time; how much of what was deleted. Idempotent."""
    counts = {}
    for each in RETENTION:
        with transaction() as session:
            values = {"oldest": now - timedelta(days=getattr(settings, each.setting)), "most": AT_ONCE}
            deleted = session.execute(each.statement, values).rowcount  # type: ignore[attr-defined]
        if deleted:
            counts[each.what] = deleted
    if counts:
        log.info("deleted by age", extra={"deleted": counts})
    return counts
