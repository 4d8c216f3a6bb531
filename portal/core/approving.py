"""From which amount on one person is not enough."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal

from portal.core.currencies import exponent_of, require_currency
from portal.core.exact import EXACT


@dataclass(frozen=True, slots=True)
class AmountLimits:
    """Amounts in major units by currency; the one under None is of all others. Raises InvalidInput for no currency."""

    amounts: Mapping[str | None, Decimal] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A code that is mistyped would be a limit that nothing ever reaches.
        for currency in filter(None, self.amounts):
            require_currency(currency)

    def least(self, currency: str) -> int | None:
        """The smallest amount in minor units that reaches the limit; None if no amount does."""
        limit = self.amounts.get(currency, self.amounts.get(None))
        if limit is None:
            return None
        return int(limit.scaleb(exponent_of(currency), EXACT).to_integral_value(ROUND_CEILING, EXACT))

    def is_reached(self, amount: int, currency: str) -> bool:
        """Whether an amount in minor units is at the limit or above it."""
        least = self.least(currency)
        return least is not None and amount >= least
