"""Staff link organizations to a payer, and see what all of them come to."""

from portal.organizations.queries import organization_of
from tests.factories import acting, make_organization, sql

BEGIN = "Begin the link in that month"


def begin(browser, address: str, **values: str):
    [form] = [each for each in browser.open(address).forms if each.button(BEGIN)]
    return browser.submit(form, values, button=BEGIN)


def end(browser, address: str, **values: str):
    [form] = [each for each in browser.open(address).forms if each.button(BEGIN)]
    return browser.client.post(f"{address}/end", data=form.fields | values)


def test_a_payer_and_those_linked_to_it_are_one_table_with_a_sum(app, world, as_staff):
    with acting(app):
        north = make_organization("north")
        acme = organization_of(world.organization)
    address, operations = f"/admin/organizations/{world.organization}/linked", as_staff("billing_operations")
    refused = begin(operations, address, organization="nobody", month="2099-01")
    assert (refused.status, "There is no organization with that short name." in refused.text) == (422, True)
    refused = begin(operations, address, organization="north", month="soon")
    assert (refused.status, "“soon” is not a month" in refused.text) == (422, True)
    refused = begin(operations, address, organization=acme.slug, month="2099-01")
    assert (refused.status, "pays for itself" in refused.text) == (422, True)
    begun = begin(operations, address, organization="north", month="2099-01")
    assert "pays for North from 2099-01 on." in begun.text
    assert "North" not in operations.client.get(f"{address}.csv?month=2098-12").text
    lines = operations.client.get(f"{address}.csv?month=2099-01").text.splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == [acme.name, "North", "Sum"]
    assert "North" in operations.open(f"{address}?month=2099-01").text
    norths = f"/admin/organizations/{north.public_id}/linked"
    assert f"{acme.name}</a> pays for North in 2099-01." in operations.client.get(f"{norths}?month=2099-01").text
    assert "pays for North in" not in operations.client.get(f"{norths}?month=2098-12").text
    assert (
        "That organization has no payer, or another one."
        in end(operations, norths, organization="north", month="2099-02").text
    )
    assert end(operations, address, organization="north", month="2099-02").status_code == 303
    with acting(app):
        assert sql("SELECT end_day::text FROM payer_links") == [("2099-02-01",)]


def test_support_looks_and_links_nothing(world, as_staff):
    address, support = f"/admin/organizations/{world.organization}/linked", as_staff("support")
    page = support.open(address)
    assert page.status == 200
    assert not [each for each in page.forms if each.button(BEGIN)]
    assert support.client.post(address).status_code in (400, 404)
