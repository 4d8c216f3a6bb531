"""Meters and organizations that events name, remembered by the process for a second: many requests name the same ones.

So a meter or an organization that has just been closed may take usage for a second more. Keys are never remembered.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import current_app

from portal.catalog.models import Meter
from portal.catalog.queries import meters_by_code
from portal.infra.db import SYSTEM, acting_as
from portal.organizations.queries import ids_by_slug

NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class _Known:
    until: int
    meters: Mapping[str, Meter] | None = None
    organizations: dict[str, int] = field(default_factory=dict)


def known_meters() -> Mapping[str, Meter]:
    """All meters that are on sale, by code. Not within a transaction() block."""
    known = _known()
    if known.meters is None:
        with acting_as(SYSTEM):
            known.meters = meters_by_code()
    return known.meters


def known_organizations(names: set[str]) -> Mapping[str, int]:
    """The inner ids of the active organizations among these names (and of others). Not within a transaction() block.

    Looked up as the system; whether the caller may write to one is the caller's rule.
    """
    known = _known().organizations
    missing = names - known.keys()
    if missing:
        with acting_as(SYSTEM):
            known.update(ids_by_slug(missing))
    return known


def _known() -> _Known:
    """What is remembered. Tests remember nothing, because each begins with other tables."""
    now = time.monotonic_ns()
    known: _Known | None = current_app.extensions.get("known_to_usage")
    if known is None or now >= known.until:
        known = current_app.extensions["known_to_usage"] = _Known(now if current_app.testing else now + NANOSECONDS)
    return known
