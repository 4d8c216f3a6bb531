"""The journal of calls to Stripe: key and parameters are committed before a call, its answer after it.

That makes every call replayable: whatever process dies at whatever point, the next one finds the row, makes the
same call with the same key and the same parameters, and gets the first answer.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from portal.core.keys import stripe_key
from portal.infra import clock
from portal.infra.db import db, transaction
from portal.infra.outbox import GiveUp, Lease, RetryLater
from portal.payments import adopting, breaker, gateway
from portal.payments.breaker import Admission, Parked
from portal.payments.models import StripeCall
from portal.payments.pacing import full_jitter

ANSWERED = ("ok", "adopted")
# The bound of the wait after the first attempt, and the highest bound.
BUSY_SECONDS = {"first": 2, "most": 60}
UNKNOWN_SECONDS = {"first": 5, "most": 600}
READ_SECONDS = {"first": 4, "most": 60}
_KEPT = ("id", "total", "currency", "status", "hosted_invoice_url", "livemode", "amount_due", "customer", "url")


class Gone(GiveUp):
    """Stripe has no such object, or not any more."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt, counted and committed, that may now be made."""

    call_id: int
    number: int
    key: str
    parameters: Mapping[str, Any]
    admission: Admission


def perform(
    lease: Lease,
    step: str,
    *,
    subject: UUID,
    organization_id: int,
    invoice_id: int | None,
    target: str | None = None,
    part: int | str | None = None,
    parameters: Callable[[], Mapping[str, Any]],
    look_up: adopting.LookUp | None = None,
    repeatable: bool = False,
) -> dict[str, Any]:
    """Make a changing call once, however often this is called; return what is kept of its answer.

    `parameters` is asked only for the first attempt; they are frozen then. After a refusal the next attempt is a new
    generation, with a new key and parameters of its own; if an earlier attempt of the refused one may have worked
    (no answer, then a refusal), the old key is asked again. Once the key can tell no more, `look_up` finds what the
    call made, or a new generation begins; a `repeatable` call, which done twice does no harm, begins it at once.
    Raises RetryLater while the outcome is unknown or Stripe is busy, Parked if nothing was sent, GiveUp if Stripe
    refused or if only a person can decide (there are two, or there is no `look_up`).
    """
    name = step if part is None else f"{step}:{part}"

    def open_call(generation: int) -> StripeCall:
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
        return call

    with lease.transaction():
        call = _latest(subject, name)
        if call is None or _surely_refused(call):
            # Whoever asks again after a refusal has repaired something: a new key.
            call = open_call(call.generation + 1 if call is not None else 1)
        if call.outcome in ANSWERED:
            return _answer_of(call)
        stuck = adopting.is_stuck(call, now=clock.now())
        attempt = None if stuck else _count(call)
    if attempt is None:
        found = adopting.find(lease, call.id, look_up, repeatable=repeatable)
        if found is not None:
            return _adopt(lease, call.id, found)
        with lease.transaction():
            db.session.get_one(StripeCall, call.id).outcome = "absent"
            attempt = _count(open_call(call.generation + 1))
    return _make(lease, step, target, attempt)


def outcome_of(lease: Lease, step: str, *, subject: UUID, look_up: adopting.LookUp) -> dict[str, Any] | None:
    """What became of a call, without making it again: its answer, or None if it certainly had no effect.

    An unknown outcome is looked up at Stripe and adopted. Raises RetryLater until it is certain, GiveUp if only a
    person can decide.
    """
    with lease.transaction():
        call = _latest(subject, step)
        if call is None or not call.attempts or call.outcome == "absent" or _surely_refused(call):
            return None
        if call.outcome in ANSWERED:
            return _answer_of(call)
    found = adopting.find(lease, call.id, look_up)
    if found is not None:
        return _adopt(lease, call.id, found)
    with lease.transaction():
        db.session.get_one(StripeCall, call.id).outcome = "absent"
    return None


def correct_answer(lease: Lease, step: str, *, subject: UUID, shown: Mapping[str, Any]) -> None:
    """Keep what Stripe shows now in the place of an answer that does not agree with it. Idempotent."""
    with lease.transaction():
        call = _latest(subject, step)
    if call is not None:
        _adopt(lease, call.id, shown)


