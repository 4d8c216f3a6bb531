"""The customer's pages in German: all of them, whoever has chosen it, and nobody else's."""

import re
from html import unescape

import pytest
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from portal.infra.languages import TRANSLATIONS
from tests.web.conftest import MONTH, assert_flawless, post

GERMAN = {"Accept-Language": "de-DE, en;q=0.5"}
PUBLIC = ("/sign-in", "/forgot-password", "/nothing-here", "/invitation?token=x", "/reset-password?token=x")
PAGES = (
    *("/", "/usage", "/usage?period=24h", "/usage/events", "/costs", "/budgets", "/forecast", "/plans", "/payment"),
    *("/invoices", f"/invoices/draft?month={MONTH}&explain=1", f"/invoices/draft/changes?month={MONTH}"),
    *(f"/invoices/draft/log?month={MONTH}", "/invoices/{final}?explain=1", "/invoices/{final}/comparison"),
    *("/invoices/{draft}/purchase-order", "/totals", "/exports", "/settings/mail", "/settings/billing"),
    *("/settings/members", "/settings/activity", "/settings/account", "/settings/account/password"),
    *("/settings/account/email", "/settings/account/two-factors", "/settings/account/passkeys"),
    *("/settings/api-keys", "/webhooks", "/not-there"),
)
BETWEEN_TAGS = re.compile(r">([^<>]+)<|(?:aria-label|data-label|placeholder)=\"([^\"]*)\"")


@pytest.fixture(scope="module")
def english() -> set[str]:
    """Every text that is not the same in German."""
    with (TRANSLATIONS / "de" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        catalog = read_po(file, locale="de")
    return {each.id for each in catalog if each.id and isinstance(each.id, str) and each.id != each.string}


def texts(page: str) -> set[str]:
    return {unescape(text or label).strip() for text, label in BETWEEN_TAGS.findall(page)}


def test_every_page_of_a_customer_is_german_and_flawless(owner: FlaskClient, world, english):
    for address in PAGES:
        address = address.format(final=world.final, draft=world.draft)
        page = owner.get(address, headers=GERMAN)
        assert page.status_code == (404 if address == "/not-there" else 200), address
        assert '<html lang="de"' in page.text, address
        assert_flawless(page)
        # Names that people gave may be English words.
        assert texts(page.text) & english - {"owner", "developer"} == set(), address


def test_every_page_for_everybody_is_german_and_leads_to_the_other_language(client: FlaskClient, english):
    for address in PUBLIC:
        page = client.get(address, headers=GERMAN)
        assert '<html lang="de"' in page.text, address
        assert_flawless(page)
        assert texts(page.text) & english == set(), address
        assert 'href="/language/en?next=' in page.text


def test_a_link_chooses_for_this_browser_and_leads_back(client: FlaskClient):
    answer = client.get("/language/de?next=/sign-in?next%3D/usage")
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/usage")
    assert "Passwort vergessen?" in client.get("/sign-in").text
    client.get("/language/en")
    assert "Forgotten your password?" in client.get("/sign-in", headers=GERMAN).text


@pytest.mark.parametrize("target", ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example"])
def test_the_link_leads_nowhere_else(client: FlaskClient, target: str):
    assert client.get("/language/de", query_string={"next": target}).location == "/"


def test_there_is_no_other_language(client: FlaskClient):
    assert client.get("/language/xx").status_code == 404


def test_a_person_chooses_for_all_their_browsers(owner: FlaskClient, as_person):
    chosen = post(owner, "/language", page="/settings/account", language="de")
    assert chosen.location == "/settings/account"
    elsewhere = as_person("owner@acme.example")
    assert "Rechnungsentwurf" in elsewhere.get("/", headers={"Accept-Language": "en"}).text
    assert '<option value="de" lang="de" selected>Deutsch</option>' in elsewhere.get("/settings/account").text
    post(owner, "/language", page="/settings/account", language="en")
    english = owner.get(f"/invoices/draft?month={MONTH}", headers=GERMAN).text
    assert "Draft invoice" in english
    assert "$2.50" in english
    post(owner, "/language", page="/settings/account", language="")
    assert "Rechnungsentwurf" in owner.get("/", headers=GERMAN).text
    post(owner, "/language", page="/settings/account", language="xx")
    assert "Draft invoice" in owner.get("/").text


def test_a_refusal_is_in_the_readers_language_and_keeps_its_values(owner: FlaskClient):
    owner.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    refused = post(owner, "/settings/billing", page="/settings/billing", country="DE", tax_id="12")
    assert refused.status_code == 422
    assert "„12“ ist keine Umsatzsteuer-Identifikationsnummer dieses Landes: Sie beginnt mit DE" in refused.text
    missing = post(owner, "/settings/api-keys", page="/settings/api-keys", scopes="read", days="90")
    assert "Benennen Sie den Schlüssel nach der Maschine, die ihn verwendet." in missing.text
    wrong = owner.get("/usage?period=day&day=2026-02-31")
    assert "„2026-02-31“ ist kein Tag" in wrong.text
    assert "Etwas passt nicht" in wrong.text


def test_staff_and_programs_read_english(as_person, client: FlaskClient):
    staff = as_person("staff@example.com")
    page = staff.get("/admin", headers=GERMAN).text
    assert '<html lang="en"' in page
    assert "Organizations" in page
    assert '<html lang="en"' in staff.get("/settings/account", headers=GERMAN).text
    problem = client.get("/api/v1/usage", headers=GERMAN)
    assert problem.json["title"] == "Say who you are"


def test_what_was_done_is_said_in_german_and_kept_in_english(owner: FlaskClient):
    owner.environ_base["HTTP_ACCEPT_LANGUAGE"] = "de"
    post(owner, "/settings/mail", page="/settings/mail")
    assert "Sie erhalten keine Mails über Rechnungen mehr." in owner.get("/settings/mail").text
    page = "/settings/billing"
    assert post(owner, page, page=page, legal_name="Acme GmbH", country="DE", language="de").status_code == 303
    assert "Hat die Rechnungsangaben geändert" in owner.get("/settings/activity").text
    assert "changed billing details" in owner.get("/settings/activity.csv").text
