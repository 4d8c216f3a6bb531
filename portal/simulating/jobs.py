"""The work of a simulation in a worker: chunk after chunk, each read in a read-only transaction and then noted.

Safe to do again at any moment: a chunk is noted together with where the next one begins.
"""

import logging
from collections.abc import Sequence

from rq.timeouts import BaseTimeoutException
from sqlalchemy import insert, select, text
from sqlalchemy.exc import OperationalError

from portal.infra import clock, outbox
from portal.infra.db import db, transaction
from portal.infra.outbox import Lease, LostLease
from portal.simulating.models import PriceSimulation, PriceSimulationResult, SimulationState
from portal.simulating.rating import Billed, count_billed, meter_of_price, rate_again, read_billed

SIMULATE = "simulate_price"
CHUNK_SIZE = 500
# Not the fault of the simulation: the job is put back and goes on where it was.
_PASSING = (OperationalError, LostLease, BaseTimeoutException)
log = logging.getLogger(__name__)


@outbox.handles(SIMULATE)
def simulate(lease: Lease, *, simulation_id: int) -> None:
    """Rate everything that is left of a simulation, until it is done or was cancelled. Idempotent."""
    try:
        while _simulate_chunk(lease, simulation_id):
            pass
    except _PASSING:
        raise
    except Exception as error:
        log.exception("price cannot be simulated", extra={"simulation_id": simulation_id})
        with lease.transaction():
            simulation = _locked(simulation_id)
            if simulation.state == SimulationState.RUNNING:
                simulation.state, simulation.ended_at = SimulationState.FAILED, clock.now()
                simulation.reason = f"{type(error).__name__}: {error}"[:500]


def _simulate_chunk(lease: Lease, simulation_id: int) -> bool:
    """Rate the next chunk; says whether there may be more."""
    with transaction() as session:
        session.execute(text("SET TRANSACTION READ ONLY"))
        session.expire_all()
        simulation = session.get_one(PriceSimulation, simulation_id)
        if simulation.state != SimulationState.RUNNING:
            return False
        began_at, price = simulation.last_invoice_id, simulation.price
        whole = simulation.whole if simulation.whole is not None else count_billed(simulation)
        billed = read_billed(simulation, limit=CHUNK_SIZE)
        rated = rate_again(billed, price, meter_of_price(price), simulation.terms)
    with lease.transaction():
        simulation = _locked(simulation_id)
        if simulation.state != SimulationState.RUNNING or simulation.last_invoice_id != began_at:
            return False
        simulation.whole = whole
        _note(simulation, rated)
        if len(billed) < CHUNK_SIZE:
            simulation.state, simulation.ended_at = SimulationState.DONE, clock.now()
            return False
    return True


def _note(simulation: PriceSimulation, rated: Sequence[tuple[Billed, int]]) -> None:
    if not rated:
        return
    rows = [
        {
            "simulation_id": simulation.id,
            "organization_id": billed.organization_id,
            "month": billed.month.first_day,
            "old": billed.amount,
            "new": new,
            "difference": new - billed.amount,
        }
        for billed, new in rated
    ]
    db.session.execute(insert(PriceSimulationResult), rows)
    simulation.done += len(rows)
    simulation.last_invoice_id = rated[-1][0].invoice_id


def _locked(simulation_id: int) -> PriceSimulation:
    query = select(PriceSimulation).where(PriceSimulation.id == simulation_id).with_for_update()
    return db.session.scalars(query.execution_options(populate_existing=True)).one()
