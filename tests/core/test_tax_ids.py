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
    ],
)
def test_a_tax_id_is_kept_as_invoices_show_it(typed, country, kept):
    assert checked_tax_id(typed, country) == kept


@pytest.mark.parametrize(
    ("typed", "country", "words"),
    [
        ("DE12345678", "DE", "begins with DE"),
        ("GR123456789", "GR", "begins with EL"),
        ("AT12345678", "DE", "begins with DE"),
        ("DE١٢٣٤٥٦٧٨٩", "DE", "begins with DE"),
        ("1" * 41, "US", "at most 40"),
    ],
)
def test_what_is_not_of_the_country_s_form_is_refused_in_words(typed, country, words):
    with pytest.raises(InvalidInput, match=words) as refused:
        checked_tax_id(typed, country)
    assert refused.value.field == "tax_id"
