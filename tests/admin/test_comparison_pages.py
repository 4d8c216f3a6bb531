"""A month beside the one before: the page's steps add up to the difference, for staff and the customer alike."""

import csv
import io
from decimal import Decimal

from portal.invoicing.month_effects import compared_with_last_month
from tests.factories import acting


def test_the_steps_add_up_on_the_page_and_in_the_file(app, admin, world):
    address = f"/admin/invoices/{world.last_month}/comparison"
    page = admin.open(address)
    assert page.status == 200
    with acting(app):
        compared = compared_with_last_month(world.invoice())
    assert compared.after - compared.before == 2000
    assert "All of it" in page.text
    assert "Usage that last month did not have" in page.text
    rows = list(csv.DictReader(io.StringIO(admin.client.get(f"{address}.csv").text.lstrip("\ufeff"))))
    assert sum(Decimal(row["Change"]) for row in rows) == Decimal("20.00")
    assert address in {link.href for link in admin.open(world.draft).links}


def test_the_next_month_begins_where_this_one_ends(app, admin, world):
    page = admin.open(f"/admin/invoices/{world.this_month}/comparison")
    assert "Usage that this month does not have" in page.text


def test_the_customer_sees_their_own_and_no_other(world, customer):
    page = customer.get(f"/invoices/{world.last_month}/comparison")
    assert page.status_code == 200
    assert "All of it" in page.text
    assert customer.get("/invoices/00000000-0000-7000-8000-000000000000/comparison").status_code == 404
