"""Coupons: making them, and giving them to organizations.

A redemption lowers the invoices of its months, both ends included. What a final invoice was lowered by never changes:
redemptions begin and end only in months that are still open.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import joinedload

from portal.catalog.models import Coupon, CouponRedemption, Product
from portal.core import discounts
from portal.core.currencies import require_currency
from portal.core.errors import InvalidInput, NotFound
from portal.core.exact import plain
from portal.core.money import LARGEST_AMOUNT
from portal.core.periods import Month
from portal.infra import audit
from portal.infra.db import among, db
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization

MOST_MONTHS = 120
LONGEST_TEXT = 100
# What the column NUMERIC(9,6) holds without rounding.
_DECIMALS = 6


def create_coupon(
    code: str,
    *,
    name: str,
    percent: Decimal | None = None,
    amount: int | None = None,
    currency: str | None = None,
    products: Sequence[str] = (),
    months: int | None = None,
    stacks: bool = True,
    redeem_by: date | None = None,
) -> Coupon:
    """Make a coupon of a percentage, or of an amount in minor units of a currency; for ever without `months`.

    Raises InvalidInput, naming the field, if it says both or neither, if a product does not exist or the code is
    taken.
    """
    code, name = code.strip(), name.strip()
    if not 0 < len(code) <= LONGEST_TEXT:
        raise InvalidInput(f"Give the coupon a code of up to {LONGEST_TEXT} characters.", field="code")
    if not 0 < len(name) <= LONGEST_TEXT:
        raise InvalidInput(f"Name the coupon in up to {LONGEST_TEXT} characters; the invoice shows it.", field="name")
    _require_worth(percent, amount, currency)
    if months is not None and not 1 <= months <= MOST_MONTHS:
        raise InvalidInput(f"A coupon lasts 1 to {MOST_MONTHS} months, or for ever without a number.", field="months")
    unknown = set(products) - set(db.session.scalars(select(Product.name).where(Product.name.in_(products))))
    if unknown:
        raise InvalidInput(f"There is no product “{min(unknown)}”.", field="products")
    values = {
        "code": code,
        "name": name,
        "percent": percent,
        "amount": amount,
        "currency": currency,
        "products": sorted(set(products)),
        "months": months,
        "stacks": stacks,
        "redeem_by": redeem_by,
    }
    coupon: Coupon | None = db.session.scalar(
        insert(Coupon).values(**values).on_conflict_do_nothing(index_elements=["code"]).returning(Coupon)
    )
    if coupon is None:
        raise InvalidInput(f"There is a coupon “{code}” already.", field="code")
    audit.record(
        "created coupon",
        subject="coupon",
        subject_id=coupon.id,
        organization_id=None,
        after=values | {"percent": percent and plain(percent), "redeem_by": redeem_by and redeem_by.isoformat()},
    )
    return coupon


def _require_worth(percent: Decimal | None, amount: int | None, currency: str | None) -> None:
    if amount is not None and not 0 <= amount <= LARGEST_AMOUNT:
        raise InvalidInput("The amount is zero or more, and at most the largest invoice.", field="amount")
    discounts.Coupon(percent, amount)
    if percent is not None and percent != round(percent, _DECIMALS):
        raise InvalidInput(f"A percentage has at most {_DECIMALS} decimals.", field="percent")
    if (amount is None) != (currency is None):
        raise InvalidInput("An amount has a currency, and a percentage has none.", field="currency")
    if currency is not None:
        require_currency(currency)


def list_coupons() -> list[Coupon]:
    """All coupons by their codes, archived ones too."""
    return list(db.session.scalars(select(Coupon).order_by(Coupon.code)))


def redeem(
    organization: Organization, code: str, *, first_month: Month, today: date, open_from: date | None
) -> CouponRedemption:
    """Give an organization a coupon, from a month on for as many months as the coupon lasts.

    `open_from` is the first day that no final invoice of the organization has billed yet. Raises InvalidInput, naming
    the field, if there is no such coupon, it has expired or is of another currency, the month has been billed or is
    years away, or the coupon cannot stand beside one that the organization has in these months.
    """
    lock_organization(organization.id)
    coupon = _coupon_on_offer(code.strip(), today)
    if coupon.currency is not None and coupon.currency != organization.currency:
        raise InvalidInput(
            f"“{coupon.code}” is an amount in {coupon.currency}; {organization.name} is billed in"
            f" {organization.currency}.",
            field="code",
        )
    if open_from is not None and first_month.first_day < open_from:
        raise InvalidInput(f"{first_month} has been billed; choose a later month.", field="first_month")
    if first_month > Month.of(today).plus(MOST_MONTHS):
        raise InvalidInput(f"{first_month} is more than {MOST_MONTHS} months away.", field="first_month")
    last_month = first_month.plus(coupon.months - 1) if coupon.months else None
    for other in redemptions_of(organization.id):
        if _overlap(other, first_month, last_month):
            _require_stacking(coupon, other)
    redemption = CouponRedemption(
        organization_id=organization.id,
        coupon_id=coupon.id,
        first_month=first_month.first_day,
        last_month=last_month and last_month.first_day,
    )
    db.session.add(redemption)
    db.session.flush()
    audit.record(
        "redeemed coupon",
        subject="coupon redemption",
        subject_id=redemption.id,
        organization_id=organization.id,
        after={
            "code": coupon.code,
            "first_month": str(first_month),
            "last_month": None if last_month is None else str(last_month),
        },
    )
    return redemption


def _coupon_on_offer(code: str, today: date) -> Coupon:
    coupon: Coupon | None = db.session.scalar(select(Coupon).where(Coupon.code == code))
    if coupon is None:
        raise InvalidInput(f"There is no coupon “{code}”.", field="code")
    if coupon.archived_at is not None:
        raise InvalidInput(f"“{code}” is no longer given.", field="code")
    if coupon.redeem_by is not None and coupon.redeem_by < today:
        raise InvalidInput(f"“{code}” could be redeemed until {coupon.redeem_by}.", field="code")
    return coupon


def _overlap(other: CouponRedemption, first: Month, last: Month | None) -> bool:
    begins_later = last is not None and other.first_month > last.first_day
    ends_before = other.last_month is not None and other.last_month < first.first_day
    return not (begins_later or ends_before)


def _require_stacking(coupon: Coupon, other: CouponRedemption) -> None:
    if other.coupon_id == coupon.id:
        raise InvalidInput(f"“{coupon.code}” holds in these months already.", field="code")
    for alone, beside in ((coupon, other.coupon), (other.coupon, coupon)):
        if not alone.stacks:
            raise InvalidInput(
                f"“{alone.code}” stands beside no other coupon, and “{beside.code}” would hold in the same months.",
                field="code",
            )


def redemption_of(public_id: UUID, organization_id: int) -> CouponRedemption:
    """A coupon that an organization was given. Raises NotFound, also for another organization's."""
    redemption: CouponRedemption | None = db.session.scalar(
        select(CouponRedemption)
        .where(CouponRedemption.public_id == public_id, CouponRedemption.organization_id == organization_id)
        .options(joinedload(CouponRedemption.coupon))
    )
    if redemption is None:
        raise NotFound("There is no such coupon.")
    return redemption


