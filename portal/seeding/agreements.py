"""What the demo's customers have agreed: plans, coupons, credits and taxes, one story each."""

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import select

from portal.budgets.keeping import USUAL_THRESHOLDS, Watched, budgets_of, set_budget
from portal.catalog.coupons import create_coupon, redeem, redemptions_of
from portal.catalog.models import Coupon, Plan, Subscription
from portal.catalog.subscribing import change_subscription, subscribe
from portal.catalog.tax_rates import add_tax_rate
from portal.core.lifecycle import InvoiceState
from portal.core.periods import Month
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.db import db
from portal.invoicing.crediting import grant_credit, grants_of
from portal.invoicing.models import Invoice
from portal.organizations.models import Organization
from portal.organizations.taxing import set_tax_terms
from portal.seeding.cast import Agreement, Customer

COUPON = "DEMO10"
PROMOTIONAL_CENTS, PREPAID_CENTS = 5_000, 900_000
BUDGET_STEP = 5_000
TAX_PERCENT = Decimal(10)


def make_coupons() -> None:
    """The coupon that a customer of the demo has. Idempotent."""
    if db.session.scalar(select(Coupon.id).where(Coupon.code == COUPON)) is None:
        create_coupon(COUPON, name="Early supporter", percent=Decimal(10), products=("Compute",))


def agree(customer: Customer, organization: Organization, first_month: Month, *, now: datetime) -> None:
    """Agree with a customer what its story says, from its first month on. Idempotent: who has agreed is left alone."""
    if db.session.scalar(select(Subscription.id).where(Subscription.organization_id == organization.id).limit(1)):
        return
    plans = {plan.code: plan for plan in db.session.scalars(select(Plan))}
    wanted = dict(customer.plans)
    if customer.agreement is Agreement.RESERVATION:
        wanted["reserved_machines"] = 10
    if customer.agreement is Agreement.COMMITMENT:
        wanted["committed_spend"] = 1
    subscriptions = {
        code: subscribe(organization, plans[code], quantity=quantity, starts_at=first_month.start, open_from=None)
        for code, quantity in wanted.items()
    }
    match customer.agreement:
        case Agreement.MORE_SEATS:
            change_subscription(
                subscriptions["dedicated_ipv4"].id,
                quantity=10,
                at=Month.of(now).previous.start + timedelta(days=14, hours=9, minutes=30),
                now=now,
                open_from=None,
            )
        case Agreement.COUPON:
            _redeem(organization, first_month, now)
        case Agreement.PROMOTIONAL_CREDIT:
            _grant(organization, "Credit for the outage", PROMOTIONAL_CENTS, now, prepaid=False)
        case Agreement.PREPAID_CREDIT:
            _grant(organization, "Paid in advance", PREPAID_CENTS, now, prepaid=True)
        case Agreement.TAXED:
            add_tax_rate(TAX_PERCENT, valid_from=first_month.first_day, organization_id=organization.id, open_from=None)
        case Agreement.REVERSE_CHARGE:
            set_tax_terms(
                organization.id,
                treatment=TaxTreatment.REVERSE_CHARGE,
                rounding=TaxRounding.SUM_BY_NET,
                prices_include_tax=False,
                tax_id=customer.tax_id,
            )


def _redeem(organization: Organization, first_month: Month, now: datetime) -> None:
    if not redemptions_of(organization.id):
        redeem(organization, COUPON, first_month=first_month, today=now.date(), open_from=None)


def _grant(organization: Organization, name: str, amount: int, now: datetime, *, prepaid: bool) -> None:
    if not grants_of(organization.id):
        grant_credit(
            organization.id,
            kind="prepaid" if prepaid else "promotional",
            name=name,
            amount=amount,
            reason="part of the demo",
            by="seed",
            today=now.date(),
        )


def set_first_budget(organization: Organization, *, now: datetime) -> None:
    """A budget a little above the last invoice, as a careful customer would set it. Idempotent."""
    last = db.session.scalar(
        select(Invoice.total)
        .where(Invoice.organization_id == organization.id, Invoice.state == InvoiceState.FINALIZED, Invoice.total > 0)
        .order_by(Invoice.period_start.desc())
        .limit(1)
    )
    if last is not None and not budgets_of(organization.id):
        amount = (last // BUDGET_STEP + 1) * BUDGET_STEP
        set_budget(organization, Watched(), amount=amount, thresholds=USUAL_THRESHOLDS, now=now)
