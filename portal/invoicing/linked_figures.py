"""What a payer and those it pays for come to in a month, one by one and in sum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from portal.core.lifecycle import InvoiceState
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra.db import db
from portal.invoicing.drafting import draft_of
from portal.invoicing.linking import links_of
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization

FILE_HEAD = ("organization", "name", "month", "state", "currency", "total", "amount_due")


@dataclass(frozen=True, slots=True)
class Share:
    """One organization's month: its invoice's figures, or the live draft's. Amounts are in minor units.

    The amount due is what it comes to before anything is moved to the payer.
    """

    organization: Organization
    invoice: Invoice | None
    total: int
    amount_due: int

    @property
    def state(self) -> str:
        """The state of its invoice; `none` if the month has no invoice yet."""
        return str(self.invoice.state) if self.invoice else "none"


def shares_of(payer: Organization, month: Month) -> list[Share]:
    """The payer's own month and those of the organizations linked to it then; all are in the payer's currency."""
    linked = [link.organization for link in links_of([payer.id], month) if link.payer_id == payer.id]
    return [_share(each, month) for each in (payer, *linked)]


def file_rows(shares: Sequence[Share], month: Month) -> Iterator[tuple[str, ...]]:
    """A row for each, and the sum as the last."""
    currency = shares[0].organization.currency
    for each in shares:
        yield (
            *(each.organization.slug, each.organization.name, str(month), each.state, currency),
            *(major_text(amount, currency) for amount in (each.total, each.amount_due)),
        )
    sums = (sum(each.total for each in shares), sum(each.amount_due for each in shares))
    yield ("", "Sum", str(month), "", currency, *(major_text(amount, currency) for amount in sums))


def _share(organization: Organization, month: Month) -> Share:
    invoice = db.session.scalar(
        select(Invoice).where(
            Invoice.organization_id == organization.id,
            Invoice.period_start == month.first_day,
            Invoice.state != InvoiceState.VOID,
        )
    )
    if invoice is not None and invoice.state != InvoiceState.DRAFT:
        return Share(organization, invoice, invoice.total, invoice.amount_due - invoice.moved)
    statement = draft_of(organization, month).statement
    return Share(organization, invoice, statement.total, statement.amount_due)
