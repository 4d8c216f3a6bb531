"""The journal of calls to Stripe: key and parameters are committed before a call, its answer after it.

That makes every call replayable: whatever process dies at whatever point, the next one finds the row, makes the
same call with the same key and the same parameters, and gets the first answer.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from portal.core.keys import stripe_key
from portal.infra import clock
from portal.infra.db import db
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.payments import gateway
from portal.payments.models import StripeCall

# Stripe may forget a key after 24 h; a replay after that could create a second object.
KEY_LIFETIME = timedelta(hours=23)
BUSY_SECONDS, UNKNOWN_SECONDS = 2.0, 5.0
_KEPT = ("id", "total", "currency", "status", "hosted_invoice_url", "livemode", "amount_due", "customer")


def perform(
    lease: Lease,
    step: str,
    *,
    subject: UUID,
    organization_id: int,
    invoice_id: int | None,
    target: str | None = None,
    part: int | None = None,
    parameters: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    """Make a changing call once, however often this is called; return what is kept of its answer.

    `parameters` is asked only for the first attempt; they are frozen then. After a refusal the next attempt is a new
    generation, with a new key and parameters of its own; if an earlier attempt of the refused one may have worked
    (no answer, then a refusal), the old key is asked again. Raises RetryLater while the outcome is
    unknown or Stripe is busy, GiveUp if Stripe refused or the key is too old to be replayed.
    """
    name = step if part is None else f"{step}:{part}"
    with lease.transaction():
        call = _latest(subject, name)
        # Refused at its only attempt: certainly not done. Whoever asks again has repaired something: a new key.
        refused = call is not None and call.outcome == "refused" and call.attempts == 1
        if call is None or refused:
            generation = call.generation + 1 if call is not None else 1
            call = StripeCall(
                organization_id=organization_id,
                invoice_id=invoice_id,
                subject=subject,
                step=name,
                generation=generation,
                idempotency_key=stripe_key(name, subject, generation),
                parameters=dict(parameters()),
                attempts=0,
            )
            db.session.add(call)
        if call.outcome == "ok":
            assert call.answer is not None
            return call.answer
        if call.attempts and call.first_attempt_at < clock.now() - KEY_LIFETIME:
            raise GiveUp(f"The outcome of “{name}” has been unknown for 23 hours; look it up at Stripe, then decide.")
        call.attempts += 1
        call.last_attempt_at = func.clock_timestamp()
        db.session.flush()
        call_id, key, frozen = call.id, call.idempotency_key, call.parameters
    try:
        answer = gateway.write(step, target, frozen, idempotency_key=key)
    except gateway.OutcomeUnknown as error:
        _store(lease, call_id, outcome="unknown", error=str(error))
        raise RetryLater(str(error), seconds=UNKNOWN_SECONDS * min(12, lease.attempt + 1)) from error
    except gateway.Busy as error:
        _store(lease, call_id, outcome=None, error=str(error))
        raise RetryLater(str(error), seconds=BUSY_SECONDS * min(12, lease.attempt + 1)) from error
    except gateway.Refused as error:
        _store(lease, call_id, outcome="refused", error=str(error))
        raise GiveUp(str(error)) from error
    kept = {name: answer[name] for name in _KEPT if name in answer}
    _store(lease, call_id, outcome="ok", answer=kept)
    return kept


def read_now(reading: Callable[[], Any]) -> Any:
    """Read something at Stripe. A read changes nothing, so anything but an answer is only a reason to come back.

    Raises RetryLater, or GiveUp if Stripe refused (there is no such object).
    """
    try:
        return reading()
    except (gateway.OutcomeUnknown, gateway.Busy) as error:
        raise RetryLater(str(error), seconds=BUSY_SECONDS) from error
    except gateway.Refused as error:
        raise GiveUp(str(error)) from error


def calls_for(invoice_id: int) -> list[StripeCall]:
    """The calls made for an invoice, in their order."""
    return list(
        db.session.scalars(select(StripeCall).where(StripeCall.invoice_id == invoice_id).order_by(StripeCall.id))
    )


def _latest(subject: UUID, step: str) -> StripeCall | None:
    return db.session.scalar(
        select(StripeCall)
        .where(StripeCall.subject == subject, StripeCall.step == step)
        .order_by(StripeCall.generation.desc())
        .limit(1)
        # Another process may have written it since this session read it.
        .execution_options(populate_existing=True)
    )


def _store(
    lease: Lease,
    call_id: int,
    *,
    outcome: str | None,
    answer: dict[str, Any] | None = None,
    error: str | None = None,
) -> None:
    with lease.transaction():
        call = db.session.get_one(StripeCall, call_id)
        # A busy answer says nothing about an earlier attempt whose outcome is unknown.
        call.outcome = outcome or call.outcome
        call.answer = answer
        call.error = error
