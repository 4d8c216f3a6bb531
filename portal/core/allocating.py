"""Splitting minor units over named parts by exact weights, which may be zero or negative: the parts always add up.

A negative weight is a part whose corrections outweigh what it used: it gets its share at the same price, as a credit.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from portal.core.exact import EXACT


def allocate_by_weight(amount: int, weights: Mapping[str, Decimal]) -> dict[str, int]:
    """Split an amount of minor units by weight, by largest remainder; a tie goes to the key that sorts first.

    Weights that come to less than zero are turned round, so that a credit is split as a charge. If the negative ones
    take away more than half of the others, there is no price to credit them at: they get nothing, and no part more
    than there is. Parts without any weight at all are equal.
    """
    assert weights, "nothing to split over"
    keys = sorted(weights)
    fair = _fair(_whole_numbers([weights[key] for key in keys]))
    return dict(zip(keys, _split(amount, fair), strict=True))


def _whole_numbers(weights: Sequence[Decimal]) -> list[int]:
    """The weights on a common scale on which none has decimals."""
    places = max(0, *(-int(weight.as_tuple().exponent) for weight in weights))
    return [int(weight.scaleb(places, EXACT)) for weight in weights]


def _fair(weights: Sequence[int]) -> list[int]:
    """Weights with a sum above zero, by which no part comes to more than twice what is split."""
    turned = [-weight for weight in weights] if sum(weights) < 0 else list(weights)
    positive = [max(weight, 0) for weight in turned]
    used, corrected = sum(positive), sum(positive) - sum(turned)
    if not used:
        return [1] * len(turned)
    return turned if 2 * corrected <= used else positive


def _split(amount: int, weights: Sequence[int]) -> list[int]:
    """Largest remainder in whole numbers; ties go to the earlier part. Turning the sign turns every part."""
    whole, sign = sum(weights), -1 if amount < 0 else 1
    shares = [divmod(abs(amount) * weight, whole) for weight in weights]
    left = abs(amount) - sum(share for share, _ in shares)
    by_remainder = sorted(range(len(shares)), key=lambda place: (-shares[place][1], place))
    lucky = set(by_remainder[:left])
    return [sign * (share + (place in lucky)) for place, (share, _) in enumerate(shares)]
