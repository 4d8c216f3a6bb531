"""Admins add staff, change roles, disable accounts and sign people out; an admin is always left."""

import pytest

from portal.infra.db import transaction
from portal.organizations.people import create_user, user_by_email
from portal.organizations.sessions import SignInRefused, sign_in
from tests.admin.conftest import PASSWORD
from tests.factories import NOW, acting, sql

NEW = {"name": "Ada Example", "email": "ada@staff.example", "role": "finance_lead", "confirm": PASSWORD}


@pytest.fixture
def colleague(app, world) -> str:
    """Somebody of the support, and their address."""
    with acting(app), transaction():
        user = create_user(email="sue@staff.example", name="Sue", password=PASSWORD, staff_role="support")
        return f"/admin/staff/{user.public_id}"


def press(browser, address: str, button: str, **values: str):
    [form] = [each for each in browser.open(address).forms if each.button(button)]
    return browser.submit(form, {"confirm": PASSWORD} | values, button=button)


def test_a_new_colleague_gets_a_link_and_can_sign_in_after_setting_a_password(app, admin):
    page = press(admin, "/admin/staff", "Add to the staff", **NEW)
    assert "ada@staff.example is on the staff" in page.text
    with acting(app):
        assert user_by_email("ada@staff.example").staff_role == "finance_lead"
        assert sql("SELECT kind, address FROM account_letters") == [("reset_password", "ada@staff.example")]
    assert "ada@staff.example,finance_lead" in admin.client.get("/admin/staff.csv").text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": " "}, "Enter the person’s name."),
        ({"email": "ada"}, "That is not an e-mail address."),
        ({"email": "Admin@Example.com"}, "There is already a user with this e-mail address."),
    ],
)
def test_what_does_not_fit_is_said(app, admin, values, sentence):
    page = press(admin, "/admin/staff", "Add to the staff", **NEW | values)
    assert page.status == 422
    assert sentence.replace("’", "'") in page.text.replace("’", "'")
    with acting(app):
        assert user_by_email("ada@staff.example") is None


def test_without_showing_who_one_is_nothing_happens(app, admin, colleague):
    with acting(app):
        sql("UPDATE sessions SET confirmed_at = now() - interval '1 hour'")
    assert press(admin, "/admin/staff", "Add to the staff", **NEW | {"confirm": "wrong password"}).status == 422
    assert press(admin, colleague, "Change the role", role="admin", confirm="wrong password").status == 422
    with acting(app):
        assert user_by_email("ada@staff.example") is None
        assert user_by_email("sue@staff.example").staff_role == "support"


def test_a_role_is_changed_and_written_down(app, admin, colleague):
    assert "The role is changed." in press(admin, colleague, "Change the role", role="finance_lead").text
    with acting(app):
        assert sql("SELECT before, after FROM audit_entries WHERE action = 'changed a staff role'") == [
            ({"role": "support"}, {"role": "finance_lead"})
        ]


def test_a_disabled_account_is_out_at_once_and_comes_back(app, admin, as_staff, colleague):
    support = as_staff("support")
    page = press(admin, colleague, "Sign out everywhere")
    assert "They were not signed in anywhere." in page.text
    assert "signed out everywhere" in press(admin, colleague, "Disable the account").text
    with acting(app), transaction(), pytest.raises(SignInRefused):
        sign_in("sue@staff.example", PASSWORD, now=NOW, days=1, address=None, user_agent=None)
    assert "The account works again." in press(admin, colleague, "Enable the account").text
    assert support.open("/admin").status == 200


def test_an_admin_is_always_left_and_nobody_changes_themselves(app, admin):
    with acting(app):
        [(mine,)] = sql("SELECT public_id FROM users WHERE staff_role = 'admin'")
    assert "This is you." in admin.open(f"/admin/staff/{mine}").text
    token = admin.open("/admin/staff").forms[-1].fields["csrf_token"]
    data = {"do": "disable", "csrf_token": token, "confirm": PASSWORD}
    answer = admin.client.post(f"/admin/staff/{mine}", data=data)
    assert answer.status_code == 422
    assert "Ask another admin" in answer.text


def test_others_see_no_such_page(as_staff, colleague):
    finance = as_staff("finance_lead")
    assert finance.open("/admin/staff").status == 404
    assert finance.open(colleague).status == 404
