"""Minimum commitments with their true-up, and the order in which credits are used. Amounts are in minor units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

from portal.core.money import round_half_away

WHOLE = Fraction(1)
_NEVER = datetime.max.replace(tzinfo=UTC)


def true_up_of(commitment: int | Fraction, *, used: int, fee: int | Fraction = 0, share: Fraction = WHOLE) -> int:
    """What is missing from a period's minimum, rounded once; zero if it was reached.

    The recurring fee counts towards the commitment. A part of a period asks for its share of the commitment and
    counts its share of the fee. Source: Lago's minimum commitment and minimum spend.
    """
    return max(round_half_away((commitment - fee) * share - used), 0)


@dataclass(frozen=True, slots=True)
class CreditGrant:
    """Credit that is left, in minor units, until it expires. A lower rank is used first."""

    id: int
    left: int
    expires_at: datetime | None = None
    rank: int = 0


def use_credits(due: int, grants: Sequence[CreditGrant], *, now: datetime) -> dict[int, int]:
    """How much of each grant an amount uses, by the grant's id: never more than the amount, or than is left.

    They are used in the order of `in_order_of_use`.
    """
    usable = [grant for grant in grants if grant.left > 0 and (grant.expires_at is None or grant.expires_at > now)]
    used: dict[int, int] = {}
    for grant in in_order_of_use(usable):
        part = min(grant.left, due - sum(used.values()))
        if part > 0:
            used[grant.id] = part
    return used


def in_order_of_use(grants: Iterable[CreditGrant]) -> list[CreditGrant]:
    """By rank; then what expires first; then the older grant (its id), whatever the order they are found in."""
    return sorted(grants, key=_order_of_use)


def _order_of_use(grant: CreditGrant) -> tuple[int, datetime, int]:
    return grant.rank, grant.expires_at or _NEVER, grant.id
