"""The lock between finalizing and what is sold: a price that holds for everybody never changes under an invoice.

An organization's own agreement is guarded by its row (organizations.locking); list prices and everybody's tax rates
belong to no row, so whoever adds one and whoever finalizes meet here.
"""

from sqlalchemy import func, select

from portal.infra.db import db

_KEY = 7_201_004


def hold_prices() -> None:
    """Let nobody publish until this transaction ends; many may hold at once. For finalizing."""
    db.session.execute(select(func.pg_advisory_xact_lock_shared(_KEY)))


def lock_prices() -> None:
    """Wait until no invoice is being finalized, and keep the next ones waiting until this transaction ends.

    To be taken before asking what is billed already (invoicing.queries.open_from). Idempotent.
    """
    db.session.execute(select(func.pg_advisory_xact_lock(_KEY)))
