"""Pages of final invoices with their documents."""

from sqlalchemy import select, tuple_
from sqlalchemy.orm import joinedload

from portal.infra.db import db
from portal.invoicing.models import Invoice


def final_invoices(organization_id: int | None, *, after: Invoice | None = None, limit: int) -> list[Invoice]:
    """One page of invoices that have a document, newest month first; of all organizations if none is named.

    `after` is the last one of the page before.
    """
    query = (
        select(Invoice)
        .where(Invoice.number.is_not(None))
        .options(joinedload(Invoice.organization))
        .order_by(Invoice.period_start.desc(), Invoice.id.desc())
        .limit(limit)
    )
    if organization_id is not None:
        query = query.where(Invoice.organization_id == organization_id)
    if after is not None:
        query = query.where(tuple_(Invoice.period_start, Invoice.id) < tuple_(after.period_start, after.id))
    return list(db.session.scalars(query))
