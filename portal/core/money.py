"""Money: integer minor units and an ISO 4217 currency; rounding and splitting.

A currency's exponent decides how many minor units make one major unit: USD 2, JPY 0, KWD 3.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from fractions import Fraction

from portal.core.currencies import exponent_of as exponent_of
from portal.core.exact import EXACT

# The largest invoice, 999,999.99 in a two-decimal currency: Stripe takes amounts of up to eight digits.
LARGEST_AMOUNT = 99_999_999
_ROUNDING = Context(prec=EXACT.prec, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])
_ONE = Decimal(1)


def round_to_minor(amount: Decimal, currency: str) -> int:
    """Round an amount in the major unit to whole minor units, half away from zero.

    This is the one rounding rule of the portal; it is applied once per invoice line.
    """
    # Decimal's ROUND_HALF_UP rounds ties away from zero, for negative amounts too.
    return int(amount.scaleb(exponent_of(currency), _ROUNDING).quantize(_ONE, context=_ROUNDING))


def round_fraction(amount: Fraction, currency: str) -> int:
    """The same rounding for an exact fraction of the major unit: a prorated fee need not have an end in decimals."""
    return round_half_away(amount * 10 ** exponent_of(currency))


def round_half_away(amount: Fraction) -> int:
    """A fraction of minor units as whole ones; a half goes away from zero."""
    whole, rest = divmod(abs(amount.numerator), amount.denominator)
    rounded = whole + (2 * rest >= amount.denominator)
    return -rounded if amount < 0 else rounded


def round_together(amounts: Sequence[Fraction]) -> list[int]:
    """Round fractions of minor units so that the parts add up to their rounded sum.

    Largest remainder; ties go to the earlier part. Turning every sign turns every result.
    """
    if sum(amounts) < 0:
        return [-part for part in round_together([-amount for amount in amounts])]
    floors = [amount.numerator // amount.denominator for amount in amounts]
    left = round_half_away(sum(amounts, Fraction(0))) - sum(floors)
    by_remainder = sorted(range(len(floors)), key=lambda index: (floors[index] - amounts[index], index))
    lucky = set(by_remainder[:left])
    return [floor + (index in lucky) for index, floor in enumerate(floors)]


def to_major(amount: int, currency: str) -> Decimal:
    """Minor units as a decimal of the major unit, with exactly the currency's decimals."""
    return Decimal(amount).scaleb(-exponent_of(currency), EXACT)


def major_text(amount: int, currency: str) -> str:
    """Minor units as plain text of the major unit for files: "-1234.50"."""
    return f"{to_major(amount, currency):f}"


def allocate(total: int, weights: Sequence[Decimal | int]) -> list[int]:
    """Split whole minor units by weight so that the parts always add up to the total.

    Largest remainder; ties go to the earlier part. With no weight at all the first part takes everything.
    """
    assert weights, "nothing to split over"
    assert all(weight >= 0 for weight in weights), weights
    scaled = _as_whole_numbers(weights)
    whole = sum(scaled)
    if whole == 0:
        return [total] + [0] * (len(weights) - 1)
    sign = -1 if total < 0 else 1
    shares = [divmod(abs(total) * weight, whole) for weight in scaled]
    left = abs(total) - sum(share for share, _ in shares)
    by_remainder = sorted(range(len(shares)), key=lambda index: (-shares[index][1], index))
    lucky = set(by_remainder[:left])
    return [sign * (share + (index in lucky)) for index, (share, _) in enumerate(shares)]


def _as_whole_numbers(weights: Sequence[Decimal | int]) -> list[int]:
    """Weights on a common scale on which all are whole, so that the split stays exact."""
    places = max(max(0, -int(Decimal(each).as_tuple().exponent)) for each in weights)
    return [int(Decimal(each).scaleb(places, EXACT)) for each in weights]
