"""The forms by which an organization's agreement changes."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import DataRequired, Length

from portal.admin.price_forms import PriceTerms
from portal.admin.typed_fields import DayField, WholeNumberField, YamlField
from portal.core.errors import InvalidInput
from portal.core.money import round_to_minor, to_major
from portal.core.periods import Month
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra.formats import month_name
from portal.infra.typed_numbers import NumberField
from portal.organizations.models import Organization

# For so long a preview can be confirmed: what it said is done as of the moment when it was said.
PREVIEW_LASTS = timedelta(hours=1)
MONTHS_AHEAD = 12
_QUIET = {"autocomplete": "off"}
_WHEN = [
    SelectChoice("period_end", "At the end of the current period (or trial)"),
    SelectChoice("now", "Now; what was paid for the time after it is given back"),
]


def _reason(hint: str = "For the audit log, with the ticket if there is one. The customer does not see it.") -> Field:
    return TextAreaField(
        "Internal reason",
        [
            DataRequired("Say why; the reason is kept in the audit log."),
            Length(max=500, message="A reason has at most 500 characters."),
        ],
        description=hint,
        render_kw={"rows": 3},
    )


class AgreementForm(FlaskForm):
    """What every change carries: the agreement that was seen, and the moment of its preview."""

    seen = HiddenField()
    moment = HiddenField()
    order: tuple[str, ...] = ()
    problem: str | None = None

    def visible(self) -> list[Field]:
        """The fields that a person fills in, in their order."""
        fields = {each.name: each for each in self if each.type not in ("HiddenField", "CSRFTokenField")}
        return [fields[name] for name in self.order or fields]

    def facts(self) -> list[tuple[str, str]]:
        """What was filled in, for the preview."""
        shown = ((each.label.text, _shown(each)) for each in self.visible())
        return [(label, value) for label, value in shown if value]

    def previewed_at(self, now: datetime) -> datetime | None:
        """The moment of the preview that is confirmed; None if it is too long ago, or was not made by us."""
        try:
            moment = datetime.fromisoformat(self.moment.data or "")
        except ValueError:
            return None
        is_recent = moment.tzinfo is not None and timedelta(0) <= now - moment <= PREVIEW_LASTS
        return moment.astimezone(UTC) if is_recent else None

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal at the field that it names, or above them all."""
        field: Any = self._fields.get(refusal.field or "")
        if field is None:
            self.problem = refusal.sentence
        else:
            field.errors = [*field.errors, refusal.sentence]


def _shown(field: Field) -> str:
    if isinstance(field, SelectField):
        return next((label for value, label, *_ in field.iter_choices() if value == field.data), "")
    return (field.data or "").strip()


class SureForm(AgreementForm):
    """A change that needs no more than a look at what it does."""


class StartForm(AgreementForm):
    """A new subscription."""

    plan = SelectField("Plan")
    quantity = WholeNumberField("Quantity", default="1", render_kw={"inputmode": "numeric", **_QUIET})
    label = StringField(
        "Label",
        [Length(max=100, message="A label has at most 100 characters.")],
        description="What it is for, such as the name of a server; the invoice shows it. May be left empty.",
        render_kw=_QUIET,
    )
    starts_at = DayField("From (00:00 UTC)", optional=True, description="Empty: from now.")
    trial_days = WholeNumberField(
        "Days of trial",
        optional=True,
        description="Empty: as many as the plan says.",
        render_kw={"inputmode": "numeric", **_QUIET},
    )
    periods = SelectField(
        "Periods",
        choices=[
            SelectChoice("start", "Counted from its start: the first fee is a whole one"),
            SelectChoice("month", "Calendar months: the first fee is for the rest of one"),
        ],
    )


class ChangeForm(AgreementForm):
    """Another plan or quantity."""

    plan = SelectField("Plan")
    quantity = WholeNumberField("Quantity", render_kw={"inputmode": "numeric", **_QUIET})
    at = SelectField("When", choices=_WHEN)


class CancelForm(AgreementForm):
    """The end of a subscription."""

    at = SelectField("When", choices=_WHEN)
    reason = _reason()


