"""An event that names a meter that does not exist: refused where it has to fit, kept where it may wait."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from portal.core.errors import InvalidInput


class WaitingEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, checked as far as that goes without its meter. The key is 16 bytes; the moment is in UTC.

    The document says the same as the one that was sent, in one spelling: it is what the event becomes one day.
    """

    organization_id: int
    event_key: bytes
    occurred_at: datetime
    document: Mapping[str, Any]

    @property
    def meter(self) -> str:
        """The code of the meter that there is not."""
        code: str = self.document["meter"]
        return code


class UnknownMeter(InvalidInput):
    """There is no meter of this code; all else is well formed, so the event can be kept until there is one."""

    def __init__(self, event: WaitingEvent) -> None:
        super().__init__(
            f"There is no meter “{event.meter}”. GET /api/v1/meters lists those that there are.", field="meter"
        )
        self.event = event
