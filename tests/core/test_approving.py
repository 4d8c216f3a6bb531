"""From which amount on one person is not enough: exact, by currency, at the limit itself."""

from decimal import Decimal

import pytest

from portal.core.approving import AmountLimits
from portal.core.errors import InvalidInput

LIMITS = AmountLimits({"JPY": Decimal("3000000"), "KWD": Decimal("0.0005"), None: Decimal("25000.50")})


@pytest.mark.parametrize(
    ("amount", "currency", "reached"),
    [
        (25_000_49, "USD", False),
        (25_000_50, "USD", True),
        (25_000_51, "EUR", True),
        (2_999_999, "JPY", False),
        (3_000_000, "JPY", True),
        # Half of the smallest coin: nothing lies between, so the first whole one is at the limit.
        (0, "KWD", False),
        (1, "KWD", True),
        (-30_000_00, "USD", False),
    ],
)
def test_the_limit_itself_takes_two(amount: int, currency: str, reached: bool) -> None:
    assert LIMITS.is_reached(amount, currency) is reached


def test_a_limit_of_any_size_keeps_its_digits() -> None:
    limits = AmountLimits({None: Decimal(f"{10**40}.011")})
    assert limits.least("USD") == 10**42 + 2
    assert not limits.is_reached(10**42 + 1, "USD")


def test_a_currency_without_a_limit_takes_one() -> None:
    only_yen = AmountLimits({"JPY": Decimal(1)})
    assert only_yen.least("USD") is None
    assert not only_yen.is_reached(99_999_999, "USD")


def test_what_is_no_currency_is_refused_and_not_a_limit_that_nothing_reaches() -> None:
    with pytest.raises(InvalidInput, match="“UDS” is not a currency"):
        AmountLimits({"UDS": Decimal(1)})
