"""Two people for one step: one asks, another approves or refuses. Never the same person, and not for ever.

What is approved is exactly what was seen when it was asked for, by its fingerprint. Whoever takes the step locks what
it is about first, then the request.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from portal.core.errors import InvalidInput, InvalidTransition, NotAllowed, NotFound
from portal.infra import audit, outbox
from portal.infra.db import db
from portal.organizations.models import ApprovalRequest

LONGEST_COMMENT = 500
MAIL_APPROVERS = "mail_approvers"


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks or decides; two are the same by their ids, whatever they are called."""

    user_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Wish:
    """A step that takes two: what it is about, and what was seen of it."""

    subject_kind: str
    subject_id: int
    organization_id: int | None
    fingerprint: str
    facts: dict[str, Any]


def ask(wish: Wish, *, by: Person, now: datetime, within: timedelta) -> ApprovalRequest:
    """Let a step wait for a second person; what it is about is locked. Idempotent while nothing has changed.

    Everybody else who may decide gets a mail. A request for something else than is seen now, or whose time is over,
    lapses: it is asked anew.
    """
    waiting = _locked(wish.subject_kind, wish.subject_id)
    if waiting is not None:
        if waiting.fingerprint == wish.fingerprint and waiting.is_open(now):
            return waiting
        waiting.state, waiting.decided_at = "lapsed", now
        _record(waiting, "let a request for a second approval lapse")
        db.session.flush()
    request = ApprovalRequest(
        subject_kind=wish.subject_kind,
        subject_id=wish.subject_id,
        organization_id=wish.organization_id,
        fingerprint=wish.fingerprint,
        facts=wish.facts,
        asked_by_id=by.user_id,
        asked_by=by.name,
        asked_at=now,
        expires_at=now + within,
    )
    db.session.add(request)
    db.session.flush()
    _record(request, "asked for a second approval")
    outbox.enqueue(MAIL_APPROVERS, dedupe_key=str(request.id), organization_id=None, request_id=request.id)
    return request


def approve(
    subject_kind: str, subject_id: int, *, fingerprint: str, by: Person, comment: str, now: datetime
) -> ApprovalRequest:
    """Be the second person; the step itself is taken in the same transaction by whoever calls this.

    Raises NotFound if nothing waits, NotAllowed for whoever asked, InvalidTransition if the time is over or something
    else was asked for than was seen, InvalidInput (field "comment").
    """
    request = _to_decide(subject_kind, subject_id, by, now)
    if request.fingerprint != fingerprint:
        raise InvalidTransition("It is not as it was when it was asked for. It can be asked for anew.")
    return _decide(request, "approved", by, _checked(comment), now)


def refuse(subject_kind: str, subject_id: int, *, by: Person, comment: str, now: datetime) -> ApprovalRequest:
    """Say no, and why. Raises what `approve` raises, and InvalidInput without a comment."""
    request = _to_decide(subject_kind, subject_id, by, now)
    if not comment.strip():
        raise InvalidInput("Say why you refuse.", field="comment")
    return _decide(request, "refused", by, _checked(comment), now)


def latest_request(subject_kind: str, subject_id: int) -> ApprovalRequest | None:
    """The newest request about something, whatever became of it."""
    return db.session.scalar(
        select(ApprovalRequest)
        .where(ApprovalRequest.subject_kind == subject_kind, ApprovalRequest.subject_id == subject_id)
        .order_by(ApprovalRequest.id.desc())
        .limit(1)
    )


def request_of(public_id: UUID) -> ApprovalRequest:
    """One request by its public id. Raises NotFound."""
    found = db.session.scalar(select(ApprovalRequest).where(ApprovalRequest.public_id == public_id))
    if found is None:
        raise NotFound("There is no such request.")
    return found


def waiting_requests(*subject_kinds: str, now: datetime) -> list[ApprovalRequest]:
    """All of these kinds that can still be decided; whoever waits longest first."""
    query = select(ApprovalRequest).where(
        ApprovalRequest.subject_kind.in_(subject_kinds),
        ApprovalRequest.state == "waiting",
        ApprovalRequest.expires_at > now,
    )
    return list(db.session.scalars(query.order_by(ApprovalRequest.id)))


def _to_decide(subject_kind: str, subject_id: int, by: Person, now: datetime) -> ApprovalRequest:
    request = _locked(subject_kind, subject_id)
    if request is None:
        raise NotFound("Nothing waits for a second approval here.")
    if request.asked_by_id == by.user_id:
        raise NotAllowed("You asked for it yourself: a second person decides.")
    if not request.is_open(now):
        raise InvalidTransition("It was asked for too long ago. It can be asked for again.")
    return request


def _locked(subject_kind: str, subject_id: int) -> ApprovalRequest | None:
    return db.session.scalar(
        select(ApprovalRequest)
        .where(
            ApprovalRequest.subject_kind == subject_kind,
            ApprovalRequest.subject_id == subject_id,
            ApprovalRequest.state == "waiting",
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _checked(comment: str) -> str | None:
    if len(comment.strip()) > LONGEST_COMMENT:
        raise InvalidInput(f"A comment has at most {LONGEST_COMMENT} characters.", field="comment")
    return comment.strip() or None


def _decide(request: ApprovalRequest, state: str, by: Person, comment: str | None, now: datetime) -> ApprovalRequest:
    request.state, request.decided_at = state, now
    request.decided_by_id, request.decided_by, request.comment = by.user_id, by.name, comment
    db.session.flush()
    _record(request, f"{state} as the second person", reason=comment)
    return request


def _record(request: ApprovalRequest, action: str, *, reason: str | None = None) -> None:
    # Staff's own words: not in the organization's log.
    audit.record(
        action,
        subject=request.subject_kind,
        subject_id=request.subject_id,
        organization_id=None,
        after={**request.facts, "fingerprint": request.fingerprint, "asked_by": request.asked_by},
        reason=reason,
    )
