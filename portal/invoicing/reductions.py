"""What lowers an organization's invoice of a month, and how it is taxed: read from the tables, ready for composing."""

from collections.abc import Iterable, Sequence

from portal.catalog.models import CouponRedemption
from portal.catalog.models import TaxRate as StoredRate
from portal.catalog.tax_rates import tax_rates_for
from portal.core.commitments import CreditGrant as Left
from portal.core.commitments import in_order_of_use
from portal.core.periods import Month
from portal.core.sentences import percent
from portal.core.statement import LineKind, Reduction
from portal.core.taxes import TaxRate, TaxRounding, TaxTerms, TaxTreatment
from portal.invoicing.models import CreditGrant
from portal.organizations.models import Organization


def coupons_of(redemptions: Iterable[CouponRedemption]) -> list[Reduction]:
    """The coupons that hold in a month, in the order in which they were given."""
    return [
        Reduction(
            kind=LineKind.COUPON,
            description=each.coupon.name + (f" ({percent(each.coupon.percent)})" if each.coupon.percent else ""),
            percent=each.coupon.percent,
            fixed=each.coupon.amount,
            products=frozenset(each.coupon.products),
            references={"coupon_redemption_id": each.id},
            derivation={"coupon": each.coupon.code, "products": sorted(each.coupon.products)},
        )
        for each in redemptions
    ]


def promotional(credit: Sequence[tuple[CreditGrant, Left]]) -> list[Reduction]:
    """The promotional credits among an organization's, in the order in which they are used."""
    grants = {grant.id: grant for grant, _ in credit}
    return [
        Reduction(
            kind=LineKind.PROMOTIONAL,
            description=grants[left.id].name,
            fixed=left.left,
            references={"credit_grant_id": left.id},
            derivation={"expires_on": str(grants[left.id].expires_on or "")},
        )
        for left in in_order_of_use(_left_of(credit, "promotional"))
    ]


def prepaid(credit: Sequence[tuple[CreditGrant, Left]]) -> list[Left]:
    """The prepaid credits among an organization's."""
    return list(_left_of(credit, "prepaid"))


def _left_of(credit: Iterable[tuple[CreditGrant, Left]], kind: str) -> Iterable[Left]:
    return (left for grant, left in credit if grant.kind == kind)


def tax_terms_of(organization: Organization, month: Month, known: Iterable[StoredRate] | None = None) -> TaxTerms:
    """How an organization's invoice of a month is taxed: by the rates that hold on the month's last day.

    `known` are its rates and everybody's, for whoever has read them already.
    """
    rates = tuple(
        TaxRate(
            percent=rate.percent,
            valid_from=rate.valid_from,
            product=rate.product.name if rate.product else None,
            own=rate.organization_id is not None,
        )
        for rate in (tax_rates_for(organization.id) if known is None else known)
    )
    return TaxTerms(
        treatment=TaxTreatment(organization.tax_treatment),
        rates=rates,
        rounding=TaxRounding(organization.tax_rounding),
        inclusive=organization.prices_include_tax,
        day=month.last_day,
    )
