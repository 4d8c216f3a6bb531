"""Who an organization is on its invoices: name, address, country, tax id, and the purchase order of all of them."""

from babel import Locale

from portal.core.errors import InvalidInput
from portal.core.saying import Said
from portal.core.tax_ids import checked_tax_id
from portal.core.taxes import TaxTreatment
from portal.infra import audit
from portal.infra.db import db
from portal.infra.languages import LANGUAGES
from portal.organizations.locking import lock_organization
from portal.organizations.models import Organization

LONGEST_NAME, LONGEST_ADDRESS, MOST_ADDRESS_LINES, LONGEST_PURCHASE_ORDER = 200, 500, 6, 60
# Of ISO 3166; the rest of what has two letters are groups of countries, outlying oceans and codes for tests.
_NO_COUNTRIES = frozenset({"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"})
COUNTRIES: dict[str, str] = {
    code: name
    for code, name in sorted(Locale("en").territories.items(), key=lambda item: item[1])
    if len(code) == 2 and code.isalpha() and code not in _NO_COUNTRIES
}
_FIELDS = ("legal_name", "address", "country", "tax_id", "purchase_order", "language")


def set_billing_details(
    organization_id: int,
    *,
    legal_name: str | None,
    address: str | None,
    country: str | None,
    tax_id: str | None,
    purchase_order: str | None,
    language: str | None = None,
) -> Organization:
    """Set what drafts, and invoices that become final from now on, say of their buyer, and the mails' language.

    Idempotent; final invoices stay as they are. Raises InvalidInput, naming the field; NotFound.
    """
    organization = lock_organization(organization_id)
    country = (country or "").strip().upper() or None
    if country is not None and country not in COUNTRIES:
        raise InvalidInput(Said("“%(country)s” is not a country of the list.", country=country[:20]), field="country")
    lines = [line.strip() for line in (address or "").splitlines() if line.strip()]
    if len(lines) > MOST_ADDRESS_LINES:
        raise InvalidInput(Said("An address has at most %(most)s lines.", most=MOST_ADDRESS_LINES), field="address")
    values = {
        "legal_name": _text(legal_name, LONGEST_NAME, "legal_name", Said("A name")),
        "address": _text("\n".join(lines), LONGEST_ADDRESS, "address", Said("An address")),
        "country": country,
        "tax_id": checked_tax_id(tax_id, country),
        "purchase_order": checked_purchase_order(purchase_order),
        "language": language if language in LANGUAGES else None,
    }
    if organization.tax_treatment == TaxTreatment.REVERSE_CHARGE and values["tax_id"] is None:
        raise InvalidInput("With a reverse charge the invoice must show the customer's tax id.", field="tax_id")
    before = {name: getattr(organization, name) for name in _FIELDS}
    if values != before:
        for name, value in values.items():
            setattr(organization, name, value)
        db.session.flush()
        audit.record(
            "changed billing details",
            subject="organization",
            subject_id=organization.id,
            organization_id=organization.id,
            before=before,
            after=values,
        )
    return organization


def checked_purchase_order(typed: str | None) -> str | None:
    """A purchase order's number as it will stand on invoices; None if nothing was typed. Raises InvalidInput."""
    return _text(typed, LONGEST_PURCHASE_ORDER, "purchase_order", Said("A purchase order"))


def _text(typed: str | None, longest: int, field: str, what: str) -> str | None:
    text = (typed or "").strip()
    if len(text) > longest:
        raise InvalidInput(
            Said("%(what)s has at most %(longest)s characters.", what=what, longest=longest), field=field
        )
    return text or None
