"""The trail of an invoice: every change of it is an audit entry in the same transaction."""

from typing import Any

from portal.infra import audit
from portal.invoicing.models import Invoice


def record_change(
    invoice: Invoice,
    action: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Say in the audit log what happened to an invoice, and from what to what."""
    audit.record_many([change_of(invoice, action, before=before, after=after, reason=reason)])


def change_of(
    invoice: Invoice,
    action: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
) -> audit.Entry:
    """The entry that says so, for whoever writes many at once."""
    return audit.Entry(action, "invoice", invoice.id, invoice.organization_id, before, after, reason)
