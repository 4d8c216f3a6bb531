"""Staff register organizations, and suspend, close or serve them."""

import pytest

from portal.organizations.queries import ids_by_slug
from portal.organizations.registering import organization_by_slug
from tests.factories import acting, sql

NEW = "/admin/organizations/new"
UMBRELLA = {"name": "Umbrella", "slug": "umbrella", "currency": "EUR", "owner_email": "ana@umbrella.example"}
BUTTON = "Register the organization"


def register(browser, **values: str):
    [form] = [each for each in browser.open(NEW).forms if each.button(BUTTON)]
    return browser.submit(form, UMBRELLA | values, button=BUTTON)


def set_status(browser, world, **values: str):
    page = browser.open(f"/admin/organizations/{world.organization}/status")
    [form] = [each for each in page.forms if each.button("Change the status")]
    return browser.submit(form, values, button="Change the status")


def test_an_organization_is_registered_and_its_owner_invited(app, world, as_staff):
    page = register(as_staff("billing_operations"))
    assert "Umbrella is registered." in page.text
    with acting(app):
        assert organization_by_slug("umbrella").currency == "EUR"
        assert sql("SELECT email, role FROM invitations") == [("ana@umbrella.example", "owner")]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"slug": "acme"}, "There is an organization with the short name “acme” already."),
        ({"slug": "Umbrella Inc"}, "A short name is made of small letters, digits and hyphens"),
        ({"name": "  "}, "Name the organization"),
        ({"owner_email": "ana"}, "That is not an e-mail address."),
        ({"billing_email": "a@b.example, c@d.example"}, "That is not an e-mail address."),
    ],
)
def test_what_does_not_fit_is_said_and_what_was_typed_stays(app, world, as_staff, values, sentence):
    page = register(as_staff("billing_operations"), **values)
    assert page.status == 422
    assert sentence in page.text
    [form] = [each for each in page.forms if each.button(BUTTON)]
    assert form.fields["owner_email"] == (UMBRELLA | values)["owner_email"]
    with acting(app):
        assert organization_by_slug("umbrella") is None
        assert sql("SELECT count(*) FROM invitations") == [(0,)]


def test_a_suspended_organization_is_not_served_and_the_reason_is_kept(app, world, as_staff):
    operations = as_staff("billing_operations")
    assert set_status(operations, world, status="suspended").status == 422
    page = set_status(operations, world, status="suspended", reason="Fraud, ticket 4")
    assert "is suspended." in page.text
    with acting(app):
        assert ids_by_slug({"acme"}) == {}
        assert sql("SELECT before, after, reason FROM audit_entries WHERE action = 'changed the status'") == [
            ({"status": "active"}, {"status": "suspended"}, "Fraud, ticket 4")
        ]
    set_status(operations, world, status="active", reason="Cleared")
    with acting(app):
        assert "acme" in ids_by_slug({"acme"})


def test_support_sees_no_way_there(world, as_staff):
    support = as_staff("support")
    assert NEW not in {link.href for link in support.open("/admin/organizations").links}
    assert support.open(NEW).status == 404
    assert support.open(f"/admin/organizations/{world.organization}/status").status == 404


def test_commands_do_the_same(app, world):
    run = app.test_cli_runner().invoke
    made = run(args=["organizations", "create", "umbrella", "--name", "Umbrella", "--currency", "EUR"])
    assert made.output.startswith("Umbrella is registered as umbrella (")
    assert "already" in run(args=["organizations", "create", "umbrella", "--name", "Umbrella"]).output
    closed = run(args=["organizations", "status", "umbrella", "closed", "--reason", "They left"])
    assert closed.output.startswith("umbrella is closed.")
    listed = run(args=["organizations", "list", "--search", "umbr"]).output
    assert "closed" in listed
    assert "acme" not in listed
    key = run(args=["keys", "create", "provisioning", "--scope", "organizations"]).output.strip()
    answer = app.test_client().get("/api/v1/organizations/umbrella", headers={"Authorization": f"Bearer {key}"})
    assert answer.get_json()["status"] == "closed"
    refused = run(args=["keys", "create", "theirs", "--organization", "acme", "--scope", "organizations"])
    assert "A key of an organization may be given ingest and read only." in refused.output


def test_commands_list_invoices_and_make_members(app, world):
    run = app.test_cli_runner().invoke
    run(args=["organizations", "create", "umbrella", "--name", "Umbrella"])
    listed = run(args=["billing", "invoices", "--organization", "acme", "--state", "draft"]).output
    assert str(world.last_month) in listed
    assert str(world.last_month) not in run(args=["billing", "invoices", "--organization", "umbrella"]).output
    assert str(world.last_month) not in run(args=["billing", "invoices", "--month", "2001-01"]).output
    made = run(
        args=[
            "users",
            "create-member",
            "ana@umbrella.example",
            "--organization",
            "umbrella",
            "--password",
            "a long one, yes",
        ]
    )
    assert "ana@umbrella.example can sign in as owner of umbrella." in made.output
    with acting(app):
        assert sql("SELECT role FROM memberships JOIN users ON users.id = user_id WHERE email LIKE 'ana@%'") == [
            ("owner",)
        ]
