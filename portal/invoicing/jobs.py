"""Work of this capability that runs in a worker."""

from flask import current_app

from portal.config import Settings
from portal.core.approving import AmountLimits
from portal.infra import clock, outbox
from portal.infra.outbox import Lease
from portal.invoicing.documents import Seller
from portal.invoicing.finalizing import finish
from portal.invoicing.terms import FINISH, Terms


def terms_of(settings: Settings) -> Terms:
    """What finalizing takes from the settings."""
    return Terms(
        seller=Seller(settings.seller_name, settings.seller_address, settings.seller_tax_id, settings.seller_country),
        hold_seconds=settings.finalize_hold_seconds,
        days_until_due=settings.days_until_due,
        second_approval_from=AmountLimits(settings.second_approval_from),
    )


@outbox.handles(FINISH)
def finish_finalizing(lease: Lease, *, invoice_id: int) -> None:
    """End a hold window. Idempotent: an invoice that is final, or a draft again, is left alone."""
    with lease.transaction():
        finish(invoice_id, now=clock.now(), terms=terms_of(current_app.config["SETTINGS"]))
