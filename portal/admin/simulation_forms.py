"""What is asked for a simulation beside the price form: which months, and whose."""

from wtforms import SelectMultipleField, TextAreaField

from portal.admin.price_forms import PriceTerms
from portal.core.errors import InvalidInput
from portal.core.periods import Month
from portal.organizations.queries import ids_by_slug

MOST_NAMED = 1000
MONTHS_OFFERED = 36


class SimulationForm(PriceTerms):
    """The draft of a price as the preview has it, the months, and the organizations."""

    months = SelectMultipleField("Months (UTC), at most 12")
    organizations = TextAreaField(
        "Organizations",
        description="Slugs or public ids, one on each line. Leave it empty for all.",
        render_kw={"rows": 3, "spellcheck": "false"},
    )

    def read_months(self) -> list[Month]:
        """The chosen months, once the form is valid."""
        return [Month.parse(text) for text in self.months.data or ()]

    def read_organizations(self) -> list[int] | None:
        """The ids of those that are named; None for all. Raises InvalidInput, naming one that is not there."""
        named = set((self.organizations.data or "").replace(",", " ").split())
        if len(named) > MOST_NAMED:
            raise InvalidInput(f"Name at most {MOST_NAMED:,} organizations, or none for all.", field="organizations")
        found = ids_by_slug(named)
        missing = sorted(named - set(found))
        if missing:
            raise InvalidInput(f"There is no active organization “{missing[0][:60]}”.", field="organizations")
        return list(found.values()) or None


def closed_months(this_month: Month) -> list[Month]:
    """The months that can be chosen, newest first."""
    return [this_month.plus(-back) for back in range(1, MONTHS_OFFERED + 1)]
