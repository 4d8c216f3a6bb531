"""Arithmetic that would lose a digit raises."""

from decimal import Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.core.exact import exactly, plain


def test_a_step_that_would_be_rounded_raises():
    with pytest.raises(Inexact):
        exactly(lambda: Decimal(1) / Decimal(3))()
    assert exactly(lambda: Decimal(10**25) * Decimal("0.000000000001"))() == Decimal("1E+13")


def test_an_exact_function_is_called_and_named_as_it_is():
    @exactly
    def third(*, of):
        """A third, if there is one."""
        return of / 3

    assert third(of=Decimal("0.3")) == Decimal("0.1")
    assert (third.__name__, third.__doc__) == ("third", "A third, if there is one.")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.500", "1.5"),
        ("100", "100"),
        ("1E+2", "100"),
        ("1E-7", "0.0000001"),
        ("-0", "0"),
        ("0.000", "0"),
        ("-1.0", "-1"),
    ],
)
def test_one_value_has_one_spelling(value, text):
    assert plain(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=12))
def test_a_spelling_gives_the_value_back(value):
    assert Decimal(plain(value)) == value
    assert "E" not in plain(value)
