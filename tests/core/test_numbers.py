"""Numbers as people type them, and what is not one."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.numbers import read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", "0"),
        ("7", "7"),
        ("  12.50\n", "12.50"),
        ("1,234.50", "1234.50"),
        ("12,345,678", "12345678"),
        ("-0.5", "-0.5"),
        ("−3", "-3"),  # the minus sign that spreadsheets write
        ("-1,000", "-1000"),
        ("000000000000123", "123"),  # leading zeros are no digits of the number
        ("-000999999999999", "-999999999999"),
        ("999,999,999,999.123456789012", "999999999999.123456789012"),
    ],
)
def test_a_number_is_read_exactly_as_typed(text, number):
    assert read_number(text) == Decimal(number)
    assert read_number(text).as_tuple().exponent == Decimal(number).as_tuple().exponent


@pytest.mark.parametrize("text", ["", "   ", "\t\n"])
def test_nothing_is_no_number(text):
    with pytest.raises(ValueError, match=r"^Enter a number, for example 1,234\.50\.$"):
        read_number(text)


@pytest.mark.parametrize(
    "text",
    ["1.234,50", "1,23", "12,3456", ",123", "1,", "1.", ".5", "+1", "--1", "1e5", "1E+2", "NaN", "inf", "0x1", "1 000",
     "1_000", "١٢", "5 USD", "1.2.3"],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused_and_quoted(text):
    with pytest.raises(ValueError, match=r"is not a number; write it like 1,234\.50\.$") as refused:
        read_number(text)
    assert str(refused.value).startswith(f"“{text}”")


def test_a_long_text_is_quoted_by_its_beginning():
    with pytest.raises(ValueError, match=f"^“{'x' * 40}” is not"):
        read_number("x" * 41)


@pytest.mark.parametrize("text", ["1234567890123", "1,000,000,000,000", "-1234567890123.5", "0.1234567890123"])
def test_a_number_that_no_column_holds_is_refused(text):
    with pytest.raises(ValueError, match=r"^At most 12 digits before the point and 12 after it\.$"):
        read_number(text)


@given(st.decimals(-(10**12) + 1, 10**12 - 1, allow_nan=False, allow_infinity=False, places=12))
def test_what_is_written_with_commas_is_read_back(number):
    assert read_number(f"{number:,f}") == number
