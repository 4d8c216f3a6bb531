"""Which pages `dev.py demo --screenshots` takes: one of each kind, of the portal only, as one person of each role."""

import pytest

from devkit.pictures import one_login_per_role, page_name, page_path

PORTAL = "http://127.0.0.1:5080"
ONE, OTHER = "0190a3c4-0000-7000-8000-000000000001", "0190a3c4-0000-7000-8000-000000000002"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "home"),
        ("/invoices", "invoices"),
        (f"/invoices/{ONE}", "invoices-one"),
        ("/invoices/draft?explain=1", "invoices-draft-explain"),
    ],
)
def test_a_picture_is_named_after_its_path(path, name):
    assert page_name(path) == name


def test_pages_that_differ_by_an_id_are_one_kind():
    assert page_name(f"/admin/runs/{ONE}/finalize") == page_name(f"/admin/runs/{OTHER}/finalize")


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("/usage?month=2026-01", "/usage"),
        ("draft", "/invoices/draft"),
        ("draft?month=2026-01&explain=2#line-2", "/invoices/draft?month=2026-01&explain=2"),
        (f"{PORTAL}/plans#prices", "/plans"),
        ("/costs.csv", None),
        (f"/invoices/{ONE}.pdf", None),
        ("https://example.com/usage", None),
        ("mailto:help@example.com", None),
    ],
)
def test_only_pages_of_the_portal_are_followed(href, path):
    assert page_path(PORTAL, "/invoices/list", href) == path


def test_the_first_person_of_each_role_is_taken():
    logins = [{"email": "a", "role": "owner"}, {"email": "b", "role": "owner"}, {"email": "c", "role": "admin"}]
    assert {role: login["email"] for role, login in one_login_per_role(logins).items()} == {"owner": "a", "admin": "c"}
