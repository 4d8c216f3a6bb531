"""The cockpit and the search at size: 100,000 organizations with 24 months of invoices, made by SQL; server time in ms.

Two runs: last month's stands in review, 1 % of it odd; the month before is being sent to Stripe, half of it done.
`ratio` is the cheapest request's median (one query) over the slowest cockpit page's; `page_p95_ms` and
`search_p95_ms` are the worst of the cockpit's pages and of the searches, `queries` the most that a page asks.
"""

import argparse
import os
from datetime import UTC, datetime

import psycopg
from flask import g

from benchmarks._timed_pages import print_pages, signed_in, time_pages
from portal import create_app
from portal.bill_runs.models import BillRun, RunKind, RunState
from portal.config import settings_from_env
from portal.core.periods import Month
from portal.infra.audit import Actor
from portal.infra.db import SYSTEM, act_as, db, transaction
from portal.organizations.people import create_user

ROUNDS = 40
MONTHS = 24
ADMIN, PASSWORD = "admin@cockpit.example", "correct horse battery"
CHEAPEST = "/readyz"
ADD_ORGANIZATIONS = """
    INSERT INTO organizations (slug, name, currency, public_id, stripe_customer_id, created_at)
    SELECT 'org-' || n,
           concat_ws(' ', (ARRAY['Alder', 'Birch', 'Cedar', 'Larch', 'Rowan', 'Aspen', 'Maple'])[n %% 7 + 1] || n,
                     (ARRAY['Logistics', 'Foods', 'Systems', 'Robotics', 'Energy'])[n %% 5 + 1],
                     (ARRAY['Inc', 'GmbH', 'KK', 'Ltd'])[n %% 4 + 1]),
           (ARRAY['USD', 'USD', 'EUR', 'JPY'])[n %% 4 + 1], gen_random_uuid(),
           'cus_' || lpad(n::text, 12, '0'), '2020-01-01Z'
    FROM generate_series(1, %(organizations)s) AS n
"""
ADD_PEOPLE = """
    INSERT INTO users (public_id, email, name, password_hash)
    SELECT gen_random_uuid(), 'owner' || n || '@org-' || n || '.example', 'Owner ' || n, 'none'
    FROM generate_series(1, %(organizations)s) AS n
"""
# All but the last month are final; of the one before it half is at Stripe.
ADD_INVOICES = """
    INSERT INTO invoices (public_id, organization_id, period_start, period_end, currency, state, payment_state,
                          tax, total, amount_due, number, finalized_at, invoiced_at, sync_state)
    SELECT gen_random_uuid(), o.id, first, (first + interval '1 month')::date, o.currency,
           CASE WHEN m = 0 THEN 'draft' ELSE 'finalized' END, CASE WHEN m = 0 THEN 'none' ELSE 'open' END,
           0, 1000 + o.id + m, 1000 + o.id + m,
           CASE WHEN m > 0 THEN 'INV-' || m || '-' || lpad(o.id::text, 6, '0') END,
           CASE WHEN m > 0 THEN now() END, CASE WHEN m > 0 THEN now() END,
           CASE WHEN m = 0 THEN 'none' WHEN m = 1 AND o.id %% 2 = 0 THEN 'pending' ELSE 'synced' END
    FROM generate_series(%(months)s - 1, 0, -1) AS m
    CROSS JOIN LATERAL (SELECT (CAST(%(last)s AS date) - m * interval '1 month')::date AS first) AS month
    CROSS JOIN organizations AS o
"""
ADD_ITEMS = """
    INSERT INTO bill_run_items (bill_run_id, organization_id, chunk, currency, state, flags, score, invoice_id,
                                total_before, total, amount_due, fingerprint)
    SELECT %(run)s, i.organization_id, i.organization_id / 250, i.currency,
           CASE WHEN NOT %(review)s THEN 'finalized' WHEN odd THEN 'generated' ELSE 'approved' END,
           CASE WHEN odd THEN '[{"code": "above", "sentence": "Far above.", "blocks": false, "points": 40}]'
           ELSE '[]' END::jsonb,
           CASE WHEN odd THEN 30 + i.organization_id %% 50 ELSE 0 END, i.id, i.total - 1, i.total, i.amount_due, 'f'
    FROM invoices AS i CROSS JOIN LATERAL (SELECT i.organization_id %% 100 = 0 AND %(review)s AS odd) AS o
    WHERE i.period_start = %(month)s
"""


