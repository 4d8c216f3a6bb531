"""What operators write on the command line (organizations, moments, amounts of money) and the tables they read."""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from portal.core.currencies import exponent_of
from portal.core.errors import InvalidInput, NotFound
from portal.core.exact import EXACT
from portal.core.periods import Month
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization
from portal.organizations.queries import ids_by_slug, organization_by_id

WIDE = 180


def print_table(table: Table) -> None:
    """Print a table: in the terminal as it is, and in a file or pipe with room for every id."""
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)


def organization_named(slug: str) -> Organization:
    """The active organization with this slug or public id. Raises NotFound."""
    return organization_by_id(_id_named(slug))


def locked_organization(slug: str) -> Organization:
    """The same, locked until the transaction ends: what is billed already stays what is billed. Raises NotFound."""
    return lock_organization(_id_named(slug))


def _id_named(slug: str) -> int:
    found = ids_by_slug({slug}).get(slug)
    if found is None:
        raise NotFound(f"There is no active organization “{slug}”.")
    return found


def to_minor(amount: Decimal, currency: str) -> int:
    """An amount of the major unit in minor units, exactly. Raises InvalidInput if the currency has fewer decimals."""
    decimals = exponent_of(currency)
    minor = amount.scaleb(decimals, EXACT)
    if minor != minor.to_integral_value():
        raise InvalidInput(f"{currency} has {decimals} decimals; {amount} cannot be billed.", field="amount")
    return int(minor)


class _Written(click.ParamType):
    """A value that is read from text by a function, which raises ValueError for what it is not."""

    def __init__(self, name: str, read: Any, says: str) -> None:
        self.name = name
        self._read = read
        self._says = says

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a default has been read already."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except (ValueError, OverflowError, InvalidInput):
            self.fail(f"“{value}” is not {self._says}.", param, ctx)


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not value.is_finite() or abs(value.adjusted()) > _LARGEST_POWER:
        raise ValueError
    return value


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# Far above every amount, and far below where exact arithmetic ends.
_LARGEST_POWER = 30
DECIMAL = _Written("decimal", _decimal, "a number such as 12.50")
DAY = _Written("day", date.fromisoformat, "a day such as 2026-11-01")
MOMENT = _Written("moment", _moment, "a day (from 00:00 UTC) or a moment such as 2026-11-01T08:30Z")
MONTH = _Written("month", Month.parse, "a month such as 2026-11")
