"""Credit grants: promotional ones are used before tax, prepaid ones pay what is due after it.

Every movement is a row that is only added; what is left of a grant is the sum of its rows. Whoever spends or moves
credit holds the lock of the organization's row, so that two invoices never spend the same.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

from sqlalchemy import func, or_, select

from portal.core.commitments import CreditGrant as Left
from portal.core.errors import InvalidInput
from portal.core.money import LARGEST_AMOUNT
from portal.core.periods import Month, midnight
from portal.infra import audit
from portal.infra.db import among, db
from portal.invoicing.models import CreditEntry, CreditGrant, Invoice
from portal.organizations.locking import lock_organization

_LAST_DAY = date(2199, 12, 31)
LONGEST_NAME, LARGEST_RANK = 255, 1000
GrantKind = Literal["promotional", "prepaid"]


def grant_credit(
    organization_id: int,
    *,
    kind: GrantKind,
    name: str,
    amount: int,
    reason: str,
    by: str,
    today: date,
    expires_on: date | None = None,
    rank: int = 0,
) -> CreditGrant:
    """Give an organization credit, in minor units of its currency; it pays invoices up to its last month.

    Raises InvalidInput, naming the field.
    """
    if not 0 < amount <= LARGEST_AMOUNT:
        raise InvalidInput("The amount is more than nothing and at most the largest invoice.", field="amount")
    if not 0 < len(name.strip()) <= LONGEST_NAME:
        raise InvalidInput(f"Name the credit in up to {LONGEST_NAME} characters; the invoice shows it.", field="name")
    if abs(rank) > LARGEST_RANK:
        raise InvalidInput(f"A rank lies between -{LARGEST_RANK} and {LARGEST_RANK}.", field="rank")
    if not reason.strip():
        raise InvalidInput("A credit needs a reason, for the audit log.", field="reason")
    if expires_on is not None and not today <= expires_on < _LAST_DAY:
        raise InvalidInput(f"The last day lies between today and {_LAST_DAY}, not {expires_on}.", field="expires_on")
    grant = CreditGrant(
        organization_id=organization_id,
        kind=kind,
        name=name.strip(),
        amount=amount,
        rank=rank,
        expires_on=expires_on,
        reason=reason.strip(),
        created_by=by,
    )
    db.session.add(grant)
    db.session.flush()
    _move(grant.id, organization_id, amount, "granted")
    audit.record(
        "granted credit",
        subject="credit grant",
        subject_id=grant.id,
        organization_id=organization_id,
        after={"kind": kind, "name": grant.name, "amount": amount, "expires_on": expires_on and expires_on.isoformat()},
        reason=grant.reason,
    )
    return grant


def withdraw_credit(grant_id: int, *, reason: str) -> int:
    """Take back what is left of a grant; returns how much that was. Idempotent: nothing is left the second time."""
    grant = db.session.get_one(CreditGrant, grant_id)
    lock_organization(grant.organization_id)
    left = db.session.scalar(select(func.sum(CreditEntry.amount)).where(CreditEntry.credit_grant_id == grant.id)) or 0
    if left > 0:
        _move(grant.id, grant.organization_id, -int(left), f"withdrawn: {reason}")
        audit.record(
            "withdrew credit",
            subject="credit grant",
            subject_id=grant.id,
            organization_id=grant.organization_id,
            before={"left": int(left)},
            reason=reason,
        )
    return max(int(left), 0)


def grants_of(organization_id: int) -> list[tuple[CreditGrant, int]]:
    """All grants of an organization with what is left of each, newest first."""
    rows = db.session.execute(
        select(CreditGrant, func.coalesce(func.sum(CreditEntry.amount), 0))
        .outerjoin(CreditEntry, CreditEntry.credit_grant_id == CreditGrant.id)
        .where(CreditGrant.organization_id == organization_id)
        .group_by(CreditGrant.id)
        .order_by(CreditGrant.id.desc())
    )
    return [(row[0], int(row[1])) for row in rows]


def credit_for(
    organization_id: int, month: Month, *, frozen_invoice_id: int | None = None
) -> list[tuple[CreditGrant, Left]]:
    """The grants that can pay a month's invoice, with what is left of each; one pays up to the month it expires in.

    What `frozen_invoice_id` has taken already, in its hold window, is still its own.
    """
    frozen = [] if frozen_invoice_id is None else [frozen_invoice_id]
    return credit_for_many([organization_id], month, frozen_invoice_ids=frozen)[organization_id]


def credit_for_many(
    organization_ids: Sequence[int], month: Month, *, frozen_invoice_ids: Collection[int] = ()
) -> dict[int, list[tuple[CreditGrant, Left]]]:
    """The same of many organizations, in one query."""
    others = CreditEntry.credit_grant_id == CreditGrant.id
    if frozen_invoice_ids:
        others &= or_(CreditEntry.invoice_id.is_(None), ~among(CreditEntry.invoice_id, frozen_invoice_ids))
    left = func.sum(CreditEntry.amount)
    found: dict[int, list[tuple[CreditGrant, Left]]] = {each: [] for each in organization_ids}
    for grant, amount in db.session.execute(
        select(CreditGrant, left)
        .join(CreditEntry, others)
        .where(
            among(CreditGrant.organization_id, organization_ids),
            or_(CreditGrant.expires_on.is_(None), CreditGrant.expires_on >= month.first_day),
        )
        .group_by(CreditGrant.id)
        .having(left > 0)
        .order_by(CreditGrant.id)
    ):
        usable = Left(grant.id, int(amount), _expiry(grant), grant.rank)
        found[grant.organization_id].append((grant, usable))
    return found


def _expiry(grant: CreditGrant) -> datetime | None:
    """The first instant after a grant's last day."""
    return midnight(grant.expires_on + timedelta(days=1)) if grant.expires_on else None


def use_credit(invoice: Invoice, used: dict[int, int]) -> None:
    """Write down what an invoice takes of each grant, in minor units."""
    for grant_id, amount in used.items():
        _move(grant_id, invoice.organization_id, -amount, "used for an invoice", invoice.id)


def give_credit_back(invoice: Invoice, reason: str) -> None:
    """Give back whatever an invoice has taken of credit grants. Idempotent."""
    taken = db.session.execute(
        select(CreditEntry.credit_grant_id, func.sum(CreditEntry.amount))
        .where(CreditEntry.invoice_id == invoice.id)
        .group_by(CreditEntry.credit_grant_id)
        .having(func.sum(CreditEntry.amount) != 0)
        .order_by(CreditEntry.credit_grant_id)
    ).all()
    for grant_id, amount in taken:
        _move(grant_id, invoice.organization_id, -int(amount), f"given back: {reason}", invoice.id)


def _move(grant_id: int, organization_id: int, amount: int, reason: str, invoice_id: int | None = None) -> None:
    db.session.add(
        CreditEntry(
            credit_grant_id=grant_id,
            organization_id=organization_id,
            invoice_id=invoice_id,
            amount=amount,
            reason=reason,
        )
    )
