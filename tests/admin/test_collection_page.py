"""Staff choose how an organization's invoices are paid, after a look at what it means."""

from portal.organizations.queries import organization_of
from tests.factories import acting, sql


def choose(browser, world, method):
    page = browser.open(f"/admin/organizations/{world.organization}/collection")
    [form] = [each for each in page.forms if each.button("Preview")]
    preview = browser.submit(form, {"method": method}, button="Preview")
    [confirm] = [each for each in preview.forms if each.button("Change it")]
    return confirm, preview


def test_the_choice_is_previewed_made_once_and_written_down(app, world, as_staff):
    finance = as_staff("finance_lead")
    confirm, preview = choose(finance, world, "charge_automatically")
    assert "It has no payment method at Stripe yet." in preview.text
    finance.submit(confirm, button="Change it")
    with acting(app):
        assert organization_of(world.organization).collection_method == "charge_automatically"
        assert sql("SELECT before, after FROM audit_entries WHERE action = 'changed how invoices are collected'") == [
            ({"collection_method": "send_invoice"}, {"collection_method": "charge_automatically"})
        ]
    again = finance.submit(confirm, button="Change it")
    assert "The agreement has changed since you looked." in again.text
    assert "Charged automatically" in finance.open(f"/admin/organizations/{world.organization}").text


def test_the_page_of_an_organization_shows_its_card(app, world, as_staff):
    with acting(app):
        sql(
            "INSERT INTO payment_methods SELECT id, 'pm_1', 'card', 'visa', '4242', 12, 2030, now() FROM organizations"
            " WHERE public_id = :id",
            id=world.organization,
        )
    support = as_staff("support")
    page = support.open(f"/admin/organizations/{world.organization}")
    assert "Visa •••• 4242, expires 12/2030" in page.text
    assert f"/admin/organizations/{world.organization}/collection" not in {link.href for link in page.links}
    assert support.open(f"/admin/organizations/{world.organization}/collection").status == 404
