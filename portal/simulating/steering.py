"""What a person does to a simulation: ask for one, and cancel it."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from portal.catalog.models import Price
from portal.core.errors import InvalidInput, NotFound
from portal.core.periods import Month
from portal.core.pricing import terms_from_json, terms_to_json
from portal.infra import audit, outbox
from portal.infra.db import db
from portal.simulating.jobs import SIMULATE
from portal.simulating.models import PriceSimulation, SimulationState

MOST_MONTHS = 12


def start_simulation(
    price: Price,
    *,
    terms: Mapping[str, Any],
    valid_from: date,
    note: str | None,
    months: Sequence[Month],
    organization_ids: Sequence[int] | None,
    by: str,
    now: datetime,
) -> PriceSimulation:
    """Ask for a simulation, in the current transaction; a worker does it. `organization_ids` None stands for all.

    Each call is a simulation of its own. Raises InvalidInput, naming the field, for a plan's price, for no month or
    more than 12, for a month that is not over, and for terms that cannot be priced.
    """
    if price.meter_id is None:
        raise InvalidInput("Only a price of usage can be simulated; this one is a plan's.", field="price")
    chosen = sorted({month.first_day for month in months})
    if not 0 < len(chosen) <= MOST_MONTHS:
        raise InvalidInput(f"Choose at least one month and at most {MOST_MONTHS}.", field="months")
    running = next((month for month in months if month.end > now), None)
    if running is not None:
        raise InvalidInput(f"{running} is not over, so nothing of it is final.", field="months")
    simulation = PriceSimulation(
        price_id=price.id,
        terms=terms_to_json(terms_from_json(dict(terms))),
        valid_from=valid_from,
        note=note,
        months=chosen,
        organization_ids=None if organization_ids is None else sorted(set(organization_ids)),
        state=SimulationState.RUNNING,
        started_by=by,
        as_of=now,
    )
    db.session.add(simulation)
    db.session.flush()
    audit.record(
        "started price simulation",
        subject="price simulation",
        subject_id=simulation.id,
        organization_id=None,
        after={"price": price.name, "terms": simulation.terms, "months": [each.isoformat() for each in chosen]},
    )
    outbox.enqueue(SIMULATE, dedupe_key=str(simulation.id), organization_id=None, simulation_id=simulation.id)
    return simulation


def cancel_simulation(public_id: UUID, *, now: datetime) -> PriceSimulation:
    """End a simulation; what it has rated so far stays to be seen. Idempotent: one that has ended stays as it is."""
    simulation: PriceSimulation | None = db.session.scalar(
        select(PriceSimulation)
        .where(PriceSimulation.public_id == public_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if simulation is None:
        raise NotFound("There is no such simulation.")
    if simulation.state == SimulationState.RUNNING:
        simulation.state, simulation.ended_at = SimulationState.CANCELLED, now
        audit.record(
            "cancelled price simulation",
            subject="price simulation",
            subject_id=simulation.id,
            organization_id=None,
            before={"state": SimulationState.RUNNING},
            after={"state": SimulationState.CANCELLED},
        )
        outbox.cancel(SIMULATE, str(simulation.id))
    return simulation
