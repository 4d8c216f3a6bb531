"""What was agreed with an organization: subscriptions, its own prices, credits, coupons and taxes."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from flask import Response, render_template

from portal.admin import agreement_forms as forms
from portal.admin.staff import staff_blueprint
from portal.catalog.coupons import redemptions_of
from portal.catalog.listing import own_prices
from portal.catalog.standing import STANDING_CSV_HEAD, standing_csv_rows, standings_of
from portal.catalog.tax_rates import tax_rates_for
from portal.catalog.wording import coupon_in_words
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.pages import csv_response, policy
from portal.invoicing.crediting import grants_of
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of

bp = staff_blueprint("admin_agreement")
_HERE = "/organizations/<uuid:public_id>/agreement"


@bp.get(_HERE)
@policy("view organizations")
def show(public_id: UUID) -> str:
    """The whole agreement on one page."""
    organization, now = organization_of(public_id), clock.now()
    return render_template(
        "admin/agreement/show.html",
        organization=organization,
        standings=standings_of(organization, now),
        grants=grants_of(organization.id),
        coupons=[(each, coupon_in_words(each.coupon)) for each in redemptions_of(organization.id)],
        rates=tax_rates_for(organization.id),
        prices=own_prices(organization.id),
        tax=forms.TaxForm(formdata=None, **forms.tax_values(organization)).facts(),
        month=Month.of(now),
        today=now.date(),
    )


@bp.get(f"{_HERE}/<any(subscriptions, prices, credits, coupons, 'tax-rates'):table>.csv")
@policy("view organizations")
def as_csv(public_id: UUID, table: str) -> Response:
    """One of the page's tables as a file."""
    organization = organization_of(public_id)
    head, rows = _TABLES[table](organization)
    return csv_response(f"{table}-{organization.slug}", head, rows)


Table = tuple[Sequence[str], list[Sequence[Any]]]


def _subscriptions_table(organization: Organization) -> Table:
    return STANDING_CSV_HEAD, list(standing_csv_rows(standings_of(organization, clock.now())))


def _prices_table(organization: Organization) -> Table:
    rows = [
        (
            entry.price.public_id,
            entry.price.name,
            entry.of.code,
            "; ".join(f"{name}={value}" for name, value in entry.price.match.items()),
            version.valid_from,
            version.last_day,
            version.sentence,
            entry.archived_on,
        )
        for entry in own_prices(organization.id)
        for version in entry.versions
    ]
    return ("id", "price", "of", "dimensions", "valid_from", "valid_until", "sentence", "archived_on"), list(rows)


def _credits_table(organization: Organization) -> Table:
    currency = organization.currency
    rows = [
        (
            grant.public_id,
            grant.name,
            grant.kind,
            currency,
            major_text(grant.amount, currency),
            major_text(left, currency),
            grant.expires_on,
            grant.reason,
            grant.created_by,
        )
        for grant, left in grants_of(organization.id)
    ]
    return ("id", "name", "kind", "currency", "granted", "left", "expires_on", "reason", "by"), list(rows)


def _coupons_table(organization: Organization) -> Table:
    rows = [
        (each.public_id, each.coupon.code, coupon_in_words(each.coupon), each.first_month, each.last_month)
        for each in redemptions_of(organization.id)
    ]
    return ("id", "code", "worth", "first_month", "last_month"), list(rows)


def _tax_rates_table(organization: Organization) -> Table:
    rows = [
        (
            each.percent,
            each.product.name if each.product else "everything",
            "own" if each.organization_id else "everybody's",
            each.valid_from,
        )
        for each in tax_rates_for(organization.id)
    ]
    return ("percent", "of", "whose", "valid_from"), list(rows)


_TABLES: dict[str, Callable[[Organization], Table]] = {
    "subscriptions": _subscriptions_table,
    "prices": _prices_table,
    "credits": _credits_table,
    "coupons": _coupons_table,
    "tax-rates": _tax_rates_table,
}
