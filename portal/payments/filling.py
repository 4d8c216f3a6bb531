"""Filling a draft at Stripe with our lines, and making a half-filled one whole, until it is ours exactly.

Lines are known by our mark. What is missing after an unknown outcome is added, and what stands there twice by our own
doing is removed; a line without our mark was added by a person, so it is never touched: the comparison stops at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from portal.infra.outbox import Lease
from portal.payments import gateway
from portal.payments.adopting import Search
from portal.payments.finding import mark_of
from portal.payments.journal import perform, read_now

LINES_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to stand at Stripe, in Stripe's units, and whom it belongs to."""

    invoice_id: int
    public_id: UUID
    organization_id: int
    currency: str
    total: int
    lines: tuple[dict[str, Any], ...]

    @property
    def subject(self) -> dict[str, Any]:
        """The names under which its calls are journalled."""
        return {
            "subject": self.public_id,
            "organization_id": self.organization_id,
            "invoice_id": self.invoice_id,
        }


class Mismatch(Exception):
    """What stands at Stripe is not what we sent; the text shows both. Nothing is finalized there."""


def fill(lease: Lease, wanted: Wanted, stripe_id: str, *, resumed: bool) -> dict[str, Any]:
    """Add our lines, read them back and compare. Returns the invoice as Stripe showed it last. Idempotent.

    Raises Mismatch for any difference, and what the journal raises.
    """
    answer: dict[str, Any] = {}
    for part, start in enumerate(range(0, len(wanted.lines), LINES_PER_CALL)):
        answer = _add(lease, wanted, stripe_id, part, wanted.lines[start : start + LINES_PER_CALL])
    if resumed:
        # The total that an earlier run was told may be out of date: somebody may have repaired the draft since.
        answer = read_now(partial(gateway.read_invoice, stripe_id))
    lines = read_now(partial(gateway.read_lines, stripe_id))
    strays = strays_among(lines, wanted.lines)
    if strays and answer.get("status") == "draft":
        answer = perform(
            lease,
            "remove_lines",
            **wanted.subject,
            target=stripe_id,
            part=strays[0],
            parameters=lambda: {"lines": [{"id": stray, "behavior": "delete"} for stray in strays]},
            repeatable=True,
        )
        lines = read_now(partial(gateway.read_lines, stripe_id))
    compare(wanted, answer, lines)
    return answer


def _add(lease: Lease, wanted: Wanted, stripe_id: str, part: int, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    missing = list(lines)

    def look_up(_: Search) -> dict[str, Any] | None:
        there = {mark_of(line) for line in read_now(partial(gateway.read_lines, stripe_id))}
        missing[:] = [line for line in lines if mark_of(line) not in there]
        if missing:
            return None
        found: dict[str, Any] = read_now(partial(gateway.read_invoice, stripe_id))
        return found

    return perform(
        lease,
        "add_lines",
        **wanted.subject,
        target=stripe_id,
        part=part,
        # Of a new generation, only what the look-up has not found.
        parameters=lambda: {"lines": missing},
        look_up=look_up,
    )


def strays_among(theirs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]) -> list[str]:
    """The ids of lines with our mark that should not be there: a second one of the same, or one of no line of ours."""
    left = {mark_of(line) for line in ours}
    strays = []
    for line in theirs:
        mark = mark_of(line)
        if mark in left:
            left.discard(mark)
        elif mark is not None:
            strays.append(line["id"])
    return strays


def compare(wanted: Wanted, answer: dict[str, Any], lines: Sequence[dict[str, Any]]) -> None:
    """Currency, every line, their number and the total must be ours, exactly. Raises Mismatch."""
    ours = {line["metadata"]["item_id"]: line["amount"] for line in wanted.lines}
    theirs = {mark_of(line) or line["id"]: line["amount"] for line in lines}
    problems = []
    if answer.get("currency", "").upper() != wanted.currency:
        problems.append(f"currency {answer.get('currency')} instead of {wanted.currency}")
    if len(lines) != len(wanted.lines):
        problems.append(f"{len(lines)} lines instead of {len(wanted.lines)}")
    problems += [
        f"line {item_id}: {theirs.get(item_id)} instead of {ours.get(item_id)}"
        for item_id in sorted(ours.keys() | theirs.keys())
        if ours.get(item_id) != theirs.get(item_id)
    ]
    if answer.get("total") != wanted.total:
        problems.append(f"total {answer.get('total')} instead of {wanted.total}")
    if problems:
        raise Mismatch("Stripe's draft is not ours: " + "; ".join(problems[:5]) + ".")
