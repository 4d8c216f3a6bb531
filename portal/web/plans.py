"""Plans and prices: what the organization has agreed to, the credit that it has, and what everything costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from uuid import UUID

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from portal.catalog.coupons import redemptions_of
from portal.catalog.listing import VERSION_CSV_HEAD, Entry, ListedVersion, entry_of, prices_for, version_csv_rows
from portal.catalog.standing import STANDING_CSV_HEAD, standing_csv_rows, standings_of
from portal.catalog.wording import coupon_in_words, terms_facts, tier_rows
from portal.core.money import major_text
from portal.core.periods import Month
from portal.infra import clock
from portal.infra.languages import _
from portal.infra.pages import csv_response, policy
from portal.invoicing.crediting import grants_of
from portal.organizations.queries import organization_by_id
from portal.signed_in import guard_page, my_seat

CREDITS_HEAD = ("Credit", "Kind", "Currency", "Granted", "Left", "Pays invoices up to")
PRICES_HEAD = ("Product", "Of", "Price", "Dimensions", "Whose", "Currency", "Now", "Since", "Next", "Next from")
bp = Blueprint("plans", __name__)
bp.before_request(guard_page)


@dataclass(frozen=True, slots=True)
class ShownPrice:
    """One line of the price list; `now` is missing while its first version is still to come."""

    entry: Entry
    now: ListedVersion | None
    coming: ListedVersion | None
    is_replaced: bool

    @property
    def whose(self) -> str:
        """To whom it applies, in words; "" for a price of everybody."""
        if self.entry.price.organization_id is not None:
            return _("your price")
        if self.is_replaced:
            return _("replaced by your price")
        return _("with %(name)s", name=self.entry.for_plan.name) if self.entry.for_plan else ""


@bp.get("/plans")
@policy("view invoices")
def show() -> ResponseReturnValue:
    """Subscriptions, credits and coupons, and the price list, on one page."""
    seat, now = my_seat(), clock.now()
    month = Month.of(now)
    prices = _price_list(seat.organization_id, seat.currency, now.date())
    return render_template(
        "web/plans/show.html",
        currency=seat.currency,
        standings=standings_of(organization_by_id(seat.organization_id), now),
        grants=grants_of(seat.organization_id),
        coupons=[
            (each, coupon_in_words(each.coupon))
            for each in redemptions_of(seat.organization_id)
            if not _is_over(each.last_month, month)
        ],
        products=[(name, list(each)) for name, each in groupby(prices, key=lambda price: price.entry.product.name)],
        month=month,
        today=now.date(),
    )


@bp.get("/plans/subscriptions.csv")
@policy("view invoices")
def download_subscriptions() -> ResponseReturnValue:
    """The subscriptions, ended ones too; a period's last day is included."""
    standings = standings_of(organization_by_id(my_seat().organization_id), clock.now())
    return csv_response("subscriptions", STANDING_CSV_HEAD, standing_csv_rows(standings))


@bp.get("/plans/credits.csv")
@policy("view invoices")
def download_credits() -> ResponseReturnValue:
    """The credits with what is left of them."""
    seat = my_seat()
    rows = [
        (
            grant.name,
            grant.kind,
            seat.currency,
            major_text(grant.amount, seat.currency),
            major_text(left, seat.currency),
            grant.expires_on and Month.of(grant.expires_on),
        )
        for grant, left in grants_of(seat.organization_id)
    ]
    return csv_response("credits", CREDITS_HEAD, rows)


@bp.get("/plans/prices.csv")
@policy("view invoices")
def download_prices() -> ResponseReturnValue:
    """The price list of the page."""
    seat = my_seat()
    rows = [
        (
            each.entry.product.name,
            each.entry.of.name,
            each.entry.price.name,
            "; ".join(f"{name}={value}" for name, value in each.entry.price.match.items()),
            each.whose,
            seat.currency,
            each.now and each.now.sentence,
            each.now and each.now.valid_from,
            each.coming and each.coming.sentence,
            each.coming and each.coming.valid_from,
        )
        for each in _price_list(seat.organization_id, seat.currency, clock.now().date())
    ]
    return csv_response(f"prices-{seat.currency}", PRICES_HEAD, rows)


@bp.get("/plans/prices/<uuid:public_id>")
@policy("view invoices")
def show_price(public_id: UUID) -> ResponseReturnValue:
    """One price: its sentence, its tiers, and its versions in the order of time."""
    entry, today = entry_of(public_id, visible_to=my_seat().organization_id), clock.now().date()
    shown = entry.on(today) or entry.next_after(today) or entry.versions[-1]
    place = {"unit": entry.of.unit, "currency": entry.price.currency}
    return render_template(
        "web/plans/price.html",
        entry=entry,
        price=ShownPrice(entry, entry.on(today), entry.next_after(today), is_replaced=False),
        shown=shown,
        facts=terms_facts(shown.terms, **place, interval=entry.interval),
        tiers=tier_rows(shown.terms, **place),
        today=today,
    )


@bp.get("/plans/prices/<uuid:public_id>.csv")
@policy("view invoices")
def download_price(public_id: UUID) -> ResponseReturnValue:
    """All versions of one price, a row for each tier."""
    entry = entry_of(public_id, visible_to=my_seat().organization_id)
    return csv_response(f"price-{public_id}", VERSION_CSV_HEAD, version_csv_rows(entry, with_notes=False))


def _price_list(organization_id: int, currency: str, today: date) -> list[ShownPrice]:
    """The prices that hold or are announced, of what is still sold: by product, by what they are of, the own first."""
    entries = [each for each in prices_for(organization_id, currency) if _is_sold(each, today)]
    own = [each for each in entries if each.price.organization_id is not None]
    shown = [_shown(each, own, today) for each in entries]
    return sorted(shown, key=lambda each: (each.entry.product.name, each.entry.of.name, not each.entry.organization))


def _shown(entry: Entry, own: Sequence[Entry], today: date) -> ShownPrice:
    replaced = any(each.goes_before(entry, today) for each in own)
    return ShownPrice(entry, entry.on(today), entry.next_after(today), replaced)


def _is_sold(entry: Entry, today: date) -> bool:
    return entry.of.archived_at is None and (entry.on(today) or entry.next_after(today)) is not None


def _is_over(last_month: date | None, month: Month) -> bool:
    return last_month is not None and last_month < month.first_day
