"""What somebody decides about the organizations of a run that were ticked, as the form says it."""

from collections import Counter
from datetime import date
from uuid import UUID

from flask import flash, request

from portal.bill_runs.reviewing import Decided, approve, assign, comment, compute_again, hold, put_back
from portal.core.errors import InvalidInput
from portal.infra import clock
from portal.organizations.roles import Permission
from portal.organizations.staffing import names_of_staff_who_may
from portal.signed_in import me

MOST_MESSAGES = 5


def decide_as_asked(public_id: UUID) -> tuple[Decided, str]:
    """Do the form's step; returns what became of it, and the words for it. Raises InvalidInput."""
    chosen = _chosen()
    match request.form.get("step"):
        case "approve":
            return approve(public_id, chosen, by=me().name, now=clock.now()), "Approved"
        case "hold":
            reason = request.form.get("reason", "")
            return hold(public_id, chosen, reason=reason, by=me().name, now=clock.now(), until=_until()), "Held"
        case "compute":
            return compute_again(public_id, chosen, now=clock.now()), "Computed again"
        case "put_back":
            return put_back(public_id, chosen, now=clock.now()), "Back in review"
        case "take":
            return assign(public_id, chosen, to=me().name, now=clock.now()), "Assigned to you"
        case "assign":
            name = _assignee()
            return assign(public_id, chosen, to=name, now=clock.now()), f"Assigned to {name or 'nobody'}"
        case "comment":
            return comment(public_id, chosen, text=request.form.get("reason", "")), "Commented"
    raise InvalidInput("Choose what to do with them.", field="step")


def reviewers() -> list[str]:
    """Who can be given a draft to review, by name."""
    return names_of_staff_who_may(Permission.FINALIZE_INVOICES)


def _assignee() -> str | None:
    """The name that the form says; empty is nobody."""
    name = request.form.get("assignee", "")
    if name and name not in reviewers():
        raise InvalidInput(f"“{name}” is nobody who reviews drafts.", field="assignee")
    return name or None


def _until() -> date | None:
    text = request.form.get("until", "").strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidInput("Enter the day until which they are held as year-month-day.", field="until") from None


def _chosen() -> dict[UUID, str]:
    """The organizations that were ticked, each with the fingerprint of the draft that was seen."""
    try:
        parts = [value.partition("|") for value in request.form.getlist("item")]
        return {UUID(organization): fingerprint for organization, _, fingerprint in parts}
    except ValueError:
        raise InvalidInput("Choose organizations of the list.", field="item") from None


def flash_refused(decided: Decided) -> None:
    """One message for each organization, or for each sentence if there are many."""
    if len(decided.refused) <= MOST_MESSAGES:
        for name, sentence in decided.refused:
            flash(f"{name}: {sentence}", "error")
        return
    for sentence, count in Counter(sentence for _, sentence in decided.refused).items():
        flash(f"{count:,} were left as they are: {sentence}", "error")
