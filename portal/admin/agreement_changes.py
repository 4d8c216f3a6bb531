"""Changing what was agreed with an organization: each change is a form, a preview of the drafts, and done once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from flask import g, request
from wtforms.fields import SelectChoice

from portal.admin import agreement_forms as forms
from portal.admin.agreement_steps import Answer, Step, walk
from portal.admin.approving import person, publishing_takes_two, within
from portal.admin.price_forms import publish, terms_text
from portal.admin.staff import staff_blueprint
from portal.catalog.coupons import end_redemption, redeem, redemption_of
from portal.catalog.listing import Entry, all_meters, all_plans, entry_of, list_prices
from portal.catalog.models import Meter, Plan
from portal.catalog.seconding import NewVersion, ask_to_publish
from portal.catalog.subscribing import (
    cancel_subscription,
    change_subscription,
    plan_named,
    resume_subscription,
    subscribe,
    subscription_of,
    take_back_change,
)
from portal.catalog.wording import coupon_in_words, price_in_words, said
from portal.core.errors import InvalidInput, NotFound
from portal.core.periods import Month, midnight
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra import clock
from portal.infra.formats import day, money, month_name, quantity
from portal.infra.pages import policy
from portal.infra.yaml_text import write_yaml
from portal.invoicing.crediting import grant_credit, grants_of, withdraw_credit
from portal.invoicing.models import CreditGrant
from portal.invoicing.queries import agreement_open_from
from portal.organizations.models import Organization
from portal.organizations.queries import organization_of
from portal.organizations.taxing import set_tax_terms

bp = staff_blueprint("admin_agreement_changes")
_HERE = "/organizations/<uuid:public_id>/agreement"


@bp.route(f"{_HERE}/subscriptions/new", methods=["GET", "POST"])
@policy("manage subscriptions")
def start(public_id: UUID) -> Answer:
    """Give the organization a plan."""
    form = forms.StartForm()
    form.plan.choices = _plan_choices()

    def act(organization: Organization, moment: datetime) -> str:
        made = subscribe(
            organization,
            _chosen_plan(form.plan.data),
            starts_at=midnight(form.starts_at.day) if form.starts_at.day else moment,
            open_from=agreement_open_from(organization.id, now=clock.now()),
            quantity=form.quantity.number or 0,
            label=form.label.data,
            trial_days=form.trial_days.number,
            align_to_month=form.periods.data == "month",
        )
        trial = f", with a trial until {said(made.trial_ends_at)}" if made.trial_ends_at else ""
        return (
            f"{quantity(made.quantity)} × {_chosen_plan(form.plan.data).name} starts on {said(made.started_at)}{trial}."
        )

    note = "Its fee is charged in advance, from the end of its trial if it has one."
    return walk(public_id, form, Step("Start a subscription", note, "Start the subscription"), act)


@bp.route(f"{_HERE}/subscriptions/<uuid:subscription_id>/change", methods=["GET", "POST"])
@policy("manage subscriptions")
def change(public_id: UUID, subscription_id: UUID) -> Answer:
    """Another plan or quantity, now or at the end of the period."""
    organization = organization_of(public_id)
    found = subscription_of(subscription_id, organization.id)
    newest = found.changes[-1] if found.changes else found
    form = forms.ChangeForm(plan=newest.plan.code, quantity=str(newest.quantity))
    form.plan.choices = _plan_choices(besides=newest.plan)

    def act(customer: Organization, moment: datetime) -> str:
        made = change_subscription(
            found.id,
            plan=_chosen_plan(form.plan.data),
            quantity=form.quantity.number or 0,
            at=moment if form.at.data == "now" else None,
            now=moment,
            open_from=agreement_open_from(customer.id, now=clock.now()),
        )
        plan = _chosen_plan(form.plan.data)
        return f"It changes to {quantity(made.quantity)} × {plan.name} on {said(made.effective_at)}."

    note = "A change now gives back the unused part of the old fee and charges the same part of the new one."
    return walk(public_id, form, Step(f"Change {newest.plan.name}", note, "Change the subscription"), act)


@bp.route(f"{_HERE}/subscriptions/<uuid:subscription_id>/cancel", methods=["GET", "POST"])
@policy("manage subscriptions")
def cancel(public_id: UUID, subscription_id: UUID) -> Answer:
    """The end of a subscription, now or with the period."""
    found = subscription_of(subscription_id, organization_of(public_id).id)
    form = forms.CancelForm()

    def act(customer: Organization, moment: datetime) -> str:
        ended = cancel_subscription(
            found.id,
            at=moment if form.at.data == "now" else None,
            now=moment,
            open_from=agreement_open_from(customer.id, now=clock.now()),
            reason=form.reason.data or "",
        )
        assert ended.ended_at is not None, "it was cancelled just now"
        return f"{found.plan.name} ends on {said(ended.ended_at)}."

    note = "At the end of its period nothing is given back, because everything that was paid for is used."
    step = Step(f"Cancel {found.plan.name}", note, "Cancel the subscription", is_harmful=True)
    return walk(public_id, form, step, act)


@bp.route(f"{_HERE}/subscriptions/<uuid:subscription_id>/resume", methods=["GET", "POST"])
@policy("manage subscriptions")
def resume(public_id: UUID, subscription_id: UUID) -> Answer:
    """Take back a cancellation that is still to come."""
    found = subscription_of(subscription_id, organization_of(public_id).id)

    def act(_: Organization, moment: datetime) -> str:
        resume_subscription(found.id, now=moment)
        return f"{found.plan.name} goes on without an end."

    note = "Its cancellation is still to come, so it can be taken back."
    return walk(public_id, forms.SureForm(), Step(f"Resume {found.plan.name}", note, "Resume the subscription"), act)


@bp.route(f"{_HERE}/subscriptions/<uuid:subscription_id>/changes/<uuid:change_id>/take-back", methods=["GET", "POST"])
@policy("manage subscriptions")
def take_back(public_id: UUID, subscription_id: UUID, change_id: UUID) -> Answer:
    """Take back a change that is still to come."""
    found = subscription_of(subscription_id, organization_of(public_id).id)

    def act(_: Organization, moment: datetime) -> str:
        taken = take_back_change(found.id, change_id, now=moment)
        return f"The change of {said(taken.effective_at)} will not come."

    note = "The subscription stays as it is before that change."
    step = Step(f"Take back a change of {found.plan.name}", note, "Take back the change")
    return walk(public_id, forms.SureForm(), step, act)


def _plan_choices(*, besides: Plan | None = None) -> list[SelectChoice]:
    """The plans on sale, and one that a subscription has."""
    plans = [each for each in all_plans() if each.archived_at is None or (besides and each.id == besides.id)]
    return forms.choices_of((each.code, each.name) for each in plans)


def _chosen_plan(code: str | None) -> Plan:
    return plan_named(code or "")


@bp.route(f"{_HERE}/coupons/new", methods=["GET", "POST"])
@policy("manage credits, coupons and taxes")
def redeem_coupon(public_id: UUID) -> Answer:
    """Give the organization a coupon."""
    month = Month.of(clock.now())
    form = forms.RedeemForm(first_month=str(month))
    form.first_month.choices = forms.months_from(month.previous)

    def act(organization: Organization, moment: datetime) -> str:
        given = redeem(
            organization,
            form.code.data or "",
            first_month=Month.parse(form.first_month.data),
            today=moment.date(),
            open_from=agreement_open_from(organization.id, now=clock.now()),
        )
        until = f"until {month_name(given.last_month)}" if given.last_month else "without an end"
        worth = coupon_in_words(given.coupon)
        return f"“{given.coupon.name}”, {worth}, holds from {month_name(given.first_month)} {until}."

    note = "It lowers the drafts of its months at once; final invoices stay as they are."
    return walk(public_id, form, Step("Redeem a coupon", note, "Redeem the coupon"), act)


@bp.route(f"{_HERE}/coupons/<uuid:redemption_id>/end", methods=["GET", "POST"])
@policy("manage credits, coupons and taxes")
def end_coupon(public_id: UUID, redemption_id: UUID) -> Answer:
    """Let a coupon end earlier."""
    found = redemption_of(redemption_id, organization_of(public_id).id)
    month = Month.of(clock.now())
    form = forms.EndCouponForm(last_month=str(month))
    form.last_month.choices = forms.months_from(month.previous)

    def act(customer: Organization, _: datetime) -> str:
        last_month = Month.parse(form.last_month.data)
        end_redemption(found.id, last_month=last_month, open_from=agreement_open_from(customer.id, now=clock.now()))
        return f"“{found.coupon.name}” lowers no invoice after {month_name(last_month.first_day)}."

    note = f"{coupon_in_words(found.coupon)}, since {month_name(found.first_month)}."
    return walk(public_id, form, Step(f"End “{found.coupon.name}”", note, "End the coupon", is_harmful=True), act)


@bp.route(f"{_HERE}/credits/new", methods=["GET", "POST"])
@policy("manage credits, coupons and taxes")
def grant(public_id: UUID) -> Answer:
    """Give the organization credit."""
    month = Month.of(clock.now())
    form = forms.GrantForm()
    form.expires_on.choices = [*forms.choices_of([("", "No end")]), *forms.months_from(month)]
    form.amount.description = f"In {organization_of(public_id).currency}, for example 1,234.50."

    def act(organization: Organization, moment: datetime) -> str:
        made = grant_credit(
            organization.id,
            kind=form.kind.data,
            name=form.name.data or "",
            amount=form.amount_in(organization.currency),
            reason=form.reason.data or "",
            by=g.actor.name,
            today=moment.date(),
            expires_on=forms.last_day_of(form.expires_on.data or ""),
        )
        until = f", for invoices up to {month_name(made.expires_on)}" if made.expires_on else ""
        return f"{money(made.amount, organization.currency)} of credit, “{made.name}”{until}."

    note = "It is used for the drafts that are open, the one that expires first before the others."
    return walk(public_id, form, Step("Grant credit", note, "Grant the credit"), act)


@bp.route(f"{_HERE}/credits/<uuid:grant_id>/withdraw", methods=["GET", "POST"])
@policy("manage credits, coupons and taxes")
def withdraw(public_id: UUID, grant_id: UUID) -> Answer:
    """Take back what is left of a credit."""
    found = _grant(organization_of(public_id), grant_id)
    form = forms.WithdrawForm()

    def act(organization: Organization, _: datetime) -> str:
        left = withdraw_credit(found.id, reason=form.reason.data or "")
        return f"{money(left, organization.currency)} of “{found.name}” was withdrawn."

    note = "What final invoices have used of it stays used."
    step = Step(f"Withdraw “{found.name}”", note, "Withdraw the credit", is_harmful=True)
    return walk(public_id, form, step, act)


def _grant(organization: Organization, public_id: UUID) -> CreditGrant:
    for each, _ in grants_of(organization.id):
        if each.public_id == public_id:
            return each
    raise NotFound("There is no such credit.")


@bp.route(f"{_HERE}/taxes", methods=["GET", "POST"])
@policy("manage credits, coupons and taxes")
def taxes(public_id: UUID) -> Answer:
    """How the organization is taxed."""
    form = forms.TaxForm(**forms.tax_values(organization_of(public_id)))

    def act(organization: Organization, _: datetime) -> str:
        set_tax_terms(
            organization.id,
            treatment=TaxTreatment(form.treatment.data),
            rounding=TaxRounding(form.rounding.data),
            prices_include_tax=form.included.data == "yes",
            tax_id=form.tax_id.data,
        )
        return "The tax terms hold for all drafts from now on."

    note = "Final invoices stay as they are. A rate of the organization’s own is set by command: flask tax."
    return walk(public_id, form, Step("Change the tax terms", note, "Change the tax terms"), act)


@bp.route(f"{_HERE}/prices/new", methods=["GET", "POST"])
@policy("publish prices")
def new_price(public_id: UUID) -> Answer:
    """A price of the organization's own; `?like=` fills the form in from a price of the list."""
    organization = organization_of(public_id)
    like = request.args.get("like", type=UUID)
    sold: dict[str, Meter | Plan] = {f"meter:{each.code}": each for each in all_meters() if each.archived_at is None}
    sold |= {f"plan:{each.code}": each for each in all_plans() if each.archived_at is None}
    form = forms.OwnPriceForm(**_filled_in(entry_of(like) if like else None))
    form.of.choices = forms.choices_of((key, f"{each.name} ({key.replace(':', ' ')})") for key, each in sold.items())

    def wanted(customer: Organization) -> NewVersion:
        assert form.valid_from.day is not None, "the form is valid"
        return NewVersion(
            name=(form.name.data or "").strip(),
            currency=customer.currency,
            of=sold[form.of.data],
            match=_match(form.match.document),
            organization_id=customer.id,
            for_plan=None,
            terms=dict(form.terms.document),
            valid_from=form.valid_from.day,
            note=(form.note.data or "").strip() or None,
        )

    def act(customer: Organization, _: datetime) -> str:
        of = sold[form.of.data]
        terms = form.read_terms()
        made = publish(wanted(customer))
        interval = str(of.interval) if isinstance(of, Plan) else "month"
        words = price_in_words(terms, unit=of.unit, currency=customer.currency, interval=interval)
        return f"{(form.name.data or '').strip()}, from {day(made.valid_from)}: {words}."

    def ask(customer: Organization, _: datetime) -> str:
        ask_to_publish(wanted(customer), by=person(), now=clock.now(), within=within())
        return "Nothing is published yet: it waits for a second admin."

    note = "It goes before every price of the list that applies to the same usage or plan."
    shown = {} if like else {"list_prices": list_prices(organization.currency)}
    two = publishing_takes_two()
    step = Step("New own price", note, "Ask a second admin to publish" if two else "Publish the price")
    return walk(public_id, form, step, act, instead=ask if two else None, **shown)


def _filled_in(like: Entry | None) -> dict[str, str]:
    """What the form of an own price begins with."""
    first = {"valid_from": str(Month.of(clock.now()).next.first_day)}
    if like is None:
        return {**first, "terms": 'model: per_unit\nunit_amount: "0.01"\n'}
    held = like.on(clock.now().date()) or like.versions[-1]
    return {
        **first,
        "of": f"{'meter' if like.meter else 'plan'}:{like.of.code}",
        "name": like.price.name,
        "match": write_yaml(like.price.match) if like.price.match else "",
        "terms": terms_text(held.terms),
    }


def _match(document: Mapping[str, Any]) -> dict[str, str]:
    """Dimensions with their values. Raises InvalidInput if a value is not a text."""
    for name, value in document.items():
        if not isinstance(value, str) or not value:
            raise InvalidInput(f"“{name}” needs one value, for example “{name}: fra”.", field="match")
    return dict(document)
