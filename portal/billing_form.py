"""The forms of what invoices say of their buyer, the same for the customer and for staff. The verbs judge them."""

from typing import Any
from unicodedata import normalize

from flask_wtf import FlaskForm
from wtforms import Field, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.infra.formats import country_name
from portal.infra.languages import ENGLISH, LANGUAGES, _, language_name
from portal.organizations.billing_details import COUNTRIES
from portal.organizations.models import Organization

FIELDS = ("legal_name", "address", "country", "tax_id", "purchase_order", "language")


class RefusableForm(FlaskForm):
    """A form that shows a verb's refusal at the field that it names."""

    def take(self, refusal: InvalidInput) -> None:
        """Put the sentence where it belongs; without a field, at the first one."""
        fields: list[Any] = [each for each in self if each.type not in ("CSRFTokenField", "HiddenField")]
        field: Field = next((each for each in fields if each.name == refusal.field), fields[0])
        field.errors = [*field.errors, refusal.sentence]


class BillingForm(RefusableForm):
    """Who an organization is on its invoices."""

    legal_name = StringField(Said("Company name on invoices"), render_kw={"autocomplete": "organization"})
    address = TextAreaField(Said("Address"), render_kw={"autocomplete": "street-address", "rows": 4})
    country = SelectField(
        Said("Country"),
        choices=lambda: [SelectChoice("", _("Not given")), *_countries()],
        render_kw={"autocomplete": "country"},
    )
    tax_id = StringField(Said("Tax id"), render_kw={"autocomplete": "off"})
    purchase_order = StringField(Said("Purchase order"), render_kw={"autocomplete": "off"})

    language = SelectField(
        Said("Language of mails"),
        default="",
        choices=lambda: (
            [SelectChoice("", language_name(ENGLISH))]
            + [SelectChoice(each, language_name(each)) for each in LANGUAGES if each != ENGLISH]
        ),
    )

    def values(self) -> dict[str, str]:
        """What the verb takes."""
        return {name: self[name].data or "" for name in FIELDS}


class PurchaseOrderForm(RefusableForm):
    """The purchase order of one invoice."""

    purchase_order = StringField(Said("Purchase order of this invoice"), render_kw={"autocomplete": "off"})


class DraftNotesForm(PurchaseOrderForm):
    """What staff can put on an invoice besides its figures."""

    memo = TextAreaField("Memo to the customer", render_kw={"rows": 4})


def _countries() -> list[SelectChoice]:
    """The countries by their names in the reader's language; letters with accents stand beside those without."""
    names = sorted((normalize("NFKD", country_name(code)), code) for code in COUNTRIES)
    return [SelectChoice(code, country_name(code)) for _name, code in names]


def billing_values(organization: Organization) -> dict[str, str | None]:
    """What the form of an organization begins with."""
    return {name: getattr(organization, name) for name in FIELDS}
