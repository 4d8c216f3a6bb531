"""What was invoiced month by month over all years, kept in the transaction that makes an invoice final or void.

So years are read without looking at a single invoice. There is one row for each organization, month and currency; and
for the platform one for each of eight slots (an organization's id decides which), because everybody writes there at
once. Void invoices do not count; amounts are in minor units.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, cast, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import Date, SmallInteger

from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra.db import Model, db
from portal.invoicing.models import Invoice

SLOTS = 8
SUMS_HEAD = ("Invoices", "Net", "Tax", "Total", "Credited", "Amount due")
FILE_HEAD = ("Year", "Month", "Currency", *SUMS_HEAD)


class _Counted:
    """The columns that are added up."""

    invoices: Mapped[int] = mapped_column(server_default=text("0"))
    tax: Mapped[int] = mapped_column(server_default=text("0"))
    total: Mapped[int] = mapped_column(server_default=text("0"))
    credited: Mapped[int] = mapped_column(server_default=text("0"))
    amount_due: Mapped[int] = mapped_column(server_default=text("0"))


class InvoiceMonth(_Counted, Model):
    """The sums of one organization, month (by its first day) and currency."""

    __tablename__ = "invoice_months"
    __table_args__ = (
        ForeignKeyConstraint(["organization_id", "currency"], ["organizations.id", "organizations.currency"]),
        CheckConstraint("extract(day FROM month) = 1", name="month_is_its_first_day"),
    )

    organization_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)


class PlatformMonth(_Counted, Model):
    """One of the slots whose sum is the platform's month and currency."""

    __tablename__ = "platform_months"
    __table_args__ = (CheckConstraint("extract(day FROM month) = 1", name="month_is_its_first_day"),)

    month: Mapped[date] = mapped_column(Date, primary_key=True)
    currency: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of invoices as they were finalized, and of the credit notes on them (`credited`, with their tax)."""

    invoices: int = 0
    tax: int = 0
    total: int = 0
    credited: int = 0
    amount_due: int = 0

    @classmethod
    def of(cls, invoice: Invoice) -> "Totals":
        """What a final invoice counts for."""
        return cls(invoices=1, tax=invoice.tax, total=invoice.total, amount_due=invoice.amount_due)

    @property
    def net(self) -> int:
        """The total without its tax."""
        return self.total - self.tax

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, name) + getattr(other, name) for name in COUNTED))

    def __neg__(self) -> "Totals":
        return Totals(*(-getattr(self, name) for name in COUNTED))


COUNTED = tuple(field.name for field in fields(Totals))


@dataclass(frozen=True, slots=True)
class MonthTotals:
    """One month in one currency."""

    month: Month
    currency: str
    totals: Totals


@dataclass(frozen=True, slots=True)
class YearTotals:
    """One year in one currency; its months newest first."""

    year: int
    months: tuple[MonthTotals, ...]
    totals: Totals


@dataclass(frozen=True, slots=True)
class CurrencyTotals:
    """All years in one currency, newest first."""

    currency: str
    years: tuple[YearTotals, ...]
    totals: Totals

    @property
    def months(self) -> list[MonthTotals]:
        """The months of all years, newest first."""
        return [month for year in self.years for month in year.months]


def count_document(invoice: Invoice, counts: Totals) -> None:
    """Add to the month of an invoice: what it counts for when it becomes final, the negative of that when it is void.

    For a credit note on it `Totals(credited=…)`, and the negative when the note is void. Not idempotent: call it where
    the state changes, under the lock of the invoice, and of all that is locked last, but for the number series. The
    order (organization, platform, series) is the same everywhere, so two transactions never wait for each other.
    """
    of_month = {"month": invoice.month.first_day, "currency": invoice.currency}
    _add(InvoiceMonth, {"organization_id": invoice.organization_id, **of_month}, counts)
    _add(PlatformMonth, {**of_month, "slot": invoice.organization_id % SLOTS}, counts)


def _add(table: type[InvoiceMonth] | type[PlatformMonth], key: dict[str, Any], counts: Totals) -> None:
    new = insert(table).values(**key, **asdict(counts))
    sums = {name: getattr(table, name) + new.excluded[name] for name in COUNTED}
    db.session.execute(new.on_conflict_do_update(index_elements=list(key), set_=sums))


def months_of(organization_id: int) -> list[MonthTotals]:
    """The months of an organization, by currency, newest first; those in which nothing is left are not there."""
    rows = db.session.execute(
        select(InvoiceMonth.month, InvoiceMonth.currency, *(getattr(InvoiceMonth, name) for name in COUNTED))
        .where(
            InvoiceMonth.organization_id == organization_id,
            or_(InvoiceMonth.invoices != 0, InvoiceMonth.credited != 0),
        )
        .order_by(InvoiceMonth.currency, InvoiceMonth.month.desc())
    )
    return _months(rows)


def months_of_platform() -> list[MonthTotals]:
    """The same of all organizations together; staff and the system may ask."""
    sums = [cast(func.sum(getattr(PlatformMonth, name)), BigInteger) for name in COUNTED]
    rows = db.session.execute(
        select(PlatformMonth.month, PlatformMonth.currency, *sums)
        .group_by(PlatformMonth.currency, PlatformMonth.month)
        .having(or_(func.sum(PlatformMonth.invoices) != 0, func.sum(PlatformMonth.credited) != 0))
        .order_by(PlatformMonth.currency, PlatformMonth.month.desc())
    )
    return _months(rows)


def _months(rows: Iterable[Any]) -> list[MonthTotals]:
    return [MonthTotals(Month.of(month), currency, Totals(*counts)) for month, currency, *counts in rows]


def by_currency(months: Sequence[MonthTotals]) -> list[CurrencyTotals]:
    """Months as they are read, put together by currency and year, with their sums."""
    return [
        CurrencyTotals(currency, (years := tuple(_years(of_currency))), _sum(years))
        for currency, of_currency in groupby(months, attrgetter("currency"))
    ]


def _years(months: Iterable[MonthTotals]) -> Iterator[YearTotals]:
    for year, of_year in groupby(months, attrgetter("month.year")):
        found = tuple(of_year)
        yield YearTotals(year, found, _sum(found))


def _sum(parts: Iterable[MonthTotals | YearTotals]) -> Totals:
    return sum((part.totals for part in parts), Totals())


def file_rows(months: Iterable[MonthTotals]) -> Iterator[tuple[Any, ...]]:
    """The rows below FILE_HEAD, one a month and currency."""
    for each in months:
        yield each.month.year, each.month, each.currency, *written(each.totals, each.currency)


def written(totals: Totals, currency: str) -> tuple[str, ...]:
    """The figures below SUMS_HEAD; amounts in the major unit."""
    amounts = (totals.net, totals.tax, totals.total, totals.credited, totals.amount_due)
    return str(totals.invoices), *(major_text(amount, currency) for amount in amounts)
