"""The states of an invoice only move along the arrows."""

from itertools import product

import pytest

from portal.core.errors import InvalidTransition
from portal.core.lifecycle import InvoiceState, PaymentState, SyncState, may_move, require_move


def reachable(start):
    """Every state that some sequence of legal steps leads to."""
    found, edge = set(), {start}
    while edge:
        edge = {target for state in edge for target in type(start) if may_move(state, target)} - found
        found |= edge
    return found


def test_nothing_leads_back_from_a_final_invoice():
    assert reachable(InvoiceState.FINALIZED) == {InvoiceState.VOID}
    assert reachable(InvoiceState.VOID) == set()


def test_only_a_scheduled_invoice_becomes_final():
    assert [state for state in InvoiceState if may_move(state, InvoiceState.FINALIZED)] == [InvoiceState.SCHEDULED]


def test_no_late_event_takes_back_a_paid_invoice():
    assert reachable(PaymentState.PAID) == {PaymentState.REFUNDED, PaymentState.DISPUTED, PaymentState.PAID}
    for state in (PaymentState.OPEN, PaymentState.FAILED, PaymentState.PROCESSING, PaymentState.ACTION_REQUIRED):
        assert not may_move(PaymentState.PAID, state)
        assert may_move(state, PaymentState.PAID)


def test_a_written_off_invoice_can_still_be_paid_and_only_a_refund_that_fails_is_not_the_end():
    assert may_move(PaymentState.UNCOLLECTIBLE, PaymentState.PAID)
    assert not may_move(PaymentState.UNCOLLECTIBLE, PaymentState.OPEN)
    assert [each for each in PaymentState if may_move(PaymentState.REFUNDED, each)] == [PaymentState.PAID]


def test_a_sync_that_stopped_can_only_be_asked_for_again():
    for state in (SyncState.MISMATCH, SyncState.DEAD):
        assert [target for target in SyncState if may_move(state, target)] == [SyncState.PENDING]
    assert not may_move(SyncState.SYNCED, SyncState.PENDING)
    assert not may_move(SyncState.NONE, SyncState.SYNCED)


@pytest.mark.parametrize("states", [InvoiceState, SyncState, PaymentState])
def test_the_guard_refuses_exactly_what_is_no_arrow_and_says_so_in_words(states):
    for current, target in product(states, states):
        if may_move(current, target):
            require_move(current, target, what="Invoice 7")
        else:
            with pytest.raises(InvalidTransition, match=f"Invoice 7 is {current.value}; .* {target.value}"):
                require_move(current, target, what="Invoice 7")


@pytest.mark.parametrize("states", [InvoiceState, SyncState, PaymentState])
def test_no_state_moves_to_itself(states):
    assert not [state for state in states if may_move(state, state)]
