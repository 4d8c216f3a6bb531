"""What finalizing takes from the settings, and the names of the work that it asks for."""

from dataclasses import dataclass

from portal.core.approving import AmountLimits
from portal.invoicing.documents import Seller

FINISH = "finish_finalizing"
SYNC = "sync_invoice"


@dataclass(frozen=True, slots=True)
class Terms:
    """Who bills, how long a finalize can be taken back, how long there is to pay, and from when on it takes two."""

    seller: Seller
    hold_seconds: int
    days_until_due: int
    second_approval_from: AmountLimits = AmountLimits()
