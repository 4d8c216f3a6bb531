"""The table of currencies, against Babel's: every difference is named here, and ISO 4217 wins."""

from datetime import date

import pytest
from babel import Locale
from babel.numbers import get_currency_precision, get_territory_currencies, list_currencies

from portal.core.currencies import EXPONENTS, exponent_of, require_currency
from portal.core.errors import InvalidInput

# On this day the table was compared; a later day would follow Babel's next release.
COMPARED_ON = date(2026, 11, 22)
# CLDR counts the decimals that cash and prices have in everyday use, after inflation took the coins away.
DECIMALS_OF_EVERYDAY_USE = {
    "AFN": (2, 0),
    "ALL": (2, 0),
    "IQD": (3, 0),
    "IRR": (2, 0),
    "KPW": (2, 0),
    "LAK": (2, 0),
    "LBP": (2, 0),
    "MGA": (2, 0),
    "MMK": (2, 0),
    "RSD": (2, 0),
    "SOS": (2, 0),
    "SYP": (2, 0),
    "YER": (2, 0),
}
# Amendment 179, in force since May 2025: the unit of account of the Arab Monetary Fund.
UNKNOWN_TO_BABEL = {"XAD"}
# Amendment 180, in force since January 2026: Bulgaria has the euro; the data of this Babel are older.
STILL_TENDER_FOR_BABEL = {"BGN"}
# Units of account, funds, and coins of a country that pays in another currency: billed in, but nowhere tender.
NOWHERE_TENDER = {"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "SVC", "USN", "UYI", "UYW", "VED", "XAD"}


def test_the_decimals_are_babels_but_for_those_of_everyday_use():
    known = EXPONENTS.keys() & list_currencies()
    different = {
        code: (EXPONENTS[code], get_currency_precision(code))
        for code in known
        if EXPONENTS[code] != get_currency_precision(code)
    }
    assert different == DECIMALS_OF_EVERYDAY_USE
    assert EXPONENTS.keys() - list_currencies() == UNKNOWN_TO_BABEL


def test_every_currency_that_is_tender_somewhere_can_be_billed_in():
    tender = {
        code
        for territory in Locale("en").territories
        if len(territory) == 2
        for code in get_territory_currencies(territory, COMPARED_ON)
    }
    assert tender - EXPONENTS.keys() == STILL_TENDER_FOR_BABEL
    assert EXPONENTS.keys() - tender == NOWHERE_TENDER


def test_the_table_has_as_many_codes_as_the_standard():
    counts = [sum(exponent == each for exponent in EXPONENTS.values()) for each in range(5)]
    assert counts == [17, 0, 139, 7, 2]
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in EXPONENTS)


@pytest.mark.parametrize("code", ["USD", "JPY", "KWD", "CLF", "ZWG"])
def test_a_currency_is_taken_as_it_is(code):
    assert require_currency(code) == code


@pytest.mark.parametrize("code", ["", "usd", " USD", "US", "XYZ", "XAU", "XXX", "XTS", "XDR", "DEM", "BGN", "US$"])
def test_what_is_no_currency_to_bill_in_is_refused_and_the_field_is_named(code):
    for ask in (exponent_of, require_currency):
        with pytest.raises(InvalidInput, match="is not a currency that can be billed in") as refused:
            ask(code)
        assert refused.value.field == "currency"
