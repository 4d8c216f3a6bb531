"""Tax rates: each holds from a day on, for everybody or one organization, for everything or one product."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from portal.catalog.models import Product, TaxRate
from portal.core.errors import InvalidInput, NotFound
from portal.core.exact import plain
from portal.core.taxes import LIKE_PRODUCT, NO_TAX_ON_ITEM, STANDARD_RATE
from portal.infra import audit
from portal.infra.db import among, db
from portal.organizations.locking import lock_organization

# What the column NUMERIC(9,6) holds without rounding.
_DECIMALS = 6
_LIMIT = 1000


def add_tax_rate(
    percent: Decimal,
    *,
    valid_from: date,
    organization_id: int | None = None,
    product: Product | None = None,
    open_from: date | None,
) -> TaxRate:
    """Add a rate from a day on. Idempotent for the same percentage at the same place on the same day.

    `open_from` is the first day that no final invoice has billed yet (invoicing.queries.open_from): the
    organization's, or the latest of all for a rate of everybody. Raises InvalidInput, naming the field, if that day
    has another rate (a rate never changes) or lies in a period that has been billed.
    """
    _require_percent(percent)
    if organization_id is not None:
        lock_organization(organization_id)
    place = {"organization_id": organization_id, "product_id": product.id if product else None}
    existing = _rate_at(place, valid_from)
    if existing is None:
        if open_from is not None and valid_from < open_from:
            raise InvalidInput(
                f"The rate cannot apply from {valid_from}: invoices up to {open_from} are final. Choose {open_from} or"
                " a later day.",
                field="valid_from",
            )
        made = _insert(place, percent, valid_from)
        if made is not None:
            return made
        # Somebody else has added one at this moment.
        existing = _rate_at(place, valid_from)
        assert existing is not None
    if existing.percent == percent:
        return existing
    raise InvalidInput(
        f"From {valid_from} the rate is {plain(existing.percent)}% already; a rate never changes, so add the other one"
        " from another day.",
        field="valid_from",
    )


def _require_percent(percent: Decimal) -> None:
    if not (percent.is_finite() and 0 <= percent < _LIMIT):
        raise InvalidInput(f"A tax rate is zero or more and below {_LIMIT}%.", field="percent")
    if percent != round(percent, _DECIMALS):
        raise InvalidInput(f"A tax rate has at most {_DECIMALS} decimals.", field="percent")


def _rate_at(place: dict[str, int | None], valid_from: date) -> TaxRate | None:
    columns = [getattr(TaxRate, column).is_not_distinct_from(value) for column, value in place.items()]
    return db.session.scalar(select(TaxRate).where(*columns, TaxRate.valid_from == valid_from))


def _insert(place: dict[str, int | None], percent: Decimal, valid_from: date) -> TaxRate | None:
    """Add the row and its audit entry; None if the place has a rate from that day."""
    rate = db.session.scalar(
        insert(TaxRate)
        .values(percent=percent, valid_from=valid_from, **place)
        .on_conflict_do_nothing(index_elements=["organization_id", "product_id", "valid_from"])
        .returning(TaxRate)
    )
    if rate is not None:
        audit.record(
            "added tax rate",
            subject="tax rate",
            subject_id=rate.id,
            organization_id=rate.organization_id,
            after={"percent": plain(percent), "valid_from": valid_from.isoformat(), "product_id": rate.product_id},
        )
    return rate


def tax_rates_for(organization_id: int) -> list[TaxRate]:
    """The rates of everybody and the organization's own, with their products, oldest first."""
    return tax_rates_of_many([organization_id])[organization_id]


def tax_rates_of_many(organization_ids: Sequence[int]) -> dict[int, list[TaxRate]]:
    """The same of many organizations, in one query."""
    rates = list(
        db.session.scalars(
            select(TaxRate)
            .where(or_(TaxRate.organization_id.is_(None), among(TaxRate.organization_id, organization_ids)))
            .options(joinedload(TaxRate.product))
            .order_by(TaxRate.valid_from, TaxRate.id)
        )
    )
    of_everybody = [rate for rate in rates if rate.organization_id is None]
    having_own = {rate.organization_id for rate in rates}
    return {
        each: [rate for rate in rates if rate.organization_id in (None, each)] if each in having_own else of_everybody
        for each in organization_ids
    }


def tax_codes() -> dict[str, str]:
    """The tax codes that a one-off item can have of its own, with words for each: a product's if it has own rates."""
    named = select(Product.name).where(Product.id.in_(select(TaxRate.product_id))).order_by(Product.name)
    return {
        STANDARD_RATE: "The standard rate",
        NO_TAX_ON_ITEM: "Exempt from tax",
        **{f"{LIKE_PRODUCT}{name}": f"The rate of {name}" for name in db.session.scalars(named)},
    }


def require_tax_code(code: str | None) -> None:
    """Raises InvalidInput for a code that there is not; None is the product's own."""
    if code is not None and code not in tax_codes():
        raise InvalidInput(f"There is no tax code “{code[:60]}”.", field="tax_code")


def product_named(name: str) -> Product:
    """The product with this name. Raises NotFound."""
    product: Product | None = db.session.scalar(select(Product).where(Product.name == name))
    if product is None:
        raise NotFound(f"There is no product “{name}”.")
    return product
