"""Whatever the sandbox does to whichever call of whichever flow, the end is the same: once at Stripe, and equal."""

import sys

import pytest

from tests.full import part
from tests.payments.conftest import examine, open_rows
from tests.payments.flows import FLOWS, ask_again_for_what_has_stopped
from tests.payments.test_adopting import MODES, work_it_out

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.usefixtures("books", "impatient")]
ALL_MODES = [*MODES, "400", "wrong_total"]
CASES = [
    (flow, nth_of_flow, mode) for flow in FLOWS for nth_of_flow in range(len(FLOWS[flow].calls)) for mode in ALL_MODES
]
# All combinations with --full; at other times some. there are 16 modes, so each one comes another mode.
SAMPLE = part(CASES, 17)


def calls_since(sandbox, before: int) -> list[str]:
    return sandbox.calls()[before:]


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_makes_the_calls_that_are_hit_and_no_others(sandbox, name):
    flow = FLOWS[name]
    invoice = flow.begin(sandbox, "acme")
    before = len(sandbox.calls())
    work_it_out()
    # The ids of credit notes and of the like are no names of endpoints.
    assert calls_since(sandbox, before) == flow.calls
    assert flow.is_done(sandbox, invoice)
    assert examine() == []


@pytest.mark.parametrize("name", FLOWS)
def test_a_fault_at_any_call_changes_nothing_in_the_end(sandbox, capsys, name):
    flow, tried = FLOWS[name], 0
    for flow_name, place, mode in SAMPLE:
        if flow_name != name:
            continue
        case, tried = f"{name}, call {place} ({flow.calls[place]}), {mode}", tried + 1
        invoice = flow.begin(sandbox, f"org-{place}-{ALL_MODES.index(mode)}")
        match = flow.calls[place]
        sandbox.fault(match, mode, nth=flow.calls[: place + 1].count(match), seconds=5)
        work_it_out()
        sandbox.heal()
        ask_again_for_what_has_stopped(invoice)
        work_it_out()
        assert flow.is_done(sandbox, invoice), case
        assert open_rows() == 0, case
        assert examine() == [], case
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {tried} of {len(flow.calls) * len(ALL_MODES)} combinations of call and fault\n")
    assert tried
