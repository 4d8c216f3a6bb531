"""Tax ids as they stand on invoices: those of the European Union by their country's form, others as they are typed."""

import re

from portal.core.errors import InvalidInput
from portal.core.saying import Said

LONGEST = 40
# What follows the prefix in a VAT identification number, by country (the prefix of Greece is EL).
_VAT_FORMS = {
    **{"AT": r"U\d{8}", "BE": r"[01]\d{9}", "BG": r"\d{9,10}", "CY": r"\d{8}[A-Z]", "CZ": r"\d{8,10}"},
    **{"DE": r"\d{9}", "DK": r"\d{8}", "EE": r"\d{9}", "GR": r"\d{9}", "ES": r"[A-Z\d]\d{7}[A-Z\d]"},
    **{"FI": r"\d{8}", "FR": r"[A-HJ-NP-Z\d]{2}\d{9}", "HR": r"\d{11}", "HU": r"\d{8}"},
    **{"IE": r"\d[A-Z\d+*]\d{5}[A-Z]{1,2}", "IT": r"\d{11}", "LT": r"(\d{9}|\d{12})", "LU": r"\d{8}"},
    **{"LV": r"\d{11}", "MT": r"\d{8}", "NL": r"\d{9}B\d{2}", "PL": r"\d{10}", "PT": r"\d{9}"},
    **{"RO": r"\d{2,10}", "SE": r"\d{12}", "SI": r"\d{8}", "SK": r"\d{10}"},
}
_PREFIXES = {"GR": "EL"}
_BETWEEN = re.compile(r"[\s.\-]")


def vat_prefix(country: str) -> str:
    """What the VAT numbers of a country begin with: EL for Greece, else its two letters."""
    return _PREFIXES.get(country, country)


def checked_tax_id(typed: str | None, country: str | None) -> str | None:
    """A tax id as it will stand on invoices; None if nothing was typed.

    In a country of the European Union it is the VAT number: without spaces, dots and dashes, with its prefix. Only
    its form is checked, not whether somebody has it. Raises InvalidInput.
    """
    text = (typed or "").strip()
    if not text:
        return None
    if len(text) > LONGEST:
        raise InvalidInput(Said("A tax id has at most %(longest)s characters.", longest=LONGEST), field="tax_id")
    form = _VAT_FORMS.get(country or "")
    if form is None or country is None:
        return text
    prefix = vat_prefix(country)
    number = _BETWEEN.sub("", text).upper()
    number = number if number.startswith(prefix) else prefix + number
    if not re.fullmatch(prefix + form, number, re.ASCII):
        raise InvalidInput(
            Said(
                "“%(text)s” is not a VAT number of this country: it begins with %(prefix)s and has the digits and"
                " letters that the tax office gave you.",
                text=text,
                prefix=prefix,
            ),
            field="tax_id",
        )
    return number
