"""Which account at Stripe our invoices go to: remembered when it is first seen, so that another one is noticed.

Customers and invoices of one account do not exist in another: with the wrong key everything would be made again there.
"""

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert

from portal.infra import audit
from portal.infra.db import db
from portal.payments.models import StripeAccount


def remember_account(account_id: str) -> StripeAccount:
    """The account that was seen first, which is this one if there is none yet. Idempotent."""
    db.session.execute(insert(StripeAccount).values(account_id=account_id).on_conflict_do_nothing())
    return db.session.get_one(StripeAccount, 1)


def forget_account() -> str | None:
    """Let the next account that is seen be ours, and say which one it was; None if there was none. Idempotent."""
    forgotten: str | None = db.session.scalar(delete(StripeAccount).returning(StripeAccount.account_id))
    if forgotten is None:
        return None
    audit.record(
        "forgot the account at Stripe",
        subject="stripe account",
        subject_id=None,
        organization_id=None,
        before={"account": forgotten},
    )
    return forgotten
