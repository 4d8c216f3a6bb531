"""Numbers, money and dates as people write them.

Numbers and money follow the locale that the browser asks for, within the language of the words if that was chosen or
is not English; dates are in the language of the words around them. Files and answers to programs are the same for
everybody.
"""

import re
from copy import copy
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from typing import cast

from babel import Locale, negotiate_locale
from babel.dates import format_interval, format_skeleton
from babel.numbers import format_compact_decimal
from flask import g, has_request_context, request

from portal.core.currencies import exponent_of
from portal.core.exact import EXACT, plain
from portal.core.money import to_major
from portal.infra.languages import ENGLISH, current_language, ngettext, rules_numbers

# The first one of a language is also for its other countries. All of them are written from left to right.
LOCALES = (
    *("en-US", "en-GB", "de-DE", "de-CH", "fr-FR", "es-ES", "it-IT"),
    *("nl-NL", "ja-JP", "pt-BR", "sv-SE", "pl-PL", "hi-IN"),
)
_BY_TAG = {tag.lower(): Locale.parse(tag, sep="-") for tag in LOCALES}
_BY_TAG |= {locale.language: locale for locale in reversed(_BY_TAG.values())}
DEFAULT = _BY_TAG["en-us"]
_SECONDS_A_MINUTE = 60
MINUS = "\u2212"
_FILE_OR_PROGRAM = re.compile(r"/(api|webhooks)/.*|.*\.[a-z]+")
_LETTER_BEFORE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")


def current_locale() -> Locale:
    """The locale of this request for a page, chosen once from its language and Accept-Language; else American English.

    The response varies by that header from then on (see pages.py), and only then. A mail has that of its language.
    """
    if has_request_context() and _FILE_OR_PROGRAM.fullmatch(request.path):
        return DEFAULT
    if not has_request_context():
        language = current_language()
        return DEFAULT if language == ENGLISH else _locale_of([language])
    if "locale" not in g:
        asked = [tag for tag, quality in request.accept_languages if quality]
        if rules_numbers():
            language = current_language()
            asked = [*(tag for tag in asked if tag.lower().partition("-")[0] == language), language]
        g.locale = _locale_of(asked)
    return cast(Locale, g.locale)


def _locale_of(asked: list[str]) -> Locale:
    found = negotiate_locale(asked, _BY_TAG, sep="-", aliases={})
    return _BY_TAG[found.lower()] if found else DEFAULT


def money(value: int, currency: str) -> str:
    """Minor units as people write them: $1,234.50; a real minus sign for credits."""
    return _written(to_major(value, currency), exponent_of(currency), currency)


def amount(value: int, currency: str) -> str:
    """Minor units without the currency's sign, for columns that name the currency in their head."""
    return _written(to_major(value, currency), exponent_of(currency))


def quantity(value: Decimal | int | str) -> str:
    """A quantity with all its digits and grouped thousands."""
    number = Decimal(plain(Decimal(value)))
    return _written(number, _decimals(number))


def unit_amount(value: Decimal | str, currency: str) -> str:
    """A unit price with all its digits, at least the currency's: $0.0000008."""
    number = Decimal(plain(Decimal(value)))
    return _written(number, max(_decimals(number), exponent_of(currency)), currency)


def compact(value: Decimal) -> str:
    """A large number in short, for the axis of a chart: 2.5M. Some locales shorten from a million only."""
    text = str(format_compact_decimal(value, locale=current_locale(), fraction_digits=2))
    return quantity(value) if text.isdigit() else text


def _decimals(number: Decimal) -> int:
    return -int(number.as_tuple().exponent)


def _written(number: Decimal, decimals: int, currency: str | None = None) -> str:
    """A number with so many decimals in the pattern of the locale; none of its digits is rounded away.

    The decimals are ours, because Babel knows those in use (RSD 0), not those of ISO 4217 (RSD 2).
    """
    locale = current_locale()
    pattern = copy(locale.decimal_formats[None] if currency is None else locale.currency_formats["standard"])
    pattern.frac_prec = (decimals, decimals)
    with localcontext(EXACT):
        text: str = pattern.apply(number, locale, currency=currency, currency_digits=False)
    # A code that stands for a missing sign keeps a space from the number. Source: CLDR, currencySpacing.
    return _LETTER_BEFORE_DIGIT.sub("\u00a0", text.replace("-", MINUS))


def moment(value: datetime) -> str:
    """A moment with its zone said: 22 Nov 2026, 14:32 UTC."""
    at = value.astimezone(UTC)
    return f"{day(at)}, {at:%H:%M} UTC"


def day(value: date) -> str:
    """A day: 22 Nov 2026."""
    return dated(value, "%-d %b %Y", "yMMMd")


def days(first: date, last: date) -> str:
    """A period as people write it, both ends included: 1\u201330 Nov 2026, UTC."""
    if current_language() != ENGLISH:
        text = str(format_interval(first, last, "yMMMd", locale=_words_locale()))
    elif (first.year, first.month) == (last.year, last.month):
        text = f"{first.day}\u2013{day(last)}" if first != last else day(last)
    else:
        text = f"{day(first)} \u2013 {day(last)}"
    return f"{text}, UTC"


def month_name(value: date) -> str:
    """A month by its first day: November 2026."""
    return dated(value, "%B %Y", "yMMMM")


def dated(value: date, english: str, skeleton: str) -> str:
    """A date in the language of the words: in English as strftime writes it, else as the locale writes such a skeleton.

    Source for skeletons: CLDR, date field symbols; "yMMMd" is a day with its month in short.
    """
    if current_language() == ENGLISH:
        return f"{value:{english}}"
    return str(format_skeleton(skeleton, value, locale=_words_locale()))


def _words_locale() -> Locale:
    """The locale of the words: that of the numbers where both are of one language, so that both are of one country."""
    language = current_language()
    return current_locale() if current_locale().language == language else Locale(language)


def country_name(code: str) -> str:
    """A country from its two letters; letters that mean nothing stay as they are."""
    return str(_words_locale().territories.get(code, code))


def wait_words(seconds: int) -> str:
    """So many seconds as people say it, rounded up: "40 seconds", "5 minutes"."""
    if seconds < _SECONDS_A_MINUTE:
        return ngettext("%(num)s second", "%(num)s seconds", seconds)
    return ngettext("%(num)s minute", "%(num)s minutes", -(-seconds // _SECONDS_A_MINUTE))


FILTERS = {
    each.__name__: each for each in (money, amount, quantity, unit_amount, moment, day, days, month_name, country_name)
}
