"""Meters and organizations that events name, remembered by the process: many requests name the same ones.

So a meter that was archived may take usage for a second more, and an organization that was closed for a minute. What is
not known is looked up at once.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import current_app

from portal.catalog.models import Meter
from portal.catalog.queries import meters_by_code
from portal.infra.db import SYSTEM, acting_as
from portal.organizations.queries import ids_by_slug
from portal.usage.labels import LabelBook

NANOSECONDS = 1_000_000_000


METERS_FOR, ORGANIZATIONS_FOR = 1 * NANOSECONDS, 60 * NANOSECONDS

MOST_LOOKED_UP_AGAIN = 50_000


@dataclass(slots=True)
class _Known:
    meters: Mapping[str, Meter] = field(default_factory=dict)
    meters_until: int = 0
    labels: LabelBook = field(default_factory=lambda: LabelBook({}))
    organizations: dict[str, int] = field(default_factory=dict)
    organizations_until: int = 0


def known_meters() -> Mapping[str, Meter]:
    """All meters that are on sale, by code. Not within a transaction() block."""
    return _with_meters().meters


def known_labels() -> LabelBook:
    """What the meters on sale make of properties, as long as no meter changes. Not within a transaction() block."""
    return _with_meters().labels


def _with_meters() -> _Known:
    known, now = _known(), time.monotonic_ns()
    if now >= known.meters_until:
        with acting_as(SYSTEM):
            meters = meters_by_code()
        if _essence(meters) != _essence(known.meters):
            known.labels = LabelBook(meters)
        known.meters = meters
        known.meters_until = now + METERS_FOR
    return known


def _essence(meters: Mapping[str, Meter]) -> list[tuple[object, ...]]:
    """All of the meters that their labels are made of."""
    return sorted(
        (meter.code, meter.id, meter.aggregation, meter.subject or "", tuple(meter.dimensions))
        for meter in meters.values()
    )


def known_organizations(names: set[str]) -> Mapping[str, int]:
    """The inner ids of the active organizations among these names (and of others). Not within a transaction() block.

    Looked up as the system; whether the caller may write to one is the caller's rule.
    """
    known, now = _known(), time.monotonic_ns()
    is_old = now >= known.organizations_until
    # Not names - keys: that would walk through all that is known.
    missing = {name for name in names if name not in known.organizations}
    if missing or is_old:
        # All at once is cheaper than one by one as they are named again.
        again = known.organizations.keys() if is_old and len(known.organizations) <= MOST_LOOKED_UP_AGAIN else ()
        with acting_as(SYSTEM):
            found = ids_by_slug({*names, *again} if is_old else missing)
        if is_old:
            known.organizations, known.organizations_until = found, now + ORGANIZATIONS_FOR
        else:
            known.organizations.update(found)
    return known.organizations


def _known() -> _Known:
    """What is remembered. Tests remember nothing, because each begins with other tables."""
    if current_app.testing:
        return _Known()
    known: _Known = current_app.extensions.setdefault("known_to_usage", _Known())
    return known
