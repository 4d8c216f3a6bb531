"""Exact decimal arithmetic: a sum or product that would have to be rounded raises instead.

Quantities have up to 26 + 12 digits, the numbers of a price up to 26 + 60; 200 digits hold a quantity times a price,
less a percentage of it.
"""

from collections.abc import Callable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
ZERO = Decimal(0)


def exactly(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function in the exact context, so that no step of it can lose a digit unnoticed."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with localcontext(EXACT):
            return function(*args, **kwargs)

    return run


def plain(value: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros: one value, one spelling."""
    # Without a precision "f" writes every digit, whatever the context, so none is entered here.
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
