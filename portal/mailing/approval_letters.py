"""The mail that a second approval is wanted: to everybody of the staff who may give it."""

from datetime import date

from sqlalchemy import exists, select

from portal.infra import clock, outbox
from portal.infra.db import db
from portal.infra.formats import day, money, month_name
from portal.infra.outbox import Lease
from portal.organizations.approvals import MAIL_APPROVERS
from portal.organizations.letters import LetterKind, ask_for_letter
from portal.organizations.models import AccountLetter, ApprovalRequest, User
from portal.organizations.roles import STAFF_ROLES, Permission


@outbox.handles(MAIL_APPROVERS)
def write_to_approvers(lease: Lease, *, request_id: int) -> None:
    """Write to each of them. Idempotent; nothing if it is decided already.

    Whoever has such a mail on its way gets no other: it leads to the list of all that waits.
    """
    now = clock.now()
    with lease.transaction():
        request = db.session.get_one(ApprovalRequest, request_id, populate_existing=True)
        if not request.is_open(now):
            return
        about, may_decide = _about(request)
        roles = [role for role, held in STAFF_ROLES.items() if may_decide in held]
        on_its_way = exists().where(
            AccountLetter.user_id == User.id,
            AccountLetter.kind == LetterKind.APPROVAL_WANTED,
            AccountLetter.sent_at.is_(None),
            AccountLetter.last_error.is_(None),
            AccountLetter.expires_at > now,
        )
        may_approve = User.staff_role.in_(roles), User.disabled_at.is_(None), User.id != request.asked_by_id
        for user in db.session.scalars(select(User).where(*may_approve, ~on_its_way).order_by(User.id)).all():
            ask_for_letter(LetterKind.APPROVAL_WANTED, user, user.email, now=now, about=about)


def _about(request: ApprovalRequest) -> tuple[str, Permission]:
    """What waits, in words, and what one has to be allowed to decide it."""
    facts = request.facts
    if request.subject_kind == "invoice":
        month = month_name(date.fromisoformat(f"{facts['month']}-01"))
        total = money(facts["total"], facts["currency"])
        return f"an invoice of {month} over {total}", Permission.FINALIZE_INVOICES
    first_day = day(date.fromisoformat(facts["valid_from"]))
    return f"the price “{facts['name']}” from {first_day} on", Permission.PUBLISH_PRICES
