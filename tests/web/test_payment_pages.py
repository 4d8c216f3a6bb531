"""The page of how invoices are paid: what it says, who may act, and where its forms lead."""

import sys
from dataclasses import replace

import pytest
from sqlalchemy.exc import ProgrammingError

from portal.infra.db import tenant, transaction
from portal.organizations.people import add_member, create_user
from portal.organizations.queries import ids_by_slug, organization_by_id
from portal.payments import gateway
from portal.payments.opening import Page, PageNotOpened
from tests.factories import acting, sql
from tests.web.conftest import PASSWORD, assert_flawless, post

CHECKOUT = "https://checkout.stripe.com/c/pay/cs_1"


@pytest.fixture
def opened(monkeypatch):
    """What was asked of Stripe; only the network is left out, tests/payments has that."""
    asked = []

    def open_page(organization_id, page):
        asked.append((organization_id, page))
        return CHECKOUT

    monkeypatch.setattr(sys.modules["portal.web.payment"], "open_page", open_page)
    return asked


@pytest.fixture
def acme(app, world):
    with acting(app):
        return ids_by_slug({"acme"})["acme"]


def keep_card(app, organization_id):
    with acting(app):
        sql(
            "INSERT INTO payment_methods VALUES (:id, 'pm_1', 'card', 'visa', '4242', 12, 2030, now())",
            id=organization_id,
        )


def test_the_page_says_how_invoices_are_paid(app, owner, acme):
    page = owner.get("/payment")
    assert_flawless(page)
    assert "You pay each invoice within 14 days." in page.text
    assert "None is set up." in page.text
    keep_card(app, acme)
    with acting(app), transaction():
        organization_by_id(acme).collection_method = "charge_automatically"
    page = owner.get("/payment")
    assert_flawless(page)
    assert "Each invoice is charged automatically to Visa •••• 4242, expires 12/2030." in page.text
    assert "Set up another payment method" in page.text


def test_the_buttons_lead_to_stripe(owner, acme, opened):
    for path, page in (("setup", Page.SETUP), ("portal", Page.PORTAL)):
        answer = post(owner, f"/payment/{path}", page="/payment")
        assert (answer.status_code, answer.location) == (303, CHECKOUT)
        assert opened.pop() == (acme, page)


def test_the_policy_lets_the_forms_of_this_page_and_of_no_other_lead_to_stripe(app, owner, monkeypatch):
    monkeypatch.setitem(app.config, "SETTINGS", replace(app.config["SETTINGS"], stripe_api_base=None))
    policy = owner.get("/payment").headers["Content-Security-Policy"]
    assert f"form-action 'self' {' '.join(gateway.STRIPE_PAGES)};" in policy
    assert "form-action 'self';" in owner.get("/invoices").headers["Content-Security-Policy"]


def test_a_form_without_its_token_asks_stripe_nothing(owner, opened):
    assert owner.post("/payment/setup").status_code == 400
    assert opened == []


def test_who_only_looks_sees_the_page_without_buttons(app, as_person, world, acme, opened):
    with acting(app), transaction():
        viewer = create_user(email="viewer@acme.example", name="viewer", password=PASSWORD)
        add_member(viewer, organization_by_id(acme), "viewer")
    browser = as_person("viewer@acme.example")
    page = browser.get("/payment")
    assert_flawless(page)
    assert "Owners and billing" in page.text
    assert "/payment/setup" not in page.text
    assert post(browser, "/payment/setup", page="/payment").status_code == 404
    assert as_person("developer@acme.example").get("/payment").status_code == 404
    assert opened == []


def test_another_organizations_card_is_not_shown(app, owner, world):
    with acting(app):
        rival = ids_by_slug({"rival"})["rival"]
    keep_card(app, rival)
    assert "4242" not in owner.get("/payment").text


def test_while_stripe_does_not_answer_the_page_says_so(owner, monkeypatch):
    def refuse(*_):
        raise PageNotOpened("Stripe does not answer just now.")

    monkeypatch.setattr(sys.modules["portal.web.payment"], "open_page", refuse)
    page = post(owner, "/payment/setup", page="/payment")
    assert_flawless(page)
    assert page.status_code == 503
    assert "Stripe does not answer just now." in page.text
    assert "Set up a payment method" in page.text


@pytest.mark.parametrize(("back", "says"), [("kept", "Stripe keeps"), ("cancelled", "Nothing was"), ("x", None)])
def test_who_comes_back_is_told_what_happens(owner, back, says):
    page = owner.get(f"/payment?back={back}")
    assert_flawless(page)
    assert ("Look again" in page.text) is (says is not None)
    assert says is None or says in page.text


def test_a_tenant_cannot_write_its_own_card(app, acme):
    with acting(app, tenant(acme)), pytest.raises(ProgrammingError, match="permission denied"):
        sql("INSERT INTO payment_methods (organization_id, read_at) VALUES (:id, now())", id=acme)
