"""Filters that people keep of lists: under a name, for themselves, and without anything that is no choice."""

from typing import Any

import pytest

from tests.factories import acting, sql

STATES = "/admin/invoices?month=&state=draft&after=2026-01-01%7C9"


def saved(app: Any) -> list[tuple[str, str, str]]:
    with acting(app):
        return [tuple(row) for row in sql("SELECT page, name, query FROM saved_filters ORDER BY name")]


def links_of(page: Any) -> list[tuple[str, str]]:
    return [(link.href, link.label.strip()) for link in page.links]


def keep(admin: Any, name: str, address: str = STATES) -> Any:
    page = admin.open(address)
    return admin.submit(page.form(button="Save this filter"), {"name": name}, button="Save this filter")


def test_a_filter_is_kept_without_the_place_in_the_list_and_found_again(app: Any, admin: Any, world: Any) -> None:
    assert "Save this filter" not in admin.open("/admin/invoices").text
    back = keep(admin, " All   drafts ")
    assert saved(app) == [("admin_invoices.index", "All drafts", "state=draft")]
    assert (back.url, "Forget the filter “All drafts”" in back.text) == ("/admin/invoices?state=draft", True)
    assert ("/admin/invoices?state=draft", "All drafts") in links_of(admin.open("/admin/invoices"))
    assert "All drafts" not in admin.open("/admin/mails").text
    # The same name again is the filter of now.
    keep(admin, "All drafts", "/admin/invoices?state=void")
    assert saved(app) == [("admin_invoices.index", "All drafts", "state=void")]
    forget = "Forget the filter “All drafts”"
    gone = admin.submit(admin.open("/admin/invoices?state=void").form(button=forget), button=forget)
    assert "All drafts" not in gone.text
    assert saved(app) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("   ", "Give the filter a name of up to 60 characters."), ("x" * 61, "Give the filter a name of up to 60")],
)
def test_a_name_that_does_not_fit_is_refused_in_words(
    app: Any, admin: Any, world: Any, name: str, sentence: str
) -> None:
    assert sentence in keep(admin, name).text
    assert saved(app) == []


def test_there_are_at_most_twenty_of_a_page(app: Any, admin: Any, world: Any) -> None:
    with acting(app):
        sql(
            "INSERT INTO saved_filters SELECT id, 'admin_invoices.index', 'n' || n, 'state=draft'"
            " FROM users CROSS JOIN generate_series(1, 20) AS n WHERE staff_role IS NOT NULL"
        )
    assert "There are 20 already." in keep(admin, "one more", "/admin/invoices?state=void").text


def test_nobody_is_led_elsewhere(admin: Any, world: Any) -> None:
    form = {"page": "session.sign_out", "name": "x", "query": "next=https://evil.example"}
    token = admin.open(STATES).form(button="Save this filter").fields["csrf_token"]
    assert admin.client.post("/admin/filters", data=form | {"csrf_token": token}).status_code == 422
    form |= {"page": "admin_mails.index", "query": "next=//evil.example&state=", "csrf_token": token}
    assert admin.client.post("/admin/filters", data=form).location == "/admin/mails"
