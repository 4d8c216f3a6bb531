"""Numbers and money in every locale that we have; files and programs never see a locale."""

import ast
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from portal.core.currencies import EXPONENTS
from portal.core.exact import EXACT
from portal.infra import formats
from portal.infra.db import transaction
from portal.infra.formats import LOCALES, MINUS, amount, compact, days, money, month_name, quantity, unit_amount
from portal.organizations.people import add_member, create_user
from portal.organizations.sessions import sign_in
from portal.signed_in import cookie_name
from tests.factories import acting, add, finalize_now, make_draft, make_meter, make_organization, make_price, use

PORTAL = Path(__file__).parents[2] / "portal"
D = Decimal
EMAIL, PASSWORD = "owner@acme.example", "only for tests, long"
PAPER = Flask(__name__)


def written(language: str, write: Callable[..., str], *values: Any) -> str:
    """What a person whose browser asks for this language reads; the unbreakable spaces as plain ones."""
    with PAPER.test_request_context(headers={"Accept-Language": language}):
        return write(*values).replace("\u00a0", " ").replace("\u202f", " ").replace(MINUS, "-")


@pytest.mark.parametrize(
    ("language", "dollars", "credit", "yen", "dinars", "francs", "rupees"),
    [
        ("en-US", "$1,234.50", "-€1,234.50", "¥1,234", "KWD 1,234.567", "-CHF 1,234,567.89", "₹1,234,567.89"),
        ("en-GB", "US$1,234.50", "-€1,234.50", "JP¥1,234", "KWD 1,234.567", "-CHF 1,234,567.89", "₹1,234,567.89"),
        ("de-DE", "1.234,50 $", "-1.234,50 €", "1.234 ¥", "1.234,567 KWD", "-1.234.567,89 CHF", "1.234.567,89 ₹"),
        ("de-CH", "$ 1’234.50", "EUR-1’234.50", "¥ 1’234", "KWD 1’234.567", "CHF-1’234’567.89", "₹ 1’234’567.89"),
        ("fr-FR", "1 234,50 $US", "-1 234,50 €", "1 234 JPY", "1 234,567 KWD", "-1 234 567,89 CHF", "1 234 567,89 ₹"),
        ("es-ES", "1.234,50 US$", "-1.234,50 €", "1.234 JPY", "1.234,567 KWD", "-1.234.567,89 CHF", "1.234.567,89 INR"),
        ("it-IT", "1.234,50 USD", "-1.234,50 €", "1.234 JPY", "1.234,567 KWD", "-1.234.567,89 CHF", "1.234.567,89 INR"),
        ("nl-NL", "US$ 1.234,50", "€ -1.234,50", "JP¥ 1.234", "KWD 1.234,567", "CHF -1.234.567,89", "₹ 1.234.567,89"),
        ("ja-JP", "$1,234.50", "-€1,234.50", "￥1,234", "KWD 1,234.567", "-CHF 1,234,567.89", "₹1,234,567.89"),
        ("pt-BR", "US$ 1.234,50", "-€ 1.234,50", "JP¥ 1.234", "KWD 1.234,567", "-CHF 1.234.567,89", "₹ 1.234.567,89"),
        ("sv-SE", "1 234,50 US$", "-1 234,50 €", "1 234 JPY", "1 234,567 KWD", "-1 234 567,89 CHF", "1 234 567,89 INR"),
        ("pl-PL", "1 234,50 USD", "-1 234,50 €", "1 234 JPY", "1 234,567 KWD", "-1 234 567,89 CHF", "1 234 567,89 INR"),
        ("hi-IN", "$1,234.50", "-€1,234.50", "JP¥1,234", "KWD 1,234.567", "-CHF 12,34,567.89", "₹12,34,567.89"),
    ],
)
def test_money_is_written_as_the_locale_writes_it(language, dollars, credit, yen, dinars, francs, rupees):
    amounts = [
        (123450, "USD"),
        (-123450, "EUR"),
        (1234, "JPY"),
        (1234567, "KWD"),
        (-123456789, "CHF"),
        (123456789, "INR"),
    ]
    assert [written(language, money, *each) for each in amounts] == [dollars, credit, yen, dinars, francs, rupees]


