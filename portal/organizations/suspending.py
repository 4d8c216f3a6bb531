"""Whether an organization is served: active, suspended or closed. What it used until then is billed in any case."""

from portal.core.errors import InvalidInput
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization

STATUSES = {
    "active": "Usage is taken, and each month is billed.",
    "suspended": "New usage is refused and no new month begins; its people still sign in and pay.",
    "closed": "New usage is refused, no new month begins, and its people cannot sign in.",
}


def set_status(organization_id: int, status: str, *, reason: str) -> Organization:
    """Serve an organization or not; drafts and invoices stay, and are billed as ever. Idempotent.

    Raises InvalidInput for a status that is none or a missing reason, NotFound.
    """
    if status not in STATUSES:
        raise InvalidInput("An organization is active, suspended or closed.", field="status")
    if not reason.strip():
        raise InvalidInput("Say why; it is kept in the audit log.", field="reason")
    organization = lock_organization(organization_id)
    before = organization.status
    if status != before:
        organization.status = status
        db.session.flush()
        audit.record(
            "changed the status",
            subject="organization",
            subject_id=organization.id,
            organization_id=organization.id,
            before={"status": before},
            after={"status": status},
            reason=reason.strip(),
        )
    return organization
