"""What forms of prices ask, and publishing what they say."""

from datetime import date
from typing import Any

from flask_wtf import FlaskForm
from wtforms import StringField
from wtforms.validators import Length

from portal.admin.typed_fields import DayField, YamlField
from portal.catalog.listing import Entry
from portal.catalog.models import Price, PriceVersion
from portal.catalog.publishing import publish_price
from portal.catalog.seconding import NewVersion
from portal.core.errors import InvalidInput
from portal.core.pricing import terms_from_json, terms_to_json
from portal.core.terms import Terms
from portal.infra.yaml_text import write_yaml
from portal.invoicing.queries import open_from

TERMS_HINT = (
    "As YAML or JSON, with amounts in the major unit: model and unit_amount, or model and tiers."
    " Every number is kept digit by digit."
)


class PriceTerms(FlaskForm):
    """What every form of a price asks: from when, the terms, and why."""

    valid_from = DayField("Valid from (00:00 UTC)")
    terms = YamlField("Terms", render_kw={"rows": 14, "spellcheck": "false"}, description=TERMS_HINT)
    note = StringField(
        "Note",
        [Length(max=500, message="A note has at most 500 characters.")],
        description="Why; only staff see it.",
        render_kw={"autocomplete": "off"},
    )

    def read_terms(self) -> Terms:
        """The terms, once the form is valid. Raises InvalidInput for what cannot be priced."""
        return terms_from_json(self.terms.document)

    def take(self, refusal: InvalidInput) -> None:
        """Show a refusal at the field that it names; what is wrong within the terms at the terms."""
        name = refusal.field or "terms"
        if name in self._fields:
            field, sentence = self._fields[name], refusal.sentence
        else:
            field, sentence = self.terms, f"{name}: {refusal.sentence}"
        field.errors = [*field.errors, sentence]


def terms_text(terms: Terms) -> str:
    """Terms as the text area of a form shows them."""
    return write_yaml(terms_to_json(terms))


def first_open_day(price: Price) -> date | None:
    """The first day from which another version can apply; None if nothing has been billed yet."""
    return _first_open_day(price.organization_id, price.currency)


def _first_open_day(organization_id: int | None, currency: str) -> date | None:
    return open_from(organization_id=organization_id) if organization_id is not None else open_from(currency)


def publish_version(entry: Entry, *, terms: dict[str, Any], valid_from: date, note: str | None) -> PriceVersion:
    """Add a version to a price. Raises InvalidInput, naming the field, and InvalidTransition if it is archived."""
    return publish(NewVersion.of_price(entry, terms=terms, valid_from=valid_from, note=note))


def publish(new: NewVersion) -> PriceVersion:
    """Add a version where it belongs. Raises InvalidInput, naming the field."""
    new.lock()
    return publish_price(
        name=new.name,
        currency=new.currency,
        terms=new.terms,
        valid_from=new.valid_from,
        open_from=_first_open_day(new.organization_id, new.currency),
        meter=new.meter,
        plan=new.plan,
        match=new.match,
        organization_id=new.organization_id,
        for_plan=new.for_plan,
        note=new.note,
    )