def end_redemption(redemption_id: int, *, last_month: Month, open_from: date | None) -> CouponRedemption:
    """Let a coupon of an organization lower no invoice after a month's. Idempotent.

    Raises InvalidInput if that is before its first month, later than it ends anyway, or would raise an invoice that
    is final; NotFound.
    """
    redemption = _locked(redemption_id)
    if redemption.last_month == last_month.first_day:
        return redemption
    first = Month.of(redemption.first_month)
    last = None if redemption.last_month is None else Month.of(redemption.last_month)
    if last_month < first:
        raise InvalidInput(f"It lowers invoices from {first} on, so it cannot end before.", field="last_month")
    if last is not None and last < last_month:
        raise InvalidInput(f"It ends with {last} anyway.", field="last_month")
    if open_from is not None and last_month.next < Month.of(open_from):
        raise InvalidInput(
            f"It has lowered invoices up to {open_from}, and they are final; end it later.", field="last_month"
        )
    redemption.last_month = last_month.first_day
    db.session.flush()
    audit.record(
        "ended coupon redemption",
        subject="coupon redemption",
        subject_id=redemption.id,
        organization_id=redemption.organization_id,
        before={"last_month": None if last is None else str(last)},
        after={"last_month": str(last_month)},
    )
    return redemption


def _locked(redemption_id: int) -> CouponRedemption:
    """The redemption, fresh, under the lock of its organization."""
    query = select(CouponRedemption).where(CouponRedemption.id == redemption_id)
    found: CouponRedemption | None = db.session.scalar(query)
    if found is None:
        raise NotFound("There is no such coupon.")
    lock_organization(found.organization_id)
    return db.session.scalars(query.execution_options(populate_existing=True)).one()


def active_coupons(organization_id: int, month: Month) -> list[CouponRedemption]:
    """The coupons that lower an organization's invoice of a month, in the order in which they were given."""
    return active_coupons_of_many([organization_id], month)[organization_id]


def active_coupons_of_many(organization_ids: Sequence[int], month: Month) -> dict[int, list[CouponRedemption]]:
    """The same of many organizations, in one query."""
    found: dict[int, list[CouponRedemption]] = {each: [] for each in organization_ids}
    for redemption in db.session.scalars(
        select(CouponRedemption)
        .where(
            among(CouponRedemption.organization_id, organization_ids),
            CouponRedemption.first_month <= month.first_day,
            or_(CouponRedemption.last_month.is_(None), CouponRedemption.last_month >= month.first_day),
        )
        .options(joinedload(CouponRedemption.coupon))
        .order_by(CouponRedemption.id)
    ):
        found[redemption.organization_id].append(redemption)
    return found


def redemptions_of(organization_id: int) -> list[CouponRedemption]:
    """All coupons that an organization was given, newest first, ended ones too."""
    return list(
        db.session.scalars(
            select(CouponRedemption)
            .where(CouponRedemption.organization_id == organization_id)
            .options(joinedload(CouponRedemption.coupon))
            .order_by(CouponRedemption.id.desc())
        )
    )
