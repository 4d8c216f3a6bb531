"""The form of tax ids."""

import pytest

from portal.core.errors import InvalidInput
from portal.core.tax_ids import checked_tax_id


@pytest.mark.parametrize(
    ("typed", "country", "kept"),
    [
        ("  ", "DE", None),
        (None, None, None),
        ("de 123.456-789", "DE", "DE123456789"),
        ("123456789", "DE", "DE123456789"),
        ("el123456789", "GR", "EL123456789"),
        ("NL123456789B01", "NL", "NL123456789B01"),
        ("12-3456789", "US", "12-3456789"),
        (" GB 123 ", None, "GB 123"),
        ("1" * 40, "US", "1" * 40),
    ],
)
def test_a_tax_id_is_kept_as_invoices_show_it(typed, country, kept):
    assert checked_tax_id(typed, country) == kept


@pytest.mark.parametrize(
    ("typed", "country", "prefix"),
    [
        ("DE12345678", "DE", "DE"),
        ("GR123456789", "GR", "EL"),
        ("AT12345678", "DE", "DE"),
        ("DE١٢٣٤٥٦٧٨٩", "DE", "DE"),
    ],
)
def test_what_is_not_of_the_country_s_form_is_refused_in_words(typed, country, prefix):
    with pytest.raises(InvalidInput) as refused:
        checked_tax_id(typed, country)
    assert refused.value.field == "tax_id"
    assert refused.value.sentence == (
        f"“{typed}” is not a VAT number of this country: it begins with {prefix} and has the digits and letters that"
        " the tax office gave you."
    )


def test_what_is_too_long_for_an_invoice_is_refused():
    with pytest.raises(InvalidInput) as refused:
        checked_tax_id("1" * 41, "US")
    assert (refused.value.field, refused.value.sentence) == ("tax_id", "A tax id has at most 40 characters.")
