"""Budgets: what a month may cost, how much of it is used, what was warned of; and what a new one would have said."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date
from uuid import UUID

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import FlaskForm
from wtforms import Field, SelectField, StringField, ValidationError
from wtforms.fields import SelectChoice

from portal.budgets.keeping import USUAL_THRESHOLDS, Watched, budgets_of, remove_budget, set_budget, watched_by
from portal.budgets.models import Budget
from portal.budgets.spending import passed_on, watchable
from portal.budgets.watching import Figures, figures_of, warnings_of
from portal.core.errors import InvalidInput
from portal.core.money import major_text, round_to_minor, to_major
from portal.core.periods import Month
from portal.core.saying import Said
from portal.infra import clock
from portal.infra.db import transaction
from portal.infra.languages import _, told
from portal.infra.pages import csv_response, policy
from portal.infra.typed_numbers import NumberField
from portal.organizations.models import Organization
from portal.organizations.queries import organization_by_id
from portal.organizations.roles import Permission
from portal.signed_in import guard_page, me, my_seat

LISTED_WARNINGS = 20
CSV_HEAD = ("Budget", "Currency", "Amount", "Used", "Used %", "Warns at %")
# No space can be read in two ways, so that a long text is refused in one pass.
_PERCENTAGES = re.compile(r"[0-9]{1,3}(( *[,;] *| +)[0-9]{1,3})*")
bp = Blueprint("budgets", __name__)
bp.before_request(guard_page)


class BudgetForm(FlaskForm):
    """What a new budget is of, its amount in the organization's currency, and at how many percent it warns."""

    watched = SelectField(Said("Budget of"))
    amount = NumberField(Said("Amount a month"))
    thresholds = StringField(Said("Warns at (%)"), default=", ".join(map(str, USUAL_THRESHOLDS)))

    def validate_thresholds(self, field: Field) -> None:
        """Whole numbers with commas; how large they may be is the verb's to say."""
        if not _PERCENTAGES.fullmatch((field.data or "").strip()):
            raise ValidationError(Said("Enter percentages with commas between them, for example 50, 80, 100."))

    @property
    def percentages(self) -> list[int]:
        """The thresholds, in order, each once."""
        return sorted({int(each) for each in re.findall(r"[0-9]+", self.thresholds.data or "")})


@dataclass(frozen=True, slots=True)
class Card:
    """A budget beside what the month has come to."""

    budget: Budget
    label: str
    figures: Figures

    @property
    def percent(self) -> int:
        """How much of it is used, in whole percent, rounded down: 100 is really all of it."""
        return self.figures.spent * 100 // self.budget.amount

    @property
    def next_warning(self) -> int | None:
        """The threshold that comes next."""
        return next((each for each in self.budget.thresholds if each > self.percent), None)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a budget would have said in the last month that is over: the day of each threshold."""

    month: Month
    label: str
    passed: dict[int, date]


@bp.get("/budgets")
@policy("view invoices")
def index() -> ResponseReturnValue:
    """All budgets with this month's figures, the last warnings, and a form for one more."""
    return _page(_form(), None)


@bp.get("/budgets.csv")
@policy("view invoices")
def download() -> ResponseReturnValue:
    """The budgets as a file."""
    organization = organization_by_id(my_seat().organization_id)
    currency = organization.currency
    rows = [
        (
            card.label,
            currency,
            major_text(card.budget.amount, currency),
            major_text(card.figures.spent, currency),
            card.percent,
            " ".join(map(str, card.budget.thresholds)),
        )
        for card in _cards(organization, Month.of(clock.now().astimezone(UTC)))
    ]
    return csv_response("budgets", CSV_HEAD, rows)


@bp.post("/budgets")
@policy("manage budgets")
def create() -> ResponseReturnValue:
    """Set a budget; the button “Preview” only says what it would have warned of last month."""
    form = _form()
    if not form.validate_on_submit():
        return _page(form, None), 422
    organization = organization_by_id(my_seat().organization_id)
    watched = _watched(form.watched.data)
    amount = round_to_minor(form.amount.number, organization.currency)
    if to_major(amount, organization.currency) != form.amount.number:
        form.amount.errors = [Said("%(currency)s has fewer decimals than this amount.", currency=organization.currency)]
        return _page(form, None), 422
    try:
        with transaction():
            if "preview" in request.form:
                return _page(form, _preview(organization, watched, amount, form.percentages))
            set_budget(organization, watched, amount=amount, thresholds=form.percentages, now=clock.now())
    except InvalidInput as error:
        named = {"amount": form.amount, "thresholds": form.thresholds}
        named.get(error.field or "", form.watched).errors = [error.sentence]
        return _page(form, None), 422
    flash(_("The budget of “%(label)s” is set. It warns; it does not stop usage.", label=watched.label), "success")
    return redirect(url_for(".index"), 303)


@bp.post("/budgets/<uuid:public_id>/remove")
@policy("manage budgets")
def remove(public_id: UUID) -> ResponseReturnValue:
    """Warn of it no more."""
    with transaction():
        budget = remove_budget(public_id, now=clock.now())
    flash(_("The budget of “%(label)s” is removed.", label=watched_by(budget).label), "success")
    return redirect(url_for(".index"), 303)


def _page(form: BudgetForm, preview: Preview | None) -> str:
    organization = organization_by_id(my_seat().organization_id)
    month = Month.of(clock.now().astimezone(UTC))
    return render_template(
        "web/budgets/index.html",
        month=month,
        currency=organization.currency,
        cards=_cards(organization, month),
        warnings=[
            (each, watched_by(each.budget).label) for each in warnings_of(organization.id, limit=LISTED_WARNINGS)
        ],
        form=form,
        preview=preview,
        may_manage=me().may(Permission.MANAGE_BUDGETS),
    )


def _cards(organization: Organization, month: Month) -> list[Card]:
    budgets = budgets_of(organization.id)
    figures = figures_of(organization, month, budgets)
    return [Card(each, watched_by(each).label, figures[each.id]) for each in budgets]


def _form() -> BudgetForm:
    form = BudgetForm()
    form.watched.choices = [
        SelectChoice(_written(each), told(each.label)) for each in watchable(my_seat().organization_id)
    ]
    return form


def _written(watched: Watched) -> str:
    return "" if watched.by is None else f"{watched.by}:{watched.value}"


def _watched(text: str) -> Watched:
    by, _, value = text.partition(":")
    return Watched(by, value) if by else Watched()


def _preview(organization: Organization, watched: Watched, amount: int, thresholds: Sequence[int]) -> Preview:
    month = Month.of(clock.now().astimezone(UTC)).previous
    passed = passed_on(organization, month, watched, amount=amount, thresholds=thresholds) if amount > 0 else {}
    return Preview(month, watched.label, passed)
