"""The agreement: every change is shown with what it does to the drafts, and then done once."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from portal.catalog import subscribing
from portal.catalog.coupons import create_coupon, redemptions_of
from portal.catalog.queries import subscriptions_of
from portal.core.periods import Month
from portal.infra.db import transaction
from portal.invoicing.crediting import grants_of
from portal.organizations.queries import organization_of
from tests.factories import acting, make_meter, make_organization, make_plan, make_price
from tests.statements import statements

MONTH = Month.of(datetime.now(UTC))
START = {"plan": "support", "quantity": "1"}


@pytest.fixture
def plans(world: Any) -> None:
    """Support for $29.00 and premium for $199.00 a month."""
    with acting(world.app):
        make_plan("support", fee="29")
        make_plan("premium", fee="199")


def base(world: Any) -> str:
    return f"/admin/organizations/{world.organization}/agreement"


def subscribed(world: Any, *, days_ago: int = 0, **more: Any) -> str:
    """The address of a subscription to support that runs."""
    with acting(world.app), transaction():
        start = datetime.now(UTC) - timedelta(days=days_ago, minutes=1)
        plan = subscribing.plan_named("support")
        organization = organization_of(world.organization)
        made = subscribing.subscribe(organization, plan, starts_at=start, open_from=None, **more)
        return f"{base(world)}/subscriptions/{made.public_id}"


def subscriptions(world: Any) -> list[Any]:
    with acting(world.app):
        return subscriptions_of(organization_of(world.organization).id)


def preview(browser: Any, address: str, values: dict[str, str] | None = None) -> Any:
    """Fill a form in and ask what it would do."""
    return browser.submit(browser.open(address).form(button="Preview"), values or {}, button="Preview")


def confirm(browser: Any, page: Any) -> Any:
    """Press the button of a preview that does it."""
    form = next(form for form in page.forms if "seen" in form.fields)
    return browser.submit(form, button=form.buttons[0].label)


def test_the_agreement_of_an_organization_without_one(admin: Any, world: Any) -> None:
    page = admin.open(base(world))
    for sentence in ("No plan is paid", "The price list applies to everything", "It has no credit", "No coupon lowers"):
        assert sentence in page.text
    assert admin.open(f"/admin/organizations/{world.organization}").link(start=base(world)) is not None


def test_a_subscription_is_started_after_its_preview(admin: Any, world: Any, plans: None) -> None:
    page = preview(admin, f"{base(world)}/subscriptions/new", START | {"label": "Team one"})
    assert "This month’s draft goes from $0.00 to $29.00." in page.text
    assert "Next month’s draft goes from $0.00 to $29.00." in page.text
    assert "Last month’s draft" not in page.text
    assert subscriptions(world) == []
    page = confirm(admin, page)
    assert "1 × Support starts on" in page.text
    assert "Support · Team one" in page.text
    assert "Renews on" in page.text
    rows = list(csv.DictReader(admin.client.get(f"{base(world)}/subscriptions.csv").text.lstrip("\ufeff").splitlines()))
    assert (rows[0]["plan"], rows[0]["label"], rows[0]["quantity"]) == ("Support", "Team one", "1")


def test_a_preview_that_is_confirmed_twice_does_it_once(admin: Any, world: Any, plans: None) -> None:
    page = preview(admin, f"{base(world)}/subscriptions/new", START)
    confirm(admin, page)
    again = confirm(admin, page)
    assert again.status == 409
    assert "has changed since you looked" in again.text
    assert len(subscriptions(world)) == 1


def test_a_preview_that_is_too_old_is_shown_again(admin: Any, world: Any, plans: None) -> None:
    page = preview(admin, f"{base(world)}/subscriptions/new", START)
    form = next(form for form in page.forms if "seen" in form.fields)
    for moment in ((datetime.now(UTC) - timedelta(hours=2)).isoformat(), "2026-01-01T00:00:00", "yesterday"):
        answer = admin.submit(form, {"moment": moment}, button="Start the subscription")
        assert answer.status == 200
        assert "Nothing has been done yet" in answer.text
    assert subscriptions(world) == []


def test_a_trial_and_a_start_that_is_to_come(admin: Any, world: Any, plans: None) -> None:
    first = MONTH.next.first_day
    values = START | {"quantity": "2", "trial_days": "14", "starts_at": str(first), "periods": "month"}
    page = preview(admin, f"{base(world)}/subscriptions/new", values)
    assert "with a trial until" in page.text
    assert "This month’s draft stays at $0.00." in page.text
    page = confirm(admin, page)
    assert "Trial until" in page.text
    made = subscriptions(world)[0]
    assert (made.quantity, made.started_at.date()) == (2, first)


def test_a_change_now_gives_back_and_charges(admin: Any, world: Any, plans: None) -> None:
    address = subscribed(world)
    form = admin.open(f"{address}/change").form(button="Preview")
    assert (form.fields["plan"], form.fields["quantity"]) == ("support", "1")
    page = admin.submit(form, {"quantity": "2", "at": "now"}, button="Preview")
    assert "This month’s draft goes from $29.00 to $58.00." in page.text
    assert "It changes to 2 × Support" in confirm(admin, page).text


def test_a_change_at_the_periods_end_can_be_taken_back(admin: Any, world: Any, plans: None) -> None:
    address = subscribed(world)
    page = preview(admin, f"{address}/change", {"plan": "premium", "at": "period_end"})
    assert "This month’s draft stays at $29.00." in page.text
    page = confirm(admin, page)
    assert "Changes to 1 × Premium on" in page.text
    take_back = page.link(start=f"{address}/changes/")
    assert take_back is not None
    page = confirm(admin, admin.open(take_back.href))
    assert "will not come" in page.text
    assert "Changes to" not in page.text


def test_a_subscription_is_cancelled_with_a_reason_and_resumed(admin: Any, world: Any, plans: None) -> None:
    address = subscribed(world)
    page = preview(admin, f"{address}/cancel", {"at": "now"})
    assert page.status == 422
    assert page.link(start="#reason") is not None
    now = preview(admin, f"{address}/cancel", {"at": "now", "reason": "Moved"})
    assert "This month’s draft goes from $29.00 to $0.00." in now.text
    page = preview(admin, f"{address}/cancel", {"at": "period_end", "reason": "Moved"})
    assert "This month’s draft stays at $29.00." in page.text
    assert "Ends on" in confirm(admin, page).text
    page = confirm(admin, admin.open(f"{address}/resume"))
    assert "goes on without an end" in page.text
    assert "Renews on" in page.text


def test_what_has_ended_cannot_be_changed(admin: Any, world: Any, plans: None) -> None:
    address = subscribed(world)
    confirm(admin, preview(admin, f"{address}/cancel", {"at": "now", "reason": "Moved"}))
    page = preview(admin, f"{address}/change", {"quantity": "5"})
    assert page.status == 409
    assert "start another one" in page.text


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("quantity", "two", "Enter a whole number"),
        ("quantity", "0", "The quantity is 1 to"),
        ("starts_at", "soon", "Enter a day"),
        ("starts_at", "1999-01-01", "The year lies between"),
        ("trial_days", "-1", "Enter a whole number"),
        ("trial_days", "4000", "A trial has 0 to"),
        ("plan", "nonsense", "Not a valid choice"),
        ("label", "x" * 101, "at most 100 characters"),
    ],
)
def test_bad_input_is_named_and_kept(
    admin: Any, world: Any, plans: None, field: str, value: str, sentence: str
) -> None:
    page = preview(admin, f"{base(world)}/subscriptions/new", START | {"quantity": "7", field: value})
    assert page.status == 422
    assert sentence in page.text
    assert page.link(start=f"#{field}") is not None
    kept = page.form(button="Preview").fields
    assert kept["quantity"] == (value if field == "quantity" else "7")
    if field != "plan":
        assert kept[field] == value


def test_a_coupon_lowers_the_draft_and_ends(admin: Any, world: Any) -> None:
    with acting(world.app), transaction():
        create_coupon("HALF", name="Half price", percent=Decimal(50))
    unknown = preview(admin, f"{base(world)}/coupons/new", {"code": "NONE"})
    assert unknown.status == 422
    assert unknown.form(button="Preview").fields["code"] == "NONE"
    assert unknown.link(start="#code") is not None
    page = preview(admin, f"{base(world)}/coupons/new", {"code": "HALF", "first_month": str(MONTH.previous)})
    assert "Last month’s draft goes from $20.00 to $10.00." in page.text
    page = confirm(admin, page)
    assert "50% off each invoice" in page.text
    assert "HALF" in admin.client.get(f"{base(world)}/coupons.csv").text
    end = page.link(start=f"{base(world)}/coupons/0")
    assert end is not None
    page = confirm(admin, preview(admin, end.href, {"last_month": str(MONTH)}))
    assert "lowers no invoice after" in page.text
    with acting(world.app):
        assert redemptions_of(organization_of(world.organization).id)[0].last_month == MONTH.first_day


def test_credit_is_granted_and_withdrawn(admin: Any, world: Any) -> None:
    values = {"kind": "promotional", "name": "Outage", "amount": "5.00", "reason": "Ticket 12"}
    page = preview(admin, f"{base(world)}/credits/new", values | {"expires_on": str(MONTH)})
    assert "Last month’s draft goes from $20.00 to $15.00." in page.text
    page = confirm(admin, page)
    assert "$5.00 of credit, “Outage”, for invoices up to" in page.text
    row = next(csv.DictReader(admin.client.get(f"{base(world)}/credits.csv").text.lstrip("\ufeff").splitlines()))
    assert (row["left"], row["by"], row["expires_on"]) == ("5.00", "admin", str(MONTH.last_day))
    withdraw = page.link(start=f"{base(world)}/credits/0")
    assert withdraw is not None
    page = confirm(admin, preview(admin, withdraw.href, {"reason": "By mistake"}))
    assert "$5.00 of “Outage” was withdrawn" in page.text
    with acting(world.app):
        assert grants_of(organization_of(world.organization).id)[0][1] == 0


def test_prepaid_credit_moves_the_amount_due(admin: Any, world: Any) -> None:
    values = {"kind": "prepaid", "name": "Order 7", "amount": "12", "reason": "Paid"}
    page = preview(admin, f"{base(world)}/credits/new", values)
    assert "Last month’s draft stays at $20.00. After credit, the amount due goes from $20.00 to $8.00." in page.text


@pytest.mark.parametrize("amount", ["", "five", "0", "1.005", "1,000,000,000"])
def test_an_amount_of_credit_that_does_not_fit_is_named(admin: Any, world: Any, amount: str) -> None:
    values = {"kind": "prepaid", "name": "Order 7", "amount": amount, "reason": "Paid"}
    page = preview(admin, f"{base(world)}/credits/new", values)
    assert page.status == 422
    assert page.link(start="#amount") is not None
    assert page.form(button="Preview").fields["amount"] == amount


def test_tax_terms_are_changed(admin: Any, world: Any) -> None:
    wrong = preview(admin, f"{base(world)}/taxes", {"treatment": "reverse_charge"})
    assert wrong.status == 422
    assert wrong.link(start="#tax_id") is not None
    page = preview(admin, f"{base(world)}/taxes", {"treatment": "reverse_charge", "tax_id": "DE123"})
    page = confirm(admin, page)
    assert "Reverse charge: the customer owes the tax" in page.text
    assert "DE123" in page.text
    assert "percent" in admin.client.get(f"{base(world)}/tax-rates.csv").text


def test_an_own_price_begins_with_the_lists_and_shows_what_it_does(admin: Any, world: Any) -> None:
    page = admin.open(f"{base(world)}/prices/new")
    page = admin.submit(page.form(button="Fill the form in"), button="Fill the form in")
    form = page.form(button="Preview")
    assert form.fields["of"] == "meter:egress"
    assert form.fields["name"] == "Egress"
    values = {"terms": "model: per_unit\nunit_amount: 0.01", "valid_from": str(MONTH.previous.first_day)}
    page = admin.submit(form, values | {"name": "Agreed"}, button="Preview")
    assert "Last month’s draft goes from $20.00 to $10.00." in page.text
    page = confirm(admin, page)
    assert "$0.01 per GB, since" in page.text
    assert "Agreed" in admin.client.get(f"{base(world)}/prices.csv").text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("match", "planet: mars"),
        ("match", "region: [a, b]"),
        ("match", "- fra"),
        ("terms", "model: magic"),
        ("valid_from", "soon"),
        ("name", ""),
    ],
)
def test_an_own_price_that_does_not_fit_is_named(admin: Any, world: Any, field: str, value: str) -> None:
    page = preview(admin, f"{base(world)}/prices/new", {"name": "Agreed", field: value})
    assert page.status == 422
    assert page.link(start=f"#{field}") is not None
    assert page.form(button="Preview").fields[field].split() == value.split()


def test_who_may_do_what(as_staff: Callable[[str], Any], world: Any, plans: None) -> None:
    subscription = subscribed(world)
    of_subscriptions = [f"{base(world)}/subscriptions/new", f"{subscription}/change", f"{subscription}/cancel"]
    of_finance = [f"{base(world)}/{part}" for part in ("credits/new", "coupons/new", "taxes")]
    of_admins = [f"{base(world)}/prices/new"]
    may = {
        "support": [],
        "billing_operations": of_subscriptions,
        "finance_lead": of_subscriptions + of_finance,
        "admin": of_subscriptions + of_finance + of_admins,
    }
    for role, allowed in may.items():
        staff = as_staff(role)
        page = staff.open(base(world))
        assert page.status == 200
        linked = {link.href for link in page.links}
        for address in of_subscriptions + of_finance + of_admins:
            assert (staff.open(address).status == 200) == (address in allowed), (role, address)
            assert (address in linked) == (address in allowed), (role, address)


def test_a_customer_finds_no_agreement(customer: FlaskClient, world: Any) -> None:
    for address in (base(world), f"{base(world)}/subscriptions/new", f"{base(world)}/credits.csv"):
        assert customer.get(address).status_code == 404


def test_what_belongs_to_another_organization_is_not_found(admin: Any, world: Any, plans: None) -> None:
    subscription = subscribed(world).rpartition("/")[2]
    with acting(world.app):
        rival = make_organization("rival").public_id
        with transaction():
            create_coupon("HALF", name="Half price", percent=Decimal(50))
    confirm(admin, preview(admin, f"{base(world)}/coupons/new", {"code": "HALF"}))
    values = {"kind": "prepaid", "name": "Order 7", "amount": "12", "reason": "Paid"}
    page = confirm(admin, preview(admin, f"{base(world)}/credits/new", values))
    own = [
        link.href
        for link in page.links
        if link.href.startswith((f"{base(world)}/coupons/0", f"{base(world)}/credits/0"))
    ]
    assert len(own) == 2
    foreign = [address.replace(str(world.organization), str(rival)) for address in own]
    foreign += [
        f"/admin/organizations/{rival}/agreement/subscriptions/{subscription}/{step}"
        for step in ("change", "cancel", "resume")
    ]
    for address in foreign:
        assert admin.open(address).status == 404, address


def test_a_change_without_a_form_token_is_refused(admin: Any, world: Any) -> None:
    assert admin.client.post(f"{base(world)}/taxes", data={"step": "confirm"}).status_code == 400


def test_an_unknown_table_is_not_found(admin: Any, world: Any) -> None:
    assert admin.open(f"{base(world)}/secrets.csv").status == 404


def test_many_subscriptions_and_prices_take_no_more_queries_than_one(admin: Any, world: Any, plans: None) -> None:
    def fill(count: int) -> int:
        for number in range(count):
            subscribed(world, label=str(number))
        with acting(world.app):
            for number in range(count):
                organization_id = organization_of(world.organization).id
                make_price(make_meter(f"m{number}"), "1", organization_id=organization_id)
        with statements(world.app) as seen:
            assert admin.open(base(world)).status == 200
        return len(seen)

    assert fill(1) == fill(30) <= 16
