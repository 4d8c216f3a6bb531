"""Server time and queries of every page of the seeded demo, beside the cheapest request that touches the database.

`ratio` is that cheapest request's median over the slowest page's median.
"""

import os
from datetime import UTC, datetime

import psycopg

from benchmarks._timed_pages import print_pages, signed_in, time_pages
from portal import create_app
from portal.config import settings_from_env
from portal.infra.db import SYSTEM, act_as, transaction
from portal.invoicing.queries import invoices_of
from portal.organizations.queries import ids_by_slug, organization_by_id
from portal.seeding import Wishes, seed
from portal.seeding.cast import CUSTOMERS, PASSWORD, STAFF
from portal.seeding.people import login_of

ROUNDS = 40
CHEAPEST = "/readyz"


def main() -> None:
    """Seed, measure, print."""
    settings = settings_from_env(os.environ)
    app = create_app(settings)
    app.config["WTF_CSRF_ENABLED"] = False
    with app.app_context():
        act_as(SYSTEM)
        seed(Wishes(), settings, now=datetime.now(UTC))
        pages = _pages()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        # As the database does by itself after a minute or two.
        connection.execute("VACUUM ANALYZE")
    clients = {
        "customer": signed_in(app, login_of(CUSTOMERS[0]), PASSWORD),
        "staff": signed_in(app, STAFF[0][0], PASSWORD),
    }
    timed = time_pages([(clients[who], path) for who, path in pages], rounds=ROUNDS)
    print_pages(timed)
    slowest = max(each.p50 for each in timed.values())
    print(f"RESULT pages ratio={timed[CHEAPEST].p50 / slowest:.3f} rate={1000 / slowest:.0f} slowest_ms={slowest:.1f}")


def _pages() -> list[tuple[str, str]]:
    with transaction():
        organization_id = ids_by_slug({CUSTOMERS[0].slug})[CUSTOMERS[0].slug]
        organization = organization_by_id(organization_id).public_id
        draft, final = (invoice.public_id for invoice in invoices_of(organization_id, limit=2))
    return [
        ("customer", CHEAPEST),
        ("customer", "/"),
        ("customer", "/usage"),
        ("customer", "/costs"),
        ("customer", "/budgets"),
        ("customer", "/forecast"),
        ("customer", "/invoices"),
        ("customer", "/invoices/draft"),
        ("customer", f"/invoices/{final}"),
        ("staff", "/admin"),
        ("staff", "/admin/organizations"),
        ("staff", f"/admin/organizations/{organization}"),
        ("staff", "/admin/invoices"),
        ("staff", f"/admin/invoices/{draft}"),
        ("staff", f"/admin/invoices/{final}"),
        ("staff", "/admin/sync"),
    ]


if __name__ == "__main__":
    main()
