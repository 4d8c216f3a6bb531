"""Getting in and out, and what a person chooses for themselves."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from tests.web.conftest import World, assert_flawless, post, sign_in

SESSION = "portal_session="


def test_a_customer_lands_on_the_overview_with_a_guarded_cookie(client: FlaskClient, world: World):
    answer = sign_in(client, "owner@acme.example")
    cookie = next(each for each in answer.headers.getlist("Set-Cookie") if each.startswith(SESSION))
    assert (answer.status_code, answer.location) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert client.get("/").status_code == 200


def test_staff_land_on_their_own_start_page(client: FlaskClient, world: World):
    sign_in(client, "staff@example.com")
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (303, "/admin")


@pytest.mark.parametrize(("email", "password"), [("owner@acme.example", "wrong"), ("nobody@acme.example", "wrong")])
def test_a_wrong_password_and_an_unknown_address_get_the_same_sentence(
    client: FlaskClient, world: World, email: str, password: str
):
    answer = sign_in(client, email, password)
    assert answer.status_code == 422
    assert "This e-mail address and password do not belong together." in answer.text
    assert f'value="{email}"' in answer.text
    assert password not in answer.text
    assert answer.text.count("<title>Error: ") == 1
    assert_flawless(answer)


def test_empty_fields_are_named_and_linked(client: FlaskClient, world: World):
    answer = sign_in(client, "", "")
    assert answer.status_code == 422
    assert '<a href="#email">Enter your e-mail address.</a>' in answer.text
    assert 'aria-describedby="password-error"' in answer.text
    assert_flawless(answer)


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/usage?month=2026-10", "/usage?month=2026-10"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("javascript:alert(1)", "/"),
        ("/\t/evil.example", "/"),
    ],
)
def test_signing_in_never_leads_to_another_site(client: FlaskClient, world: World, target: str, goes_to: str):
    assert sign_in(client, "owner@acme.example", next=target).location == goes_to


def test_a_page_that_needs_signing_in_comes_back_afterwards(client: FlaskClient, world: World):
    answer = client.get("/usage?month=2026-10")
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/usage?month%3D2026-10")


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(owner: FlaskClient):
    copy = owner.get_cookie("portal_session")
    assert copy is not None
    assert post(owner, "/sign-out", page="/").location == "/sign-in"
    owner.set_cookie("portal_session", copy.value)
    assert owner.get("/").status_code == 303


def test_the_theme_is_remembered_and_an_unknown_one_is_not(owner: FlaskClient):
    assert post(owner, "/theme", page="/", theme="dark", next="/usage").location == "/usage"
    assert post(owner, "/theme", page="/", theme="pink").location == "/"
    assert 'data-bs-theme="dark"' in owner.get("/").text


def test_nobody_looks_at_an_organization_that_they_do_not_belong_to(owner: FlaskClient):
    assert post(owner, "/organization", page="/", slug="rival").status_code == 404
    assert post(owner, "/organization", page="/", slug="acme").location == "/"


def test_a_form_without_its_token_is_refused(client: FlaskClient, world: World):
    answer = client.post("/sign-in", data={"email": "owner@acme.example", "password": "x"})
    assert answer.status_code == 400
    assert_flawless(answer)


def test_a_developer_sees_usage_and_no_invoices(as_person: Callable[[str], FlaskClient], world: World):
    developer = as_person("developer@acme.example")
    overview = developer.get("/")
    assert overview.status_code == developer.get("/usage").status_code == 200
    assert "/invoices" not in overview.text
    assert developer.get("/invoices").status_code == developer.get(f"/invoices/{world.final}").status_code == 404