class RedeemForm(AgreementForm):
    """A coupon for an organization."""

    code = StringField(
        "Code",
        [DataRequired("Enter the code of a coupon."), Length(max=100, message="A code has at most 100 characters.")],
        description="As the coupon was made.",
        render_kw=_QUIET,
    )
    first_month = SelectField("First month")


class EndCouponForm(AgreementForm):
    """The last month of a coupon."""

    last_month = SelectField("Last month", description="The last month whose invoice it lowers.")


class GrantForm(AgreementForm):
    """Credit for an organization."""

    kind = SelectField(
        "Kind",
        choices=[
            SelectChoice("promotional", "Promotional: given, used before tax"),
            SelectChoice("prepaid", "Prepaid: paid for, pays what is due after tax"),
        ],
    )
    name = StringField(
        "Name",
        [DataRequired("Name the credit; the invoice shows it."), Length(max=200, message="At most 200 characters.")],
        description="The customer sees it on the invoice.",
        render_kw=_QUIET,
    )
    amount = NumberField("Amount", render_kw={"inputmode": "decimal", **_QUIET})
    expires_on = SelectField("Pays invoices up to")
    reason = _reason()

    def amount_in(self, currency: str) -> int:
        """The amount in minor units. Raises InvalidInput for more decimals than the currency has."""
        minor = round_to_minor(self.amount.number, currency)
        if to_major(minor, currency) != self.amount.number:
            raise InvalidInput(f"{currency} has fewer decimals than that.", field="amount")
        return minor


class WithdrawForm(AgreementForm):
    """Taking back what is left of a credit."""

    reason = _reason()


class TaxForm(AgreementForm):
    """How an organization is taxed."""

    treatment = SelectField(
        "Treatment",
        choices=[
            SelectChoice(TaxTreatment.STANDARD.value, "Standard: the rates hold"),
            SelectChoice(TaxTreatment.EXEMPT.value, "Exempt: no tax"),
            SelectChoice(TaxTreatment.REVERSE_CHARGE.value, "Reverse charge: the customer owes the tax"),
        ],
    )
    rounding = SelectField(
        "Rounding",
        choices=[
            SelectChoice(TaxRounding.SUM_BY_NET.value, "Once for each rate, keeping the net amounts"),
            SelectChoice(TaxRounding.KEEP_GROSS.value, "Once for each rate, keeping the gross amounts"),
            SelectChoice(TaxRounding.LINE.value, "On each line"),
        ],
    )
    included = SelectField(
        "Prices",
        choices=[SelectChoice("no", "Without tax: it is added"), SelectChoice("yes", "With the tax in them")],
    )
    tax_id = StringField(
        "Tax id",
        [Length(max=50, message="A tax id has at most 50 characters.")],
        description="Invoices show it; a reverse charge needs it.",
        render_kw=_QUIET,
    )


class OwnPriceForm(PriceTerms, AgreementForm):
    """A price of one organization's own."""

    order = ("of", "name", "match", "valid_from", "terms", "note")
    of = SelectField("Price of")
    name = StringField(
        "Name",
        [DataRequired("Name the price; invoices show it."), Length(max=200, message="At most 200 characters.")],
        description="Invoices show it.",
        render_kw=_QUIET,
    )
    match = YamlField(
        "Only where",
        description="Dimensions of the meter and their values, for example “region: fra”; empty for all of its usage.",
        render_kw={"rows": 2, "spellcheck": "false"},
    )


def months_from(first: Month) -> list[SelectChoice]:
    """A year of months to choose from."""
    months = [first.plus(ahead) for ahead in range(MONTHS_AHEAD + 2)]
    return [SelectChoice(str(month), month_name(month.first_day)) for month in months]


def choices_of(named: Iterable[tuple[str, str]]) -> list[SelectChoice]:
    """Values with the words for them."""
    return [SelectChoice(value, label) for value, label in named]


def last_day_of(text: str) -> date | None:
    """The last day of a month that was chosen; None for no end."""
    return Month.parse(text).last_day if text else None


def tax_values(organization: Organization) -> dict[str, str | None]:
    """What the tax form begins with."""
    return {
        "treatment": str(organization.tax_treatment),
        "rounding": str(organization.tax_rounding),
        "included": "yes" if organization.prices_include_tax else "no",
        "tax_id": organization.tax_id,
    }