def answer_to(subject: UUID, step: str) -> dict[str, Any] | None:
    """The answer to a call, in the current transaction; None while there is none."""
    call = _latest(subject, step)
    return call.answer if call is not None and call.outcome in ANSWERED else None


def read_now(reading: Callable[[], Any]) -> Any:
    """Read something at Stripe. A read changes nothing, so anything but an answer is only a reason to come back.

    Raises RetryLater (Parked if nothing was sent), Gone if there is no such object, or GiveUp if Stripe refused.
    """
    with transaction():
        admission = breaker.admit()
    try:
        found = reading()
    except gateway.NotSent as error:
        raise Parked(str(error), seconds=full_jitter(1, **READ_SECONDS)) from error
    except (gateway.OutcomeUnknown, gateway.Busy) as error:
        with transaction():
            breaker.failed(admission, str(error))
        raise RetryLater(str(error), seconds=full_jitter(1, **READ_SECONDS)) from error
    except gateway.Refused as error:
        _say_answered(admission)
        raise (Gone if isinstance(error, gateway.Missing) else GiveUp)(str(error)) from error
    _say_answered(admission)
    return found


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


def _surely_refused(call: StripeCall) -> bool:
    """Refused at its only attempt: certainly not done."""
    return call.outcome == "refused" and call.attempts == 1


def _answer_of(call: StripeCall) -> dict[str, Any]:
    assert call.answer is not None
    return call.answer


def _count(call: StripeCall) -> _Attempt:
    """Count an attempt before it is made. Raises Parked, and nothing is counted, while nothing may be sent."""
    admission = breaker.admit()
    if not call.attempts:
        call.first_attempt_at = func.clock_timestamp()
    call.attempts += 1
    call.last_attempt_at = func.clock_timestamp()
    db.session.flush()
    return _Attempt(call.id, call.attempts, call.idempotency_key, call.parameters, admission)


def _make(lease: Lease, step: str, target: str | None, attempt: _Attempt) -> dict[str, Any]:
    try:
        answer = gateway.write(step, target, attempt.parameters, idempotency_key=attempt.key)
    except gateway.NotSent as error:
        with lease.transaction():
            db.session.get_one(StripeCall, attempt.call_id).attempts -= 1
        raise Parked(str(error), seconds=full_jitter(1, **READ_SECONDS)) from error
    except gateway.FailureStored as error:
        # Stripe did answer, and it will not answer anything else: the next run looks there.
        with lease.transaction():
            _note(attempt, outcome="unknown", error=str(error)).failure_stored = True
            breaker.answered(attempt.admission)
        raise RetryLater(str(error), seconds=1) from error
    except gateway.OutcomeUnknown as error:
        with lease.transaction():
            _note(attempt, outcome="unknown", error=str(error))
            breaker.failed(attempt.admission, str(error))
        raise RetryLater(str(error), seconds=full_jitter(attempt.number, **UNKNOWN_SECONDS)) from error
    except gateway.Busy as error:
        with lease.transaction():
            # A busy answer says nothing about an earlier attempt whose outcome is unknown.
            _note(attempt, outcome=None, error=str(error))
            breaker.failed(attempt.admission, str(error))
        raise RetryLater(str(error), seconds=full_jitter(attempt.number, **BUSY_SECONDS)) from error
    except gateway.Refused as error:
        with lease.transaction():
            _note(attempt, outcome="refused", error=str(error))
            breaker.answered(attempt.admission)
        raise GiveUp(str(error)) from error
    with lease.transaction():
        call = _note(attempt, outcome="ok", error=None)
        call.answer = _kept(answer)
        breaker.answered(attempt.admission)
    return call.answer


def _note(attempt: _Attempt, *, outcome: str | None, error: str | None) -> StripeCall:
    call = db.session.get_one(StripeCall, attempt.call_id)
    call.outcome = outcome or call.outcome
    call.error = error
    return call


def _adopt(lease: Lease, call_id: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """Store what a call made, found later at Stripe."""
    with lease.transaction():
        call = db.session.get_one(StripeCall, call_id)
        call.outcome, call.error, call.answer = "adopted", None, _kept(found)
    return call.answer


def _kept(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in _KEPT if name in answer}


def _say_answered(admission: Admission) -> None:
    if admission.after_failures:
        with transaction():
            breaker.answered(admission)
