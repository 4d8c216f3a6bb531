"""How an organization is taxed: whether at all, and where the tax is rounded."""

from portal.core.errors import InvalidInput
from portal.core.taxes import TaxRounding, TaxTreatment
from portal.infra import audit
from portal.infra.db import db
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization


def set_tax_terms(
    organization_id: int,
    *,
    treatment: TaxTreatment,
    rounding: TaxRounding,
    prices_include_tax: bool,
    tax_id: str | None,
) -> Organization:
    """Set how the drafts from now on are taxed; final invoices stay as they are. Idempotent.

    Raises InvalidInput for a reverse charge without the tax id that its invoices must show (Directive 2006/112/EC,
    Article 226 (4)), NotFound.
    """
    organization = lock_organization(organization_id)
    tax_id = (tax_id or "").strip() or None
    if treatment is TaxTreatment.REVERSE_CHARGE and tax_id is None:
        raise InvalidInput("With a reverse charge the invoice must show the customer's tax id.", field="tax_id")
    before = _facts(organization)
    organization.tax_treatment = treatment
    organization.tax_rounding = rounding
    organization.prices_include_tax = prices_include_tax
    organization.tax_id = tax_id
    after = _facts(organization)
    if after != before:
        db.session.flush()
        audit.record(
            "changed tax terms",
            subject="organization",
            subject_id=organization.id,
            organization_id=organization.id,
            before=before,
            after=after,
        )
    return organization


def _facts(organization: Organization) -> dict[str, str | bool | None]:
    return {
        "treatment": str(organization.tax_treatment),
        "rounding": str(organization.tax_rounding),
        "prices_include_tax": organization.prices_include_tax,
        "tax_id": organization.tax_id,
    }
