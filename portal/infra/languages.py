"""The languages of the words on pages and in mails: which there are, whose is which, and texts in them.

English is what the code and the templates are written in. Every other language is a catalog in translations/, read
when it is needed for the first time: there is no step of building. Files and answers to programs are English.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any, cast

from babel import Locale, negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from flask import Flask, g, has_app_context, has_request_context, request
from jinja2 import pass_eval_context
from jinja2.nodes import EvalContext
from markupsafe import Markup

from portal.core.saying import Said
from portal.core.visible import visible

TRANSLATIONS = Path(__file__).resolve().parents[2] / "translations"
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(each.parts[-3] for each in TRANSLATIONS.glob("*/LC_MESSAGES/messages.po")))
COOKIE = "portal_language"
_FOR_PROGRAMS_OR_STAFF = re.compile(r"/api(/(?!docs$).*)?|/admin(/.*)?|/webhooks/stripe.*|.*\.[a-z]+")


@cache
def language_name(language: str) -> str:
    """A language as those who speak it call it: Deutsch."""
    return str(Locale(language).get_display_name() or language).capitalize()


def prefer(language: str | None) -> None:
    """Answer this request in a person's own language, whatever the browser asks for; None leaves it to the browser."""
    g.preferred_language = language if language in LANGUAGES else None


def speak_english() -> None:
    """Answer this request in English; numbers follow the browser all the same."""
    g.language = ENGLISH


def current_language() -> str:
    """The language of this answer or mail; English where nobody has chosen or asked for one that there is."""
    if not has_app_context():
        return ENGLISH
    if "language" not in g:
        if not has_request_context() or _FOR_PROGRAMS_OR_STAFF.fullmatch(request.path):
            return ENGLISH
        asked = [tag for tag, quality in request.accept_languages if quality]
        found = negotiate_locale(asked, LANGUAGES, sep="-", aliases={})
        g.language = _chosen() or (found.lower() if found else ENGLISH)
    return cast(str, g.language)


def rules_numbers() -> bool:
    """Whether numbers and dates follow the language of the words, and not the browser's wishes beyond it."""
    return current_language() != ENGLISH or (has_request_context() and _chosen() == ENGLISH)


@contextmanager
def speaking(language: str | None) -> Iterator[None]:
    """Write in this language meanwhile; numbers, money and dates too. What is not a language here is English."""
    before = {name: g.pop(name, None) for name in ("language", "locale")}
    g.language = language if language in LANGUAGES else ENGLISH
    try:
        yield
    finally:
        for name, value in before.items():
            g.pop(name, None)
            if value is not None:
                setattr(g, name, value)


def _(message: str, /, **values: Any) -> str:
    """A text in the reader's language. The values stand in it as %(name)s; without any, a percent sign is only that."""
    text = _catalog(current_language()).gettext(message)
    return text % _told(values) if values else text


def ngettext(one: str, many: str, num: int, /, **values: Any) -> str:
    """A text that depends on a number, which stands in it as %(num)s unless the values say otherwise."""
    return _catalog(current_language()).ngettext(one, many, num) % {"num": num, **_told(values)}


def told(text: Any) -> Any:
    """What was said without knowing the reader, in their language; anything else as it is."""
    return _(text.message, **text.values) if isinstance(text, Said) else text


def init_app(app: Flask) -> None:
    """Teach the templates: _() gives a text like any other, {% trans %} gives markup in which values are escaped."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.newstyle_gettext = True  # type: ignore[attr-defined]
    app.jinja_env.globals.update(
        {"_": _, "gettext": _markup, "ngettext": _markup_by_number, "Said": Said, "language_name": language_name}
    )
    app.jinja_env.globals.update(current_language=current_language, LANGUAGES=LANGUAGES)
    app.jinja_env.filters["told"] = told


@pass_eval_context
def _markup(context: EvalContext, message: str, /, **values: Any) -> str:
    text = _catalog(current_language()).gettext(message)
    return (Markup(text) if context.autoescape else text) % _shown(values)  # nosec B704


@pass_eval_context
def _markup_by_number(context: EvalContext, one: str, many: str, num: int, /, **values: Any) -> str:
    text = _catalog(current_language()).ngettext(one, many, num)
    return (Markup(text) if context.autoescape else text) % _shown({"num": num, **values})  # nosec B704


def _shown(values: dict[str, Any]) -> dict[str, Any]:
    """Values as a template would write them by themselves."""
    return {name: visible(each) if type(each) is str else told(each) for name, each in values.items()}


def _told(values: dict[str, Any]) -> dict[str, Any]:
    return {name: told(each) for name, each in values.items()}


def _chosen() -> str | None:
    """What the person has chosen for themselves, else what was chosen in this browser; None for neither."""
    in_browser = request.cookies.get(COOKIE)
    preferred: str | None = g.get("preferred_language")
    return preferred or (in_browser if in_browser in LANGUAGES else None)


@cache
def _catalog(language: str) -> NullTranslations:
    if language == ENGLISH:
        return NullTranslations()
    with (TRANSLATIONS / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        messages = read_po(file, locale=language)
    compiled = io.BytesIO()
    write_mo(compiled, messages)
    compiled.seek(0)
    return GNUTranslations(compiled)
