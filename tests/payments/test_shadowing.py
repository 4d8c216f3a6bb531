"""Shadow mode: what an existing set-up billed beside what we would bill, to the cent, before anything is switched."""

import json

import pytest

from portal.core.errors import InvalidInput
from portal.payments.shadowing import Bill, compare_bills, compare_month, read_export, read_from_stripe
from tests.factories import MONTH, add, make_draft, make_final, make_meter, make_organization, make_price, use

pytestmark = pytest.mark.usefixtures("books")


def theirs(*lines, customer="cus_acme", **more):
    """An invoice of the existing set-up, as it is exported."""
    data = [{"amount": amount, "description": description} for description, amount in lines]
    return {
        "id": "in_old",
        "object": "invoice",
        "customer": customer,
        "currency": "usd",
        "status": "paid",
        "total": sum(amount for _, amount in lines),
        "lines": {"data": data, "has_more": False},
        **more,
    }


def differing(*documents, month=MONTH):
    result = compare_month(month, documents)
    return [(each.who, each.what, each.description, each.ours, each.theirs) for each in result.differences], result


@pytest.fixture
def acme():
    """Acme has 50.00 of usage and a one-off item of 10.00 on its draft."""
    organization = make_organization(stripe_customer_id="cus_acme")
    meter = make_meter()
    make_price(meter, "0.01")
    use(organization, meter, 5000, region="ams")
    add(make_draft(organization), "10.00", "Set-up")
    return organization


def test_a_draft_that_comes_to_the_same_has_no_difference_under_whatever_words(acme):
    found, result = differing(theirs(("5000 × Machine seconds (at $0.01)", 5000), ("Set-up", 1000)))
    assert (found, result.customers, result.other_words) == ([], 1, 1)


def test_a_cent_is_found_in_the_line_and_in_the_total(acme):
    found, _ = differing(theirs(("Seconds", 5000), ("Set-up", 1001)))
    assert found == [("Acme", "total", "", 6000, 6001), ("Acme", "line", "Set-up", 1000, 1001)]


def test_lines_of_one_side_only_are_found_although_the_totals_are_equal(acme):
    found, _ = differing(theirs(("Seconds", 5000), ("Support", 999), ("Disk", 1)))
    assert found == [
        ("Acme", "line", "Disk", None, 1),
        ("Acme", "line", "Set-up", 1000, None),
        ("Acme", "line", "Support", None, 999),
    ]


def test_two_invoices_of_a_customer_are_added_up_and_void_ones_and_empty_lines_left_out(acme):
    old = theirs(("Seconds", 5000), ("Free tier", 0)), theirs(("Set-up", 1000)), theirs(("Oops", 7), status="void")
    assert differing(*old)[0] == []


def test_tax_and_discounts_beside_stripes_lines_count_as_lines(acme):
    old = theirs(
        ("Seconds", 5500),
        ("Set-up", 1000),
        total=6100,
        total_discount_amounts=[{"amount": 500}],
        total_taxes=[{"amount": 100, "tax_behavior": "exclusive"}, {"amount": 7, "tax_behavior": "inclusive"}],
    )
    found, _ = differing(old)
    assert ("Acme", "line", "Discount", None, -500) in found
    assert ("Acme", "line", "Tax", None, 100) in found
    assert ("Acme", "total", "", 6000, 6100) in found


def test_somebody_who_is_known_on_one_side_only_is_named(acme):
    make_organization("quiet")
    found, result = differing(theirs(("Disk", 300), customer="cus_nobody", customer_name="Nobody Ltd"))
    assert found == [
        ("Acme", "total", "", 6000, 0),
        ("Acme", "line", "Price of machine_seconds", 5000, None),
        ("Acme", "line", "Set-up", 1000, None),
        ("Nobody Ltd (no organization here)", "total", "", 0, 300),
        ("Nobody Ltd (no organization here)", "line", "Disk", None, 300),
    ]
    assert result.customers == 2


def test_another_currency_differs_by_everything(acme):
    found, _ = differing(theirs(("Seconds", 5000), ("Set-up", 1000), currency="eur"))
    assert [(what, ours, yours) for _, what, _, ours, yours in found if what == "total"] == [
        ("total", 0, 6000),
        ("total", 6000, 0),
    ]


def test_a_final_invoice_is_compared_as_it_is(acme):
    make_final(acme, "1.00")
    assert differing(theirs(("Seconds", 5000), ("Set-up", 1000), ("Item 0001", 100)))[0] == []


def test_a_line_that_is_there_twice_has_to_be_there_twice():
    ours, once, twice = Bill("USD"), Bill("USD"), Bill("USD")
    for bill, times in ((ours, 2), (once, 1), (twice, 2)):
        for _ in range(times):
            bill.add("Disk", 100)
    assert compare_bills("Acme", ours, twice) == ([], 0)
    [missing] = compare_bills("Acme", ours, once)[0]
    assert (missing.ours, missing.theirs) == (100, None)


def test_the_invoices_are_read_at_stripe_with_all_their_lines_and_without_ours(sandbox, acme):
    created = int(MONTH.end.timestamp()) + 60
    customer = {"id": "cus_acme"}
    lines = [{"amount": 100, "description": f"Part {number}"} for number in range(50)]
    old = {"id": "in_old", "customer": "cus_acme", "currency": "usd", "status": "paid", "created": created}
    ours = {**old, "id": "in_ours", "metadata": {"invoice_id": str(make_draft(acme).public_id)}}
    later = {**old, "id": "in_later", "created": int(MONTH.next.end.timestamp())}
    many = [{**old, "id": f"in_{number:03}", "status": "void"} for number in range(120)]
    sandbox.ctl("load", {"customers": [customer], "invoices": [{**old, "lines": lines}, ours, later, *many]})
    documents = list(read_from_stripe(MONTH))
    assert len(documents) == 121
    found, _ = differing(*documents)
    assert found[0] == ("Acme", "total", "", 6000, 5000)
    assert len([each for each in found if each[2].startswith("Part ")]) == 50


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("no json", "not JSON"),
        ('"text"', "no list"),
        ("[1]", "Entry 1 of the file is not an invoice"),
        ('[{"id": "in_1"}]', "in_1 does not hold all its lines"),
        (json.dumps([theirs(("a", 1), currency="")]), "in_old has no currency"),
        (json.dumps([theirs(("a", 1), total=1.5)]), "not whole: 1.5"),
        (json.dumps([{**theirs(), "lines": {"data": [], "has_more": True}}]), "does not hold all its lines"),
    ],
)
def test_a_file_that_is_no_export_is_refused_with_the_place(text, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        read_export(text)


def test_an_export_is_a_list_or_stripes_own_list():
    assert read_export(json.dumps([theirs(("a", 1))])) == read_export(json.dumps({"data": [theirs(("a", 1))]}))