def test_the_table_has_every_locale():
    marks = test_money_is_written_as_the_locale_writes_it.pytestmark
    assert [row[0] for row in marks[0].args[1]] == list(LOCALES)


@pytest.mark.parametrize(
    ("language", "price", "used", "column", "short", "shorter"),
    [
        ("en-US", "$0.0000008", "-1,234,567.000000000001", "1,234.50", "2.5M", "25K"),
        ("de-DE", "0,0000008 $", "-1.234.567,000000000001", "1.234,50", "2,5 Mio.", "25.000"),
        ("de-CH", "$ 0.0000008", "-1’234’567.000000000001", "1’234.50", "2.5 Mio.", "25’000"),
        ("fr-FR", "0,0000008 $US", "-1 234 567,000000000001", "1 234,50", "2,5 M", "25 k"),
        ("ja-JP", "$0.0000008", "-1,234,567.000000000001", "1,234.50", "250万", "2.5万"),
        ("hi-IN", "$0.0000008", "-12,34,567.000000000001", "1,234.50", "25 लाख", "25 हज़ार"),
    ],
)
def test_prices_and_quantities_keep_all_their_digits(language, price, used, column, short, shorter):
    assert written(language, unit_amount, "8E-7", "USD") == price
    assert written(language, quantity, D("-1234567.000000000001")) == used
    assert written(language, amount, 123450, "USD") == column
    assert [written(language, compact, D(each)) for each in (2_500_000, 25_000)] == [short, shorter]


@pytest.mark.parametrize(
    ("value", "currency", "text"),
    [
        ("0.5", "USD", "$0.50"),
        ("29", "JPY", "¥29"),
        ("0.5", "JPY", "¥0.5"),
        ("-0", "USD", "$0.00"),
        ("1E+3", "KWD", "KWD 1,000.000"),
    ],
)
def test_a_unit_price_has_at_least_the_currencys_decimals(value, currency, text):
    assert written("en", unit_amount, value, currency) == text


def test_a_credit_has_a_real_minus_sign():
    assert money(-5, "USD") == "\u2212$0.05"
    assert amount(-5, "USD") == "\u22120.05"
    assert quantity("-0.5") == "\u22120.5"


@pytest.mark.parametrize("language", LOCALES)
def test_no_size_and_no_currency_loses_a_digit(language):
    """Far beyond what a float or Babel's own table of decimals would keep."""
    minor = 98765432109876543210987654321098765432101
    for currency in EXPONENTS:
        for write in (money, amount):
            for sign in (1, -1):
                text = written(language, write, sign * minor, currency)
                assert "".join(filter(str.isdigit, text)) == str(minor)
                assert text.count("-") == (sign < 0)
        price = written(language, unit_amount, D(minor).scaleb(-50, EXACT), currency)
        assert "".join(filter(str.isdigit, price)).lstrip("0") == str(minor)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("", "$1,234.50"),
        ("de", "1.234,50 $"),
        ("de-AT", "1.234,50 $"),
        ("DE-ch", "$ 1’234.50"),
        ("en-AU, de;q=0.9", "$1,234.50"),
        ("xx, de;q=0.5, en;q=0.4", "1.234,50 $"),
        # The words are German then, because there are no French ones.
        ("de;q=0.5, fr;q=0.8", "1.234,50 $"),
        ("de;q=0, fr;q=0.1", "1 234,50 $US"),
        ("*", "$1,234.50"),
        ("ar-EG", "$1,234.50"),
        ("pt-PT", "US$ 1.234,50"),
        ("../../etc/passwd, ;;q=x", "$1,234.50"),
    ],
)
def test_the_browser_chooses_among_the_locales_that_there_are(asked, text):
    assert written(asked, money, 123450, "USD") == text


def test_outside_a_request_it_is_american_english():
    assert money(123450, "USD") == "$1,234.50"
    with PAPER.app_context():
        assert money(123450, "USD") == "$1,234.50"


