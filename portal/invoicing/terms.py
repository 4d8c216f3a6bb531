"""What finalizing takes from the settings, and the names of the work that it asks for."""

from dataclasses import dataclass

from portal.invoicing.documents import Seller

FINISH = "finish_finalizing"
SYNC = "sync_invoice"


@dataclass(frozen=True, slots=True)
class Terms:
    """Who bills, how long a finalize can be taken back, and how long there is to pay."""

    seller: Seller
    hold_seconds: int
    days_until_due: int
