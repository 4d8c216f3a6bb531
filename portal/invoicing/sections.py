"""What a payer's invoice says of an organization that it pays for: a section, as plain data.

A section holds that organization's lines, its tax and its sums, as its own invoice has them, and the amount that was
moved from there. Amounts are in minor units; a live section has no number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from portal.core.statement import Statement, tax_facts
from portal.invoicing.documents import buyer_of
from portal.organizations.models import Organization

_SAME = ("lines", "tax", "total", "credits_applied", "balance_applied")


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a linked organization."""

    organization_id: int
    public_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its facts as a document holds them, and the fingerprint of what they are of.

    `invoice_id` is the final invoice that the amount comes from; None while there is none.
    """

    organization_id: int
    fingerprint: str
    invoice_id: int | None
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Whose section it is."""
        return str(self.facts["name"])

    @property
    def amount(self) -> int:
        """What is moved to the payer's invoice."""
        return int(self.facts["amount"])


def live_facts(organization: Organization, statement: Statement) -> dict[str, Any]:
    """The section of an organization whose month is not final, as it stands now."""
    return {
        "organization": str(organization.public_id),
        "name": buyer_of(organization)["name"],
        "number": None,
        "lines": [line.facts() for line in statement.lines],
        "tax": tax_facts(statement),
        "total": statement.total,
        "credits_applied": statement.credits_applied,
        "balance_applied": statement.balance_applied,
        "amount": statement.amount_due,
    }


def final_facts(organization: Organization, document: Mapping[str, Any]) -> dict[str, Any]:
    """The section of an organization with a final invoice, from its frozen document."""
    return {
        "organization": str(organization.public_id),
        "name": document["buyer"]["name"],
        "number": document["number"],
        **{name: document[name] for name in _SAME},
        "amount": document["billed_to"]["amount"],
    }


def sections_in(document: Mapping[str, Any] | None, kept: Sequence[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """The sections of an invoice: those of its document, or while it has none those that are kept with it."""
    return list((document.get("sections") if document is not None else kept) or ())