def main() -> None:
    """Prepare, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organizations", type=int, default=100_000, metavar="N", help="100,000 if not said")
    count = parser.parse_args().organizations
    app = create_app(settings_from_env(os.environ))
    app.config["WTF_CSRF_ENABLED"] = False
    last = Month.of(datetime.now(UTC)).previous
    with app.app_context():
        act_as(SYSTEM)
        g.actor = Actor("benchmark", "cockpit")
        review, sending = _prepare(count, last)
    client = signed_in(app, ADMIN, PASSWORD)
    cockpit = [
        "/admin",
        "/admin/runs",
        *(f"/admin/runs/{run}{rest}" for run in (review, sending) for rest in ("", "/progress", "?queue=all")),
        f"/admin/runs/{review}?queue=review&reason=above",
        f"/admin/runs/{review}/finalize",
        "/admin/organizations",
        "/admin/invoices",
    ]
    typed = [
        *("lder4711", f"owner{count - 7}@", "INV-7-004711", "cus_000000004711", str(review), "nobody at all"),
        *("org", "GmbH", "Logistics"),
    ]
    searches = [f"/admin/search?q={each}" for each in typed]
    timed = time_pages([(client, path) for path in (CHEAPEST, *cockpit)], rounds=ROUNDS)
    print_pages(timed, title=f"{count:,} organizations")
    found = time_pages([(client, path) for path in searches], rounds=ROUNDS)
    print_pages(found, title=f"search, {count * MONTHS:,} invoices")
    slowest = max(timed[path].p50 for path in cockpit)
    print(
        f"RESULT cockpit ratio={timed[CHEAPEST].p50 / slowest:.3f} rate={1000 / slowest:.0f}"
        f" page_p95_ms={max(timed[path].p95 for path in cockpit):.0f}"
        f" queries={max(timed[path].queries for path in cockpit)}"
        f" search_p95_ms={max(each.p95 for each in found.values()):.0f} organizations={count}"
        f" invoices={count * MONTHS}"
    )


def _prepare(count: int, last: Month) -> tuple[str, str]:
    """Returns the public ids of the run in review and of the one that is sending."""
    with transaction():
        create_user(email=ADMIN, name="Admin", password=PASSWORD, staff_role="admin")
        runs = [_run(last, RunState.REVIEW), _run(last.previous, RunState.SYNCING)]
    values = {"organizations": count, "months": MONTHS, "last": last.first_day}
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("SET ROLE portal_system")
        for statement in (ADD_ORGANIZATIONS, ADD_PEOPLE, ADD_INVOICES):
            connection.execute(statement, values)
        for run, review in zip(runs, (True, False), strict=True):
            month = last.first_day if review else last.previous.first_day
            connection.execute(ADD_ITEMS, {"run": run[0], "review": review, "month": month})
        connection.execute("RESET ROLE")
        connection.execute("VACUUM ANALYZE")
    return runs[0][1], runs[1][1]


def _run(month: Month, state: RunState) -> tuple[int, str]:
    now = datetime.now(UTC)
    run = BillRun(
        month=month.first_day,
        kind=RunKind.MONTHLY,
        state=state,
        as_of=now,
        started_by="Clock",
        hold_seconds=600,
        entered={state.value: now.isoformat()},
    )
    db.session.add(run)
    db.session.flush()
    return run.id, str(run.public_id)


if __name__ == "__main__":
    main()