@pytest.mark.parametrize(
    "path", ["/usage.csv", "/invoices/1.json", "/invoices/1.pdf", "/invoices/year-2026.zip", "/api/v1/estimates"]
)
def test_for_a_file_or_a_program_it_is_american_english_whatever_is_asked(path):
    with PAPER.test_request_context(path, headers={"Accept-Language": "de"}):
        assert money(123450, "USD") == "$1,234.50"


def test_dates_are_in_the_language_of_the_words():
    assert written("de", month_name, date(2026, 10, 1)) == "Oktober 2026"
    assert written("de", formats.moment, datetime(2026, 11, 22, 14, 32, tzinfo=UTC)) == "22. Nov. 2026, 14:32 UTC"
    assert written("en", days, date(2026, 10, 1), date(2026, 10, 31)) == "1\u201331 Oct 2026, UTC"
    assert written("ja", formats.moment, datetime(2026, 11, 22, 14, 32, tzinfo=UTC)) == "22 Nov 2026, 14:32 UTC"


@pytest.mark.parametrize("room", ["core", "organizations", "usage", "invoicing", "payments", "api"])
def test_what_is_stored_or_answered_to_a_program_is_never_written_by_locale(room):
    users = [
        path.name
        for path in (PORTAL / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and "portal.infra.formats" in (node.module, *(f"{node.module}.{each.name}" for each in node.names))
    ]
    # What is printed is written out for people, in a file, and a file is never by locale (above).
    assert set(users) <= {"printed.py", "printed_notes.py"}


@pytest.fixture
def final(app: Flask, clean_database: None) -> UUID:
    """Acme's final invoice of September; the draft of October comes to $1,234.50 too."""
    with acting(app):
        acme, meter = make_organization("acme"), make_meter()
        make_price(meter)
        use(acme, meter, 123_450)
        september = make_draft(acme, make_draft(acme).month.previous)
        add(september, "1234.5", "Help")
        finalize_now(september)
        with transaction():
            add_member(create_user(email=EMAIL, name="Owner", password=PASSWORD), acme, "owner")
        return september.public_id


@pytest.fixture
def owner(app: Flask, final: UUID) -> FlaskClient:
    """The browser of Acme's owner."""
    client = app.test_client()
    with acting(app), transaction():
        token = sign_in(EMAIL, PASSWORD, now=datetime.now(UTC), days=1, address=None, user_agent=None)
        client.set_cookie(cookie_name(), token)
    return client


def test_a_page_follows_the_browser_and_says_that_it_varies(owner: FlaskClient):
    page = "/invoices/draft?month=2026-10&explain=1"
    german = owner.get(page, headers={"Accept-Language": "de, en;q=0.5"})
    assert "1.234,50\u00a0$" in german.text
    assert "$1,234.50" not in german.text
    assert "Oktober 2026" in german.text
    assert 'data-total-minor="123450"' in german.text
    plain = owner.get(page)
    assert "$1,234.50" in plain.text
    for answer in (german, plain):
        assert "Accept-Language" in answer.headers["Vary"]


def test_the_picture_of_the_costs_follows_the_browser_too(owner: FlaskClient):
    german = owner.get("/usage?month=2026-10", headers={"Accept-Language": "de"}).text
    assert "123.450 second" in german
    assert "123,450" not in german


@pytest.mark.parametrize(
    "address",
    [
        "/invoices/draft.csv?month=2026-10",
        "/invoices.csv",
        "/usage.csv?month=2026-10",
        "/plans/prices.csv",
        "/invoices/{final}.csv",
        "/invoices/{final}.json",
    ],
)
def test_a_file_is_the_same_for_everybody(owner: FlaskClient, final: UUID, address: str):
    address = address.format(final=final)
    german, plain = owner.get(address, headers={"Accept-Language": "de"}), owner.get(address)
    assert german.status_code == 200
    assert german.data == plain.data
    assert "Accept-Language" not in german.headers.get("Vary", "")


def test_an_answer_to_a_program_is_the_same_for_everybody(client: FlaskClient):
    german, plain = client.post("/api/v1/events", headers={"Accept-Language": "de"}), client.post("/api/v1/events")
    assert german.status_code == plain.status_code == 401
    assert "Accept-Language" not in german.headers.get("Vary", "")
