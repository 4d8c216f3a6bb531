"""Amounts in the units that Stripe counts in, which for some currencies are not those of ISO 4217.

Our minor units follow ISO 4217. Stripe takes ISK and UGX, which have no decimals, as if they had two, ending in 00;
and MGA, which has two, in whole units. Of three decimals the last must be 0.
Source: Stripe, "Supported currencies", zero-decimal and three-decimal currencies and special cases.
"""

from decimal import Decimal

from portal.core.errors import InvalidInput
from portal.core.exact import EXACT
from portal.core.money import exponent_of, major_text

# The largest amount in Stripe's own units: eight digits.
LARGEST_AMOUNT = 99_999_999
_NO_DECIMALS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THREE_DECIMALS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))


def to_stripe(amount: int, currency: str) -> int:
    """Our minor units as Stripe takes them. Raises InvalidInput for what would have to be rounded, or is too large."""
    scaled, divisor = _scaled(amount, currency)
    sent, rest = divmod(scaled, divisor)
    if rest:
        raise InvalidInput(
            f"Stripe takes {currency} in whole units only, and {major_text(amount, currency)} {currency} is not whole."
        )
    if currency in _THREE_DECIMALS and sent % 10:
        raise InvalidInput(
            f"Stripe takes {currency} with two decimals and a third that is 0, and"
            f" {major_text(amount, currency)} {currency} has another."
        )
    if abs(sent) > LARGEST_AMOUNT:
        raise InvalidInput(
            f"Stripe takes at most {stripe_text(LARGEST_AMOUNT, currency)}, and"
            f" {major_text(amount, currency)} {currency} is more."
        )
    return sent


def from_stripe(theirs: int, currency: str) -> int:
    """An amount of Stripe's in our minor units. Raises InvalidInput for one that they cannot say."""
    scaled, divisor = _scaled(1, currency)
    ours, rest = divmod(theirs * divisor, scaled)
    if rest:
        raise InvalidInput(f"Stripe says {stripe_text(theirs, currency)}, which is no whole amount of {currency}.")
    return ours


def is_same(ours: int, theirs: object, currency: str) -> bool:
    """Whether an amount that Stripe shows is our amount, exactly."""
    scaled, divisor = _scaled(ours, currency)
    return isinstance(theirs, int) and scaled == theirs * divisor


def stripe_text(theirs: object, currency: str) -> str:
    """An amount that Stripe shows, for people: "12.50 USD"."""
    if not isinstance(theirs, int):
        return f"{theirs} {currency}"
    return f"{Decimal(theirs).scaleb(-_decimals(currency), EXACT):f} {currency}"


def _scaled(amount: int, currency: str) -> tuple[int, int]:
    """Our amount times this, over that, is Stripe's."""
    shift = _decimals(currency) - exponent_of(currency)
    return (amount * 10**shift, 1) if shift >= 0 else (amount, 10**-shift)


def _decimals(currency: str) -> int:
    if currency in _NO_DECIMALS:
        return 0
    return 3 if currency in _THREE_DECIMALS else 2
