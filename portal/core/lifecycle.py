"""The states of an invoice, as data, and the one guard over them.

Three columns move on their own: what the document is, what Stripe knows of it, and whether it is paid.
"""

from collections.abc import Mapping, Set
from enum import StrEnum
from typing import Any

from portal.core.errors import InvalidTransition


class InvoiceState(StrEnum):
    """What the document is."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    FINALIZED = "finalized"
    VOID = "void"


class SyncState(StrEnum):
    """What Stripe knows of it; `unknown` is neither failed nor done."""

    NONE = "none"
    PENDING = "pending"
    UNKNOWN = "unknown"
    SYNCED = "synced"
    MISMATCH = "mismatch"
    DEAD = "dead"


class PaymentState(StrEnum):
    """Whether it is paid; only Stripe's own answers move it once an invoice is synced."""

    NONE = "none"
    OPEN = "open"
    PROCESSING = "processing"
    ACTION_REQUIRED = "action_required"
    FAILED = "failed"
    PAID = "paid"
    UNCOLLECTIBLE = "uncollectible"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


INVOICE_STEPS = {
    InvoiceState.DRAFT: {InvoiceState.SCHEDULED, InvoiceState.VOID},
    InvoiceState.SCHEDULED: {InvoiceState.DRAFT, InvoiceState.FINALIZED},
    InvoiceState.FINALIZED: {InvoiceState.VOID},
    InvoiceState.VOID: set[InvoiceState](),
}
SYNC_STEPS = {
    SyncState.NONE: {SyncState.PENDING},
    SyncState.PENDING: {SyncState.UNKNOWN, SyncState.SYNCED, SyncState.MISMATCH, SyncState.DEAD},
    SyncState.UNKNOWN: {SyncState.PENDING, SyncState.SYNCED, SyncState.MISMATCH, SyncState.DEAD},
    SyncState.MISMATCH: {SyncState.PENDING},
    SyncState.DEAD: {SyncState.PENDING},
    SyncState.SYNCED: {SyncState.MISMATCH},
}
_COLLECTING = {PaymentState.OPEN, PaymentState.PROCESSING, PaymentState.ACTION_REQUIRED, PaymentState.FAILED}
_SETTLED = {PaymentState.PAID, PaymentState.UNCOLLECTIBLE}
# Only forward: a late "payment failed" never takes back a "paid".
PAYMENT_STEPS = {
    PaymentState.NONE: _COLLECTING | _SETTLED,
    **{state: (_COLLECTING | _SETTLED) - {state} for state in _COLLECTING},
    PaymentState.UNCOLLECTIBLE: {PaymentState.PAID},
    PaymentState.PAID: {PaymentState.REFUNDED, PaymentState.DISPUTED},
    PaymentState.DISPUTED: {PaymentState.PAID, PaymentState.REFUNDED},
    # A refund can still fail at the bank.
    PaymentState.REFUNDED: {PaymentState.PAID},
}
_STEPS_OF: dict[type[StrEnum], Mapping[Any, Set[Any]]] = {
    InvoiceState: INVOICE_STEPS,
    SyncState: SYNC_STEPS,
    PaymentState: PAYMENT_STEPS,
}


def may_move(current: StrEnum, target: StrEnum) -> bool:
    """Whether the step from one state to the other is legal."""
    return target in _STEPS_OF[type(current)][current]


def require_move(current: StrEnum, target: StrEnum, *, what: str) -> None:
    """Raise InvalidTransition, in words, unless the step is legal."""
    if not may_move(current, target):
        raise InvalidTransition(f"{what} is {current.value}; it cannot become {target.value}.")
