"""Which language a reader gets, and what may stand in its texts."""

import pytest
from flask import Flask, g, render_template_string

from portal.core.saying import Said
from portal.infra import languages, pages
from portal.infra.formats import day, days, money, wait_words
from portal.infra.languages import _, current_language, ngettext, prefer, speak_english, speaking, told
from tests.infra.test_formats import PAPER, date, datetime


@pytest.fixture
def writing() -> Flask:
    """An application that only writes templates, as all of the portal's do."""
    app = Flask(__name__)
    app.jinja_env.finalize = pages._shown
    languages.init_app(app)
    return app


@pytest.mark.parametrize(
    ("path", "asked", "chosen", "own", "language"),
    [
        ("/", "", None, None, "en"),
        ("/", "de", None, None, "de"),
        ("/", "DE-ch, en;q=0.5", None, None, "de"),
        ("/", "en, de;q=0.9", None, None, "en"),
        ("/", "fr, de;q=0.9, en;q=0.8", None, None, "de"),
        ("/", "fr, ja", None, None, "en"),
        ("/", "de;q=0, ../../etc/passwd", None, None, "en"),
        ("/", "en", "de", None, "de"),
        ("/", "de", "en", None, "en"),
        ("/", "de", "xx", None, "de"),
        ("/", "en", "en", "de", "de"),
        ("/", "de", "de", "en", "en"),
        ("/", "de", None, "xx", "de"),
        ("/invoices.csv", "de", "de", "de", "en"),
        ("/api/v1/usage", "de", "de", "de", "en"),
        ("/webhooks/stripe", "de", "de", None, "en"),
        ("/webhooks/0190/rotate", "de", None, None, "de"),
        ("/admin", "de", "de", None, "en"),
        ("/admin/invoices", "de", "de", None, "en"),
    ],
)
def test_who_has_chosen_comes_before_what_the_browser_asks_for(path, asked, chosen, own, language):
    cookie = f"{languages.COOKIE}={chosen}" if chosen else ""
    with PAPER.test_request_context(path, headers={"Accept-Language": asked, "Cookie": cookie}):
        prefer(own)
        assert current_language() == language


@pytest.mark.parametrize(
    ("asked", "own", "amount"),
    [
        ("de-CH", None, "$\u00a01’234.50"),
        ("de-CH", "de", "$\u00a01’234.50"),
        ("fr", None, "1\u202f234,50\u00a0$US"),
        ("fr", "de", "1.234,50\u00a0$"),
        ("fr", "en", "$1,234.50"),
        ("de", "en", "$1,234.50"),
        ("en-GB, de", "en", "US$1,234.50"),
    ],
)
def test_numbers_agree_with_the_words_that_were_chosen(asked, own, amount):
    with PAPER.test_request_context(headers={"Accept-Language": asked}):
        prefer(own)
        assert money(123450, "USD") == amount


def test_staff_read_english_words_with_the_numbers_of_their_browser():
    with PAPER.test_request_context(headers={"Accept-Language": "de"}):
        speak_english()
        assert (_("Invoices"), money(123450, "USD")) == ("Invoices", "1.234,50\u00a0$")


def test_periods_and_waits_are_whole_in_german():
    with PAPER.app_context(), speaking("de"):
        assert days(date(2026, 10, 1), date(2026, 10, 31)) == "1.–31.\u2009Okt. 2026, UTC".replace("\u2009", " ")
        assert days(date(2026, 10, 1), date(2026, 10, 1)) == "1. Okt. 2026, UTC"
        assert day(datetime(2026, 3, 5, 23)) == "5. März 2026"
        assert [wait_words(seconds) for seconds in (1, 40, 61)] == ["1 Sekunde", "40 Sekunden", "2 Minuten"]


def test_a_mail_is_in_one_language_and_what_comes_after_it_is_not():
    with PAPER.app_context():
        with speaking("de"):
            assert (_("Invoices"), money(5, "USD")) == ("Rechnungen", "0,05\u00a0$")
            with speaking(None):
                assert _("Invoices") == "Invoices"
            assert _("Invoices") == "Rechnungen"
        assert (_("Invoices"), money(5, "USD"), "language" in g) == ("Invoices", "$0.05", False)


def test_a_language_that_is_no_more_is_english():
    with PAPER.app_context(), speaking("xx"):
        assert _("Invoices") == "Invoices"


def test_values_and_numbers_stand_in_the_texts():
    with PAPER.app_context(), speaking("de"):
        assert _("Pay %(amount)s", amount="5 €") == "5 € zahlen"
        assert _("Warns at (%)") == "Warnt bei (%)"
        assert [ngettext("%(num)s second", "%(num)s seconds", each) for each in (1, 2)] == ["1 Sekunde", "2 Sekunden"]
        assert _("a text that nobody has translated: %(what)s", what=1) == "a text that nobody has translated: 1"


def test_what_was_said_is_told_with_what_was_said_in_it():
    inner = Said("An address")
    with PAPER.app_context(), speaking("de"):
        assert told(Said("%(what)s has at most %(longest)s characters.", what=inner, longest=5)) == (
            "Eine Adresse hat höchstens 5 Zeichen."
        )
        assert told("An address") == "An address"


def test_a_template_tells_what_was_said_and_escapes_every_value(writing):
    name = "<b>\u202eAcme"
    source = (
        "{{ said }}|{{ [said] | map('told') | join }}|{{ _('Pay %(amount)s', amount=name) }}"
        "|{% trans organization=name %}Join {{ organization }}{% endtrans %}"
        "|{% trans count=2 %}and {{ count }} more{% endtrans %}"
    )
    with writing.test_request_context(headers={"Accept-Language": "de"}):
        written = render_template_string(source, said=Said("Pay %(amount)s", amount="<5"), name=name)
    shown = "&lt;b&gt;[U+202E]Acme"
    assert written == f"&lt;5 zahlen|&lt;5 zahlen|{shown} zahlen|{shown} beitreten|und 2 weitere"
