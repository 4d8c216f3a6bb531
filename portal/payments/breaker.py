"""The circuit before Stripe: while it does not answer, nothing is sent, and one call at a time asks whether it does.

The state is a row in PostgreSQL, so a restart remembers it. Work that comes while the circuit is open is put back
without counting; once Stripe answers, it is brought back in order, the oldest finalized invoice first, and no faster
than Stripe takes it.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from portal.infra import audit
from portal.infra.db import db, transaction
from portal.infra.outbox import RetryLater
from portal.payments.models import StripeCircuit

OPENS_AFTER = 5
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=5)
# As long as a probe may take; if its process dies, the next one goes after that.
PROBE_TIME = timedelta(seconds=60)
# Only for what is overlooked: work is brought back as soon as Stripe answers.
PARKED_SECONDS = 3600
WAITS = "Stripe is not answering; nothing is sent until it does."
ITS_TURN_COMES = "Stripe answers again; the oldest invoices go first."
log = logging.getLogger(__name__)


class Parked(RetryLater):
    """Nothing was sent, so nothing new is known; it is tried later."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The leave to make one call: whether it is the probe of an open circuit, and whether earlier ones failed."""

    is_probe: bool
    after_failures: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """An open circuit: since when, when the next call asks, how many jobs wait, and what came of the last call."""

    opened_at: datetime
    retry_at: datetime
    waiting: int
    last_error: str | None


def admit() -> Admission:
    """Ask for leave to make one call, in the current transaction. Raises Parked while the circuit is open."""
    row = db.session.execute(select(StripeCircuit.failures, StripeCircuit.opened_at)).one_or_none()
    if row is None or row.opened_at is None:
        return Admission(is_probe=False, after_failures=row is not None and row.failures > 0)
    probing = db.session.scalar(
        text(
            "UPDATE stripe_circuit SET retry_at = clock_timestamp() + :probe_time"
            " WHERE opened_at IS NOT NULL AND retry_at <= clock_timestamp() RETURNING id"
        ),
        {"probe_time": PROBE_TIME},
    )
    if probing is None:
        raise Parked(WAITS, seconds=PARKED_SECONDS)
    return Admission(is_probe=True, after_failures=True)


def answered(admission: Admission) -> None:
    """Stripe answered, were it with a refusal: the circuit closes, in the current transaction, and work comes back."""
    if not admission.after_failures:
        return
    circuit = _locked()
    opened_at = circuit.opened_at
    circuit.failures = circuit.failed_probes = 0
    circuit.opened_at = circuit.retry_at = circuit.last_error = None
    if opened_at is not None:
        log.warning("Stripe answers again")
        audit.record(
            "sending to Stripe again",
            subject="stripe",
            subject_id=None,
            organization_id=None,
            before={"opened_at": opened_at.isoformat()},
        )
        bring_back()


def failed(admission: Admission, error: str) -> None:
    """Stripe did not answer, or asked to slow down. Opens the circuit after five in a row, in this transaction."""
    db.session.execute(insert(StripeCircuit).values(id=1).on_conflict_do_nothing())
    circuit = _locked()
    circuit.failures += 1
    circuit.last_error = error
    now = db.session.scalars(select(func.clock_timestamp())).one()
    if circuit.opened_at is None and circuit.failures >= OPENS_AFTER:
        circuit.opened_at, circuit.retry_at = now, now + FIRST_WAIT
        log.error("Stripe does not answer, nothing more is sent", extra={"failures": circuit.failures})
        audit.record(
            "stopped sending to Stripe",
            subject="stripe",
            subject_id=None,
            organization_id=None,
            after={"failures": circuit.failures},
            reason=error,
        )
    elif admission.is_probe and circuit.opened_at is not None:
        circuit.failed_probes = min(circuit.failed_probes + 1, 16)
        circuit.retry_at = now + min(LONGEST_WAIT, FIRST_WAIT * 2**circuit.failed_probes)


def bring_back() -> int:
    """Let the work that waited for Stripe go on, in the order of finalizing and at the pace that Stripe takes.

    In the current transaction; returns how many jobs. What is no invoice (events, for example) goes first.
    """
    per_second = current_app.config["SETTINGS"].stripe_endpoint_calls_per_second
    rows = db.session.execute(
        text(
            "UPDATE outbox SET woken_at = NULL, last_error = :its_turn_comes,"
            " run_after = clock_timestamp() + waiting.place * :step FROM ("
            "  SELECT jobs.id, row_number() OVER (ORDER BY invoices.finalized_at NULLS FIRST, jobs.id) - 1 AS place"
            "  FROM outbox AS jobs LEFT JOIN invoices ON invoices.id = CAST(jobs.arguments ->> 'invoice_id' AS bigint)"
            f"  WHERE {_PARKED}) AS waiting"
            " WHERE outbox.id = waiting.id RETURNING outbox.id"
        ),
        {"waits": WAITS, "its_turn_comes": ITS_TURN_COMES, "step": timedelta(seconds=1) / per_second},
    )
    return len(rows.all())


def tend() -> None:
    """The clock's part: have the oldest waiting job ask Stripe when it is time; bring back what a closing missed."""
    with transaction():
        circuit = db.session.get(StripeCircuit, 1)
        if circuit is None:
            return
        if circuit.opened_at is None:
            bring_back()
            return
        db.session.execute(
            text(
                "UPDATE outbox SET run_after = clock_timestamp(), woken_at = NULL WHERE id = ("
                "  SELECT jobs.id FROM outbox AS jobs"
                "  LEFT JOIN invoices ON invoices.id = CAST(jobs.arguments ->> 'invoice_id' AS bigint)"
                f"  WHERE {_PARKED} ORDER BY invoices.finalized_at NULLS FIRST, jobs.id LIMIT 1)"
                " AND run_after > clock_timestamp()"
                " AND EXISTS (SELECT FROM stripe_circuit WHERE retry_at <= clock_timestamp())"
            ),
            {"waits": WAITS},
        )


def standing() -> Standing | None:
    """How the circuit stands; None while it is closed."""
    circuit = db.session.get(StripeCircuit, 1, populate_existing=True)
    if circuit is None or circuit.opened_at is None or circuit.retry_at is None:
        return None
    waiting = db.session.scalar(text(f"SELECT count(*) FROM outbox AS jobs WHERE {_PARKED}"), {"waits": WAITS})
    return Standing(circuit.opened_at, circuit.retry_at, waiting or 0, circuit.last_error)


_PARKED = (
    "jobs.finished_at IS NULL AND jobs.dead_at IS NULL AND jobs.last_error = :waits"
    " AND (jobs.lease_until IS NULL OR jobs.lease_until < clock_timestamp())"
)


def _locked() -> StripeCircuit:
    return db.session.get_one(StripeCircuit, 1, with_for_update=True, populate_existing=True)
