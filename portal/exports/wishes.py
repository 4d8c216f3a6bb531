"""What somebody wants in a file, checked; and a piece of it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.exports.models import ExportKind
from portal.usage.grouping import Choice, read_where

EARLIEST = date(2000, 1, 1)
LONGEST = timedelta(days=3 * 366)


@dataclass(frozen=True, slots=True)
class Wish:
    """The kind, the days (both included, UTC), and of usage which meter and value of a dimension."""

    kind: ExportKind
    first_day: date
    last_day: date
    meter: str | None = None
    where: str | None = None

    @property
    def choice(self) -> Choice:
        """Which usage is looked at. Raises InvalidInput."""
        return Choice(self.meter, read_where(self.where))

    @property
    def file_name(self) -> str:
        """The name of its file, made of nothing that anybody has typed."""
        return f"{self.kind.replace('_', '-')}-{self.first_day}-{self.last_day}.{self.kind.suffix}"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file: so many rows, made of so many units; `reached` is where the next begins, None at the end."""

    text: str
    rows: int
    units: int
    reached: str | None


class Maker(Protocol):
    """How the files of a kind are made: read as the tenant, one bounded piece after the other."""

    def head(self) -> str:
        """What comes before the first row."""

    def units(self, organization_id: int, wish: Wish) -> int:
        """How much there is to do, about: usage reports, series-days or lines of invoices."""

    def piece(self, organization_id: int, wish: Wish, reached: str) -> Piece:
        """The piece that begins at a place; the first one at ""."""


def check_wish(wish: Wish, *, now: datetime) -> None:
    """Raises InvalidInput for days that are none, and for filters that mean nothing."""
    if wish.first_day > wish.last_day:
        raise InvalidInput("The last day is before the first.", field="last_day")
    if wish.first_day < EARLIEST or wish.last_day > now.date() + timedelta(days=1):
        raise InvalidInput(Said("Choose days from %(earliest)s to tomorrow.", earliest=EARLIEST), field="first_day")
    if wish.last_day - wish.first_day > LONGEST:
        raise InvalidInput("One export has at most three years; make several.", field="last_day")
    if not wish.kind.is_of_usage and (wish.meter or wish.where):
        raise InvalidInput("An invoice is exported whole; leave out meter and property.", field="meter")
    assert wish.choice
