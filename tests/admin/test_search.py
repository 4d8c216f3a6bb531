"""Search finds anything by what one has of it, by indexes, and goes straight to what was named exactly."""

from urllib.parse import quote

import pytest

from portal.searching import search
from tests.admin.test_registering_pages import BUTTON, UMBRELLA
from tests.factories import acting, make_final, make_organization, sql


@pytest.fixture
def filled(app, world):
    """An invoice with a number, a Stripe id, an item and a person of another organization."""
    with acting(app):
        umbrella = make_organization("umbrella")
        invoice = make_final(umbrella, "12.00")
        sql("UPDATE organizations SET name = 'Umbrella 100% Rain_wear' WHERE slug = 'umbrella'")
        sql("UPDATE organizations SET stripe_customer_id = 'cus_rain' WHERE slug = 'umbrella'")
        sql("UPDATE invoices SET stripe_id = 'in_rain' WHERE number IS NOT NULL")
        return invoice


def labels(page) -> set[str]:
    return {link.label for link in page.links}


@pytest.mark.parametrize("typed", ["umbr", "UMBRELLA 100", "100%", "rain_w"])
def test_a_part_of_a_name_is_enough(app, admin, filled, typed):
    page = admin.open(f"/admin/search?q={quote(typed)}")
    assert "Umbrella 100% Rain_wear" in labels(page)
    assert "Acme" not in labels(page)


def test_what_is_named_exactly_opens_at_once(app, admin, filled):
    with acting(app):
        [(number, public_id)] = sql("SELECT number, public_id FROM invoices WHERE number IS NOT NULL")
        [(organization,)] = sql("SELECT public_id FROM organizations WHERE slug = 'umbrella'")
    for typed, address in {
        number: f"/admin/invoices/{public_id}",
        number.lower(): f"/admin/invoices/{public_id}",
        str(public_id): f"/admin/invoices/{public_id}",
        "in_rain": f"/admin/invoices/{public_id}",
        "cus_rain": f"/admin/organizations/{organization}",
        str(organization): f"/admin/organizations/{organization}",
    }.items():
        answer = admin.client.get("/admin/search", query_string={"q": typed})
        assert (answer.status_code, answer.location) == (303, address), typed


def test_people_items_keys_and_requests_are_found(app, admin, customer, filled):
    people = admin.open("/admin/search?q=example.com")
    assert "admin@example.com" in people.text
    [form] = [each for each in admin.open("/admin/organizations/new").forms if each.button(BUTTON)]
    admin.submit(form, UMBRELLA | {"slug": "rainy"}, button=BUTTON)
    with acting(app):
        sql(
            "INSERT INTO one_off_items (public_id, organization_id, invoice_id, kind, description, quantity,"
            " unit_amount, amount, form_token)"
            " SELECT gen_random_uuid(), organization_id, id, 'charge', 'Rubber boots', 1, 1, 100,"
            " gen_random_uuid() FROM invoices LIMIT 1"
        )
        [(request,)] = sql("SELECT DISTINCT request_id FROM audit_entries WHERE request_id IS NOT NULL LIMIT 1")
        assert [found.kind for found in search("rubber")] == ["item"]
        assert [(found.kind, found.is_exact) for found in search(request)] == [("request", True)]
    answer = admin.client.get(f"/admin/search?q={request}")
    assert answer.location == f"/admin/audit?request={request}"
    assert "No entry" not in admin.open(answer.location).text


@pytest.mark.parametrize(("typed", "status", "sentence"), [
    ("ab", 422, "Type 3 to 200 characters."),
    ("x" * 201, 422, "Type 3 to 200 characters."),
    ("nothing like this", 200, "Nothing fits"),
    ("", 200, "by any part of a name"),
    ("'; DROP TABLE users; --", 200, "Nothing fits"),
])  # fmt: skip
def test_the_rest_is_said_in_words(admin, filled, typed, status, sentence):
    page = admin.open(f"/admin/search?q={quote(typed)}")
    assert (page.status, sentence in page.text) == (status, True)


def test_customers_have_no_such_page(customer):
    assert customer.get("/admin/search?q=acme").status_code == 404


def test_words_are_found_by_their_indexes(app, owner_connection, filled):
    with acting(app):
        sql("INSERT INTO organizations (public_id, slug, name, currency) SELECT gen_random_uuid(), 'crowd-' || n,"
            " md5(n::text), 'USD' FROM generate_series(1, 20000) AS n")  # fmt: skip
        owner_connection.execute("VACUUM ANALYZE organizations")
        plan = "\n".join(
            row for (row,) in sql(
                "EXPLAIN SELECT * FROM organizations WHERE name ILIKE '%umbrella%' OR slug ILIKE '%umbrella%'"
                " ORDER BY name, id LIMIT 10"
            )
        )  # fmt: skip
    assert "ix_organizations_words" in plan
    assert "Seq Scan" not in plan
